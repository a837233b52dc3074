#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    mistral_fuzz::targets::prefix(data);
});
