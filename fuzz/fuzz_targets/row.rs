//! Fuzzes the decoders of keys and values of typed rows.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| infmap_storage::fuzz::row(data));
