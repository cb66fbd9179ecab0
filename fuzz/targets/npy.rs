#![no_main]

use libfuzzer_sys::fuzz_target;

const SIDECAR: &[u8] = br#"{"rate_hz": 500, "leads": ["I", "II", "V1"], "unit": "uV"}"#;

fuzz_target!(
    init: purkinje_fuzz::write("r.json", SIDECAR),
    |bytes: &[u8]| purkinje_fuzz::read("r.npy", bytes)
);
