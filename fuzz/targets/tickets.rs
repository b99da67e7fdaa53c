//! See [`fuzz::targets::tickets`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::targets::tickets::run(data));
