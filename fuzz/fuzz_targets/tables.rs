//! Fuzzes the decoders of the tables of a region.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| infmap_storage::fuzz::tables(data));
