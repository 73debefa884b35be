#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| volsync_cron::fuzz(data));
