//! Fuzzes the decoders of root records.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| infmap_storage::fuzz::root(data));
