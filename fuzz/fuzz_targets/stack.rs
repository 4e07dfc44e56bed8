#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| netwheel_fuzz::stack(data));
