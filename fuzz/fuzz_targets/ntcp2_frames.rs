//! See `aioli_fuzz_targets::ntcp2_frames`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| aioli_fuzz_targets::ntcp2_frames(data));
