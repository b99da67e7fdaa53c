//! See [`fuzz::targets::config_files`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::targets::config_files::run(data));
