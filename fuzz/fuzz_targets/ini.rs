#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| mover_rclone::config::ini::fuzz(data));
