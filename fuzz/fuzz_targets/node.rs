//! Fuzzes the decoders of nodes of the VAT.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| infmap_storage::fuzz::node(data));
