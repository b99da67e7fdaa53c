//! See [`fuzz::targets::tokens`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::targets::tokens::run(data));
