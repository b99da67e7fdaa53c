//! See [`fuzz::targets::oauth_parameters`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::targets::oauth_parameters::run(data));
