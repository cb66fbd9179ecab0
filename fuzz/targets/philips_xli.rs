#![no_main]

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use libfuzzer_sys::fuzz_target;

// Compressed waveforms, in a document that is sound.
fuzz_target!(|bytes: &[u8]| {
    let text = BASE64_STANDARD.encode(bytes);
    let document = format!(
        "<restingecgdata><waveforms><parsedwaveforms compression='XLI' numberofleads='2' samplespersecond='500' resolution='5'>{text}</parsedwaveforms></waveforms></restingecgdata>"
    );
    purkinje_fuzz::read("r.xml", document.as_bytes());
});
