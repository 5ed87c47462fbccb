//! See `aioli_fuzz_targets::ssu2_session`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| aioli_fuzz_targets::ssu2_session(data));
