#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| mover_rsync::wire::names::fuzz(data));
