//! libFuzzer on `path`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    mycelia_fuzz_targets::path::one(data);
});
