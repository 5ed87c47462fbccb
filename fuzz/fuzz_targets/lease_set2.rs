//! See `aioli_fuzz_targets::lease_set2`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| aioli_fuzz_targets::lease_set2(data));
