//! One fuzzer; the program's name says of which target.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| cocoon_fuzz::run(env!("CARGO_BIN_NAME"), bytes));
