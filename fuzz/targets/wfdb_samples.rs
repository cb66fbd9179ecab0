#![no_main]

use libfuzzer_sys::fuzz_target;

const FORMATS: [&str; 14] = [
    "8", "16", "24", "32", "61", "80", "160", "212", "310", "311", "508", "516", "524", "16x3",
];

// The first byte chooses the format, the second how the signals share the file.
fuzz_target!(|bytes: &[u8]| {
    let [format, shape, samples @ ..] = bytes else {
        return;
    };
    let format = FORMATS[usize::from(*format) % FORMATS.len()];
    let signals = 1 + shape % 4;
    let frames = match shape / 4 % 4 {
        0 => String::new(),
        1 => " 10".into(),
        _ => format!(" {}", samples.len() / (2 * usize::from(signals))),
    };
    let line = format!("r.dat {format} 200(3)/mV\n").repeat(signals.into());
    purkinje_fuzz::write(
        "r.hea",
        format!("r {signals} 500{frames}\n{line}").as_bytes(),
    );
    purkinje_fuzz::write("r.dat", samples);
    purkinje_fuzz::open_both("r.hea");
});
