//! See [`fuzz::targets::channel_ring`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::targets::channel_ring::run(data));
