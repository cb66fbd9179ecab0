//! Reports as a decoder sees them in training: at each position the tokens before it, with the next one as its label.

use crate::text::TextIds;

/// Reports for a GPT-2, all of one length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taught {
    /// What the decoder reads. A position counts as real where its label is: the position of the end token is seen by none.
    pub inputs: TextIds,
    /// What follows each position; nothing where there is padding.
    pub labels: Vec<Option<u32>>,
    /// How many reports were cut and so lost their end.
    pub cut: usize,
}

impl Taught {
    /// From the ids of reports with their start and end tokens, filled up with `pad` or cut to `length`, of which the decoder reads all
    /// but the last.
    ///
    /// # Errors
    /// When a report has less than two tokens or one of them is `pad`, or the length is less than 2.
    pub fn new(reports: &[Vec<u32>], pad: u32, length: usize) -> Result<Self, String> {
        if length < 2 {
            return Err(format!("reports of {length} tokens, expected at least 2"));
        }
        let (mut ids, mut labels) = (Vec::new(), Vec::new());
        let mut cut = 0;
        for (number, report) in reports.iter().enumerate() {
            if report.len() < 2 || report.contains(&pad) {
                return Err(format!(
                    "report {number} has {} tokens; expected its start, its end, and no padding ({pad}) between",
                    report.len()
                ));
            }
            cut += usize::from(report.len() > length);
            let at = |place: usize| report.get(place).copied();
            ids.extend((0..length - 1).map(|place| at(place).unwrap_or(pad)));
            labels.extend((1..length).map(at));
        }
        let inputs = TextIds {
            ids,
            real: labels.iter().map(Option::is_some).collect(),
            length: length - 1,
        };
        Ok(Taught {
            inputs,
            labels,
            cut,
        })
    }

    /// The same reports without the positions in which all are padding: losses and gradients stay as they are.
    #[must_use]
    pub fn trimmed(&self) -> Self {
        let length = self.inputs.length.max(1);
        let rows = || self.labels.chunks_exact(length);
        let last =
            |row: &[Option<u32>]| row.iter().rposition(Option::is_some).map_or(0, |at| at + 1);
        let needed = rows().map(last).max().unwrap_or(0).max(1).min(length);
        let ids = self.inputs.ids.chunks_exact(length);
        let real = self.inputs.real.chunks_exact(length);
        Taught {
            inputs: TextIds {
                ids: ids.flat_map(|row| row[..needed].iter().copied()).collect(),
                real: real.flat_map(|row| row[..needed].iter().copied()).collect(),
                length: needed,
            },
            labels: rows()
                .flat_map(|row| row[..needed].iter().copied())
                .collect(),
            cut: self.cut,
        }
    }
}

/// Reports for R2Gen with the vocabulary of a BERT, all of one length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaughtBert {
    /// `[reports, length]`: of these the decoder reads all but the last, and all but the first are what follows.
    pub ids: Vec<u32>,
    /// Which of them count as labels: `[reports, length]`, the first of each does not.
    pub counted: Vec<bool>,
    /// Tokens of each report.
    pub length: usize,
    /// How many reports were cut and so lost their end.
    pub cut: usize,
}

impl TaughtBert {
    /// From the ids of reports with their start and end tokens, put between `first` and `last`, filled up with `pad` or cut to
    /// `length`. The last token is replaced by padding where it stands and one position is left out, as in the original; a label counts
    /// where the token behind it is no padding.
    ///
    /// # Errors
    /// When the length is less than 4.
    pub fn new(
        reports: &[Vec<u32>],
        [first, last, pad]: [u32; 3],
        length: usize,
    ) -> Result<Self, String> {
        if length < 4 {
            return Err(format!("reports of {length} tokens, expected at least 4"));
        }
        let (mut ids, mut counted) = (Vec::new(), Vec::new());
        let mut cut = 0;
        for report in reports {
            cut += usize::from(report.len() + 2 > length);
            let own = &report[..report.len().min(length - 2)];
            let whole: Vec<u32> = [first].iter().chain(own).chain([&last]).copied().collect();
            let known = whole.len();
            let at = |place: usize| match whole.get(place) {
                Some(&id) if id != last => id,
                _ => pad,
            };
            ids.extend((0..length - 1).map(at));
            counted.extend((1..length).map(|place| place < known));
        }
        Ok(TaughtBert {
            ids,
            counted,
            length: length - 1,
            cut,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_what_follows_and_the_end_is_seen_by_none() {
        let reports = [vec![7, 1, 2, 8], vec![7, 1, 2, 3, 4, 5, 8]];
        let taught = Taught::new(&reports, 9, 6).unwrap();
        assert_eq!(taught.inputs.ids, [7, 1, 2, 8, 9, 7, 1, 2, 3, 4]);
        let known = |ids: &[u32]| ids.iter().copied().map(Some).collect::<Vec<_>>();
        assert_eq!(taught.labels[..3], known(&[1, 2, 8]));
        assert_eq!(taught.labels[3..5], [None, None]);
        assert_eq!(taught.labels[5..], known(&[1, 2, 3, 4, 5]));
        let real: Vec<bool> = taught.labels.iter().map(Option::is_some).collect();
        assert_eq!((taught.inputs.real.clone(), taught.cut), (real, 1));
        let short = Taught::new(&reports[..1], 9, 6).unwrap().trimmed();
        assert_eq!((short.inputs.ids, short.inputs.length), (vec![7, 1, 2], 3));
        assert_eq!(short.labels, known(&[1, 2, 8]));
        assert!(Taught::new(&[vec![7]], 9, 6).is_err());
        assert!(Taught::new(&[vec![7, 9, 8]], 9, 6).is_err());
    }

    #[test]
    fn a_bert_vocabulary_has_tokens_of_its_own_around_a_report() {
        let reports = [vec![7, 1, 8], vec![7, 1, 2, 3, 4, 8]];
        let taught = TaughtBert::new(&reports, [5, 6, 0], 7).unwrap();
        assert_eq!(taught.length, 6);
        assert_eq!(taught.ids, [5, 7, 1, 8, 0, 0, 5, 7, 1, 2, 3, 4]);
        let counted: Vec<u8> = taught.counted.iter().map(|&c| u8::from(c)).collect();
        assert_eq!(counted, [1, 1, 1, 1, 0, 0, 1, 1, 1, 1, 1, 1]);
        assert_eq!(taught.cut, 1);
    }
}
