#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| mover_rsync::streams::fuzz(data));
