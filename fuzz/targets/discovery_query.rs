//! See [`fuzz::targets::discovery_query`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::targets::discovery_query::run(data));
