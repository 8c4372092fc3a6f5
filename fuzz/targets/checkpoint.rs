#![no_main]

#[path = "../../tests/strangers/doors.rs"]
#[allow(dead_code)]
mod doors;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| doors::checkpoint(bytes));
