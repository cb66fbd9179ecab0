#![no_main]

use libfuzzer_sys::fuzz_target;
use purkinje_text::Tokenizer;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(tokenizer) = Tokenizer::from_json(bytes.to_vec(), "r") {
        let ids = tokenizer.ids("sinus rhythm. normal ecg.").unwrap_or_default();
        assert!(ids.iter().all(|&id| id <= tokenizer.largest_id()));
    }
});
