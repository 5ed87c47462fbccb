//! See `aioli_fuzz_targets::sam_lines`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| aioli_fuzz_targets::sam_lines(data));
