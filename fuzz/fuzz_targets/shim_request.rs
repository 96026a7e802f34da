#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::shim_request(data));
