//! See `aioli_fuzz_targets::router_info`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| aioli_fuzz_targets::router_info(data));
