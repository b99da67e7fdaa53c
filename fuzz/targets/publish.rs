//! See [`fuzz::targets::publish`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::targets::publish::run(data));
