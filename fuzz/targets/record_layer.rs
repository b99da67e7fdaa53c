//! See [`fuzz::targets::record_layer`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::targets::record_layer::run(data));
