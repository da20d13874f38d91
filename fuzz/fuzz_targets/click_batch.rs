//! See `signpost_fuzz::click_batch`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| signpost_fuzz::click_batch::check(bytes));
