//! See `aioli_fuzz_targets::i2np`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| aioli_fuzz_targets::i2np(data));
