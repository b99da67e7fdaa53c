//! See [`fuzz::targets::json_to_cbor`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::targets::json_to_cbor::run(data));
