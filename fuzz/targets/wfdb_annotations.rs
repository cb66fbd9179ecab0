#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    purkinje_fuzz::write("r.atr", bytes);
    let _ = purkinje_record::wfdb::read_annotations(&purkinje_fuzz::folder().join("r.atr"));
});
