//! See [`fuzz::targets::cbor`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::targets::cbor::run(data));
