//! Units of voltage.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use encoding_rs::{
    BIG5, EUC_JP, EUC_KR, Encoding, GBK, SHIFT_JIS, UTF_8, WINDOWS_1251, WINDOWS_1253,
};

use crate::RecordError;
use crate::error::content;

/// A unit of voltage; samples in it become millivolts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Unit {
    /// Volt.
    Volt,
    /// Millivolt.
    #[default]
    Millivolt,
    /// Microvolt.
    Microvolt,
    /// Nanovolt.
    Nanovolt,
}

/// A unit that is no voltage.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unit `{0}` is no voltage: expected one of V, mV, uV, nV")]
pub struct UnknownUnit(pub String);

impl Unit {
    /// How many of this unit make one millivolt (1000 for microvolts).
    pub fn per_mv(self) -> f64 {
        match self {
            Unit::Volt => 1e-3,
            Unit::Millivolt => 1.0,
            Unit::Microvolt => 1e3,
            Unit::Nanovolt => 1e6,
        }
    }

    /// A value in this unit as millivolts.
    pub fn to_mv(self, value: f64) -> f64 {
        match self {
            Unit::Volt => value * 1e3,
            unit => value / unit.per_mv(),
        }
    }
}

impl FromStr for Unit {
    type Err = UnknownUnit;

    /// Reads a unit as files spell it: `mV`, `uV`, `\u{b5}V`, `microvolts`, `micro-Volt`, `mikroV`, `uVolt`, ... Case does not matter.
    fn from_str(text: &str) -> Result<Self, UnknownUnit> {
        let found = spelt(text).or_else(|| in_other_encodings(text).find_map(|text| spelt(&text)));
        found.ok_or_else(|| UnknownUnit(text.trim().to_owned()))
    }
}

/// The unit that is spelt so.
fn spelt(text: &str) -> Option<Unit> {
    let plain = plain(text);
    let volt = |rest: &str| VOLTS.contains(&rest);
    if volt(&plain) {
        return Some(Unit::Volt);
    }
    let found = PREFIXES.iter().find(|(prefix, _)| {
        let rest = plain.strip_prefix(prefix);
        rest.is_some_and(|rest| {
            let rest = rest.trim_start_matches([' ', '-', '_']);
            // Fields of eight characters cut the long words off.
            volt(rest) || (prefix.len() >= 4 && ["vo", "vol"].contains(&rest))
        })
    });
    found.map(|(_, unit)| *unit)
}

/// What `volt` is called.
const VOLTS: [&str; 9] = [
    "v", "volt", "volts", "volt(s)", "voltio", "voltios", "wolt", "wolty", "\u{432}",
];

/// What stands in front of `volt`, longest first where one begins another.
const PREFIXES: [(&str, Unit); 19] = [
    ("micro", Unit::Microvolt),
    ("mikro", Unit::Microvolt),
    ("micr", Unit::Microvolt),
    ("mic", Unit::Microvolt),
    ("mcr", Unit::Microvolt),
    ("mc", Unit::Microvolt),
    ("mk", Unit::Microvolt),
    ("mu", Unit::Microvolt),
    ("u", Unit::Microvolt),
    ("\u{3bc}", Unit::Microvolt),
    ("\u{43c}\u{43a}", Unit::Microvolt),
    ("\u{5fae}", Unit::Microvolt),
    ("milli", Unit::Millivolt),
    ("mili", Unit::Millivolt),
    ("m", Unit::Millivolt),
    ("\u{43c}", Unit::Millivolt),
    ("\u{6beb}", Unit::Millivolt),
    ("nano", Unit::Nanovolt),
    ("n", Unit::Nanovolt),
];

/// A unit in lower case, with one letter for what is written in several ways: both letters mu, letters of full width, signs that are a
/// whole unit.
fn plain(text: &str) -> String {
    let mut plain = String::new();
    for c in text.chars() {
        match c {
            '\u{b5}' => plain.push('\u{3bc}'),
            '\u{33b5}' => plain.push_str("nv"),
            '\u{33b6}' => plain.push_str("uv"),
            '\u{33b7}' => plain.push_str("mv"),
            '\u{4f0f}' => plain.push('v'),
            '\u{ff01}'..='\u{ff5e}' => {
                let narrow = char::from_u32(c as u32 - 0xfee0);
                plain.extend(narrow.unwrap_or(c).to_lowercase());
            }
            c => plain.extend(c.to_lowercase()),
        }
    }
    plain.trim_matches([' ', '\t', '\0', '.']).to_owned()
}

/// Encodings in which a unit may stand where a format knows only ASCII, the usual ones first.
const ENCODINGS: [&Encoding; 8] = [
    UTF_8,
    SHIFT_JIS,
    GBK,
    BIG5,
    EUC_KR,
    EUC_JP,
    WINDOWS_1253,
    WINDOWS_1251,
];

