//! See `signpost_fuzz::click_ring`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| signpost_fuzz::click_ring::check(bytes));
