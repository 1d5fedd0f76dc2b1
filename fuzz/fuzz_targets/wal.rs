//! Fuzzes the decoders of segments of the log.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| infmap_storage::fuzz::wal(data));
