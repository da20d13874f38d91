//! See `signpost_fuzz::request_head`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| signpost_fuzz::request_head::check(bytes));