/// What a text may be whose bytes were taken for Latin-1, as readers do where nothing says an encoding.
fn in_other_encodings(text: &str) -> impl Iterator<Item = String> {
    let bytes: Option<Vec<u8>> = text.chars().map(|c| u8::try_from(c).ok()).collect();
    let bytes = bytes.filter(|_| !text.is_ascii()).unwrap_or_default();
    // The code pages of DOS have the letter mu at this place.
    let dos = bytes
        .iter()
        .map(|&b| char::from(if b == 0xe6 { 0xb5 } else { b }))
        .collect();
    let others = ENCODINGS.iter().map(move |encoding| {
        let (text, _) = encoding.decode_without_bom_handling(&bytes);
        text.into_owned()
    });
    others.chain([dos])
}

/// The error of a file of whose `signals`, names with units, none is a voltage.
pub(crate) fn none_is_voltage<'a>(
    path: &Path,
    signals: impl Iterator<Item = (&'a str, &'a str)>,
) -> RecordError {
    /// Signals that are named.
    const NAMED: usize = 12;
    let units: Vec<String> = signals
        .take(NAMED)
        .map(|(signal, unit)| format!("`{signal}` in `{unit}`"))
        .collect();
    let why = match units.is_empty() {
        true => "it has no signal".to_owned(),
        false => format!(
            "none of its signals is a voltage ({}); expected V, mV, uV or nV. Ask for the ECG leads by name, with the unit of their samples (`--input-unit`)",
            units.join(", ")
        ),
    };
    RecordError::NoSamples {
        path: path.to_owned(),
        why,
    }
}

/// The error of a signal whose unit is no voltage; `asked` when it was asked for by its name.
pub(crate) fn no_voltage(path: &Path, signal: &str, unit: &str, asked: bool) -> RecordError {
    match asked {
        true => content(
            path,
            &format!("the unit of signal `{signal}`"),
            &format!("`{unit}`, which is no voltage"),
            "one of V, mV, uV, nV, or the unit of its samples (`--input-unit`)",
        ),
        false => RecordError::Unit {
            path: path.to_owned(),
            signal: signal.to_owned(),
            unit: unit.to_owned(),
        },
    }
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Unit::Volt => "V",
            Unit::Millivolt => "mV",
            Unit::Microvolt => "uV",
            Unit::Nanovolt => "nV",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_read_in_every_spelling() {
        for (text, unit) in [
            ("mV", Unit::Millivolt),
            ("mv", Unit::Millivolt),
            ("uV", Unit::Microvolt),
            ("\u{b5}V", Unit::Microvolt),
            ("\u{3bc}V", Unit::Microvolt),
            ("V", Unit::Volt),
            ("NV", Unit::Nanovolt),
            ("microV", Unit::Microvolt),
            ("micro-volt", Unit::Microvolt),
            ("Micro Volts", Unit::Microvolt),
            ("microvolt(s)", Unit::Microvolt),
            ("microvol", Unit::Microvolt),
            ("mikroV", Unit::Microvolt),
            ("uVolt", Unit::Microvolt),
            ("\u{b5}Volts", Unit::Microvolt),
            ("\u{c2}\u{b5}V", Unit::Microvolt),
            ("\u{3bc}\u{ff36}", Unit::Microvolt),
            ("\u{33b6}", Unit::Microvolt),
            ("\u{43c}\u{43a}\u{412}", Unit::Microvolt),
            ("\u{5fae}\u{4f0f}", Unit::Microvolt),
            ("milli-volts", Unit::Millivolt),
            ("mVolt", Unit::Millivolt),
            ("\u{43c}\u{412}", Unit::Millivolt),
            ("nano volt", Unit::Nanovolt),
        ] {
            assert_eq!(text.parse(), Ok(unit), "{text}");
        }
        for other in [
            "mmHg", "", "vol", "Vol%", "-V", "mV/s", "VA", "mW", "micro", "?V", "uV2", "ohm",
        ] {
            assert!(other.parse::<Unit>().is_err(), "{other}");
        }
    }

    #[test]
    fn units_are_read_in_every_encoding() {
        for bytes in [
            &b"uV"[..],
            b"\xc2\xb5V",
            b"\xce\xbcV",
            b"\xb5V",
            b"\x83\xcaV",
            b"\x83\xca\x82\x75",
            b"\xa6\xccV",
            b"\xa3gV",
            b"\xecV",
            b"\xe6V",
            b"\xec\xea\xc2",
            b"\xce\xa2\xb7\xfc",
        ] {
            let text = crate::names::text(bytes);
            assert_eq!(text.parse(), Ok(Unit::Microvolt), "{bytes:x?}");
        }
    }

    #[test]
    fn one_volt_is_a_thousand_millivolts() {
        assert_eq!(Unit::Volt.to_mv(0.5), 500.0);
        assert_eq!(Unit::Microvolt.to_mv(500.0), 0.5);
        assert_eq!(Unit::Nanovolt.to_mv(2e6), 2.0);
    }
}
