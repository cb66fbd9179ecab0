//! Which labels of one data set have a counterpart in another: the protocol of MERL's appendix (tables 11 to 13) for diagnosis under a shift of
//! the data, in which the mean runs over these labels only. The appendix was read in the transcription of a third party.

use crate::{Error, Result};

/// Labels of one set with their counterparts in another.
type Map = &'static [(&'static str, &'static [&'static str])];

/// The superclasses of PTB-XL and the classes of CPSC2018.
const SUPER_CPSC: Map = &[
    ("NORM", &["NORM"]),
    ("CD", &["1AVB", "CRBBB", "CLBBB"]),
    ("STTC", &["STE", "STD"]),
];
/// The superclasses of PTB-XL and the classes of Chapman-Shaoxing-Ningbo.
const SUPER_CSN: Map = &[
    ("HYP", &["RVH", "LVH"]),
    ("NORM", &["SR"]),
    (
        "CD",
        &["2AVB", "2AVB1", "1AVB", "AVB", "LBBB", "RBBB", "STDD"],
    ),
    ("MI", &["MI"]),
    ("STTC", &["STTC", "STE", "TWO", "STTU", "QTIE", "TWC"]),
];
/// The classes of CPSC2018 and of Chapman-Shaoxing-Ningbo.
const CPSC_CSN: Map = &[
    ("AFIB", &["AFIB"]),
    ("VPC", &["VPB"]),
    ("NORM", &["SR"]),
    ("1AVB", &["1AVB"]),
    ("CRBBB", &["RBBB"]),
    ("STE", &["STE"]),
    ("PAC", &["APB"]),
    ("CLBBB", &["LBBB"]),
    ("STD", &["STE", "STTC", "STTU", "STDD"]),
];
/// The sets by their names.
const SETS: [&str; 3] = ["super", "cpsc2018", "csn"];

/// The labels of the target that have a counterpart in the source, for a shift such as `super:cpsc2018`.
///
/// # Errors
/// When it is none of those there are.
pub fn shifted(shift: &str) -> Result<Vec<&'static str>> {
    let forward = |map: Map| {
        let mut all = Vec::new();
        for label in map.iter().flat_map(|(_, labels)| *labels) {
            if !all.contains(label) {
                all.push(*label);
            }
        }
        all
    };
    let back = |map: Map| map.iter().map(|(label, _)| *label).collect();
    Ok(match shift.split_once(':') {
        Some(("super", "cpsc2018")) => forward(SUPER_CPSC),
        Some(("super", "csn")) => forward(SUPER_CSN),
        Some(("cpsc2018", "csn")) => forward(CPSC_CSN),
        Some(("cpsc2018", "super")) => back(SUPER_CPSC),
        Some(("csn", "super")) => back(SUPER_CSN),
        Some(("csn", "cpsc2018")) => back(CPSC_CSN),
        _ => {
            return Err(Error::invalid(format!(
                "`--shift {shift}`: expected two of {} joined by a colon, the source first",
                SETS.join(", ")
            )));
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_with_a_counterpart_are_kept() {
        assert_eq!(
            shifted("super:cpsc2018").unwrap(),
            ["NORM", "1AVB", "CRBBB", "CLBBB", "STE", "STD"]
        );
        assert_eq!(shifted("cpsc2018:super").unwrap(), ["NORM", "CD", "STTC"]);
        // STE has two counterparts and counts once.
        assert_eq!(shifted("cpsc2018:csn").unwrap().len(), 11);
        assert_eq!(shifted("csn:cpsc2018").unwrap().len(), 9);
        for wrong in ["super:super", "super", "a:b"] {
            assert!(shifted(wrong).unwrap_err().to_string().contains("csn"));
        }
    }
}
