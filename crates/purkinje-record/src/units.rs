//! Units of voltage.

use std::fmt;
use std::str::FromStr;

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

    /// Reads a unit as files spell it: `mV`, `mv`, `uV`, `µV`, `microvolts`, ... Case does not matter.
    fn from_str(text: &str) -> Result<Self, UnknownUnit> {
        // The two letters mu (micro sign and Greek) are both in use.
        match text.trim() {
            "mV" | "mv" => Ok(Unit::Millivolt),
            other => match other.to_lowercase().as_str() {
                "v" | "volt" | "volts" => Ok(Unit::Volt),
                "mv" | "millivolt" | "millivolts" => Ok(Unit::Millivolt),
                "uv" | "\u{b5}v" | "\u{3bc}v" | "microvolt" | "microvolts" => Ok(Unit::Microvolt),
                "nv" | "nanovolt" | "nanovolts" => Ok(Unit::Nanovolt),
                _ => Err(UnknownUnit(other.to_owned())),
            },
        }
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
        ] {
            assert_eq!(text.parse(), Ok(unit), "{text}");
        }
        assert!("mmHg".parse::<Unit>().is_err());
        assert!("".parse::<Unit>().is_err());
    }

    #[test]
    fn one_volt_is_a_thousand_millivolts() {
        assert_eq!(Unit::Volt.to_mv(0.5), 500.0);
        assert_eq!(Unit::Microvolt.to_mv(500.0), 0.5);
        assert_eq!(Unit::Nanovolt.to_mv(2e6), 2.0);
    }
}
