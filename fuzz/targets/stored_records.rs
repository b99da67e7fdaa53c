//! See [`fuzz::targets::stored_records`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::targets::stored_records::run(data));
