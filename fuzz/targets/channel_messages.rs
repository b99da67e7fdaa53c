//! See [`fuzz::targets::channel_messages`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::targets::channel_messages::run(data));
