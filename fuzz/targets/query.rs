#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| dbd_server::fuzzing::query(data));
