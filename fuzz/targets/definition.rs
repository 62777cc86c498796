#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| dbd_puller::fuzzing::definition(data));
