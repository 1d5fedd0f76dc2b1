//! Fuzzes the decoders of whole images of regions.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| infmap_storage::fuzz::region(data));
