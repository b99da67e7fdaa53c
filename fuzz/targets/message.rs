//! See [`fuzz::targets::message`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::targets::message::run(data));
