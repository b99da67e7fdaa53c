//! See [`fuzz::targets::http_request`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::targets::http_request::run(data));
