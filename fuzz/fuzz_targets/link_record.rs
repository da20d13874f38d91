//! See `signpost_fuzz::link_record`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| signpost_fuzz::link_record::check(bytes));
