//! See [`fuzz::targets::cbor_to_json`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::targets::cbor_to_json::run(data));
