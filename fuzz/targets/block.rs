//! See [`fuzz::targets::block`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::targets::block::run(data));
