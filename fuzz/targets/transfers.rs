//! See [`fuzz::targets::transfers`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::targets::transfers::run(data));
