//! See [`fuzz::targets::store_log`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::targets::store_log::run(data));
