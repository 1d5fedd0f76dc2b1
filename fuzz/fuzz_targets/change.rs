//! Fuzzes the decoders of the changes of a log record.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| infmap_storage::fuzz::change(data));
