//! See [`fuzz::targets::ring_bookkeeping`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::targets::ring_bookkeeping::run(data));
