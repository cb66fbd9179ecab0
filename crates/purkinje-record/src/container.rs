//! What the containers of named arrays (HDF5, MATLAB, npz) share: which of the arrays are samples.
//!
//! These are arrays of one dimension that are named like leads (`V1`, `strip_V1`, `V1/raw`: a lead each), else an array with a usual name,
//! else the only one of two dimensions, else the only long one of a single dimension; or what the caller names. Where several would do, none
//! is taken.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::path::Path;

use crate::clock::{Clock, Rates, time_unit_s};
use crate::error::{content, listed};
use crate::leads::{is_further, is_inverted};
use crate::names::{bare, parent};
use crate::table::{is_counter, is_time};
use crate::values::Values;
use crate::{Lead, LeadSet, OpenOptions, RecordError};

/// Values of a vector that may be samples though nothing says so.
const LONG: u64 = 100;
/// Ways to name leads in one file that are told apart.
const MAX_FAMILIES: usize = 64;
/// Arrays that a message lists.
const LISTED: usize = 12;

/// An array of numbers.
pub(crate) struct Item {
    /// With groups or structs before it: `a/b`, `a.b`.
    pub name: String,
    pub dims: Vec<u64>,
    /// Dimensions and type in words.
    pub said: String,
}

/// The arrays of numbers of a file.
pub(crate) struct Items<'a> {
    pub path: &'a Path,
    pub all: &'a [Item],
    /// What the format calls them, `variables`, and all that the file holds.
    pub what: &'a str,
    pub summary: String,
    /// Names of an array of samples, most telling first.
    pub usual: &'a [&'a str],
    /// What is expected where nothing fits.
    pub expected: &'a str,
}

/// Which arrays are samples.
#[derive(Debug, PartialEq)]
pub(crate) enum Samples {
    One(usize),
    Leads(Vec<(usize, Lead)>),
}

impl Samples {
    /// The arrays, in the order of the leads.
    pub fn rows(&self) -> Vec<usize> {
        match self {
            Samples::One(at) => vec![*at],
            Samples::Leads(rows) => rows.iter().map(|(at, _)| *at).collect(),
        }
    }

    /// The leads, where each has an array of its own.
    pub fn leads(&self) -> Option<LeadSet> {
        match self {
            Samples::One(_) => None,
            Samples::Leads(rows) => Some(LeadSet::new(
                rows.iter().map(|(_, lead)| lead.clone()).collect(),
            )),
        }
    }
}

/// Arrays that are named alike but for a lead.
#[derive(Debug)]
struct Family {
    /// What stands before the name of the lead, and behind it.
    before: String,
    after: String,
    rows: Vec<(usize, Lead)>,
    /// Whether a group, or an array without a group, is called as a lead is and nothing else.
    whole: bool,
    /// Whether nothing divides the name of the lead from what is before it.
    glued: bool,
}

impl Item {
    /// The length, if there is at most one dimension.
    pub fn vector(&self) -> Option<u64> {
        let mut long = self.dims.iter().copied().filter(|&size| size != 1);
        let len = long.next().unwrap_or(1);
        long.next().is_none().then_some(len)
    }

    /// How many dimensions it has, but for those of one element.
    fn rank(&self) -> usize {
        self.dims.iter().filter(|&&size| size > 1).count()
    }

    fn is_long(&self) -> bool {
        self.vector().is_some_and(|len| len > LONG) && !is_time(bare(&self.name))
    }
}

impl Family {
    fn label(&self) -> String {
        format!("{}*{}", self.before, self.after)
    }

    /// Whether the caller may mean it by this name: `strip_*`, `strip`, or its group.
    fn is_called(&self, name: &str) -> bool {
        let short = |text: &str| text.trim_matches(['/', '.', '_', '-', ' ']).to_owned();
        let label = self.label();
        label.eq_ignore_ascii_case(name)
            || (!(name.is_empty() || name.contains('*'))
                && short(&label.replace('*', "")).eq_ignore_ascii_case(name))
    }

    fn in_words(&self, all: &[Item]) -> String {
        let len = self.rows.first().and_then(|(at, _)| all[*at].vector());
        let (label, leads) = (self.label(), self.rows.len());
        format!("{label} ({leads} leads of {})", len.unwrap_or(0))
    }
}

impl Items<'_> {
    /// The arrays of samples.
    ///
    /// # Errors
    /// When there are none, when several would do, or when what the caller names is not there.
    pub fn samples(&self, options: &OpenOptions) -> Result<Samples, RecordError> {
        // What MATLAB keeps for itself in files of 7.3.
        let own = |at: &usize| !self.all[*at].name.starts_with('#');
        let rows: Vec<usize> = (0..self.all.len()).filter(own).collect();
        match &options.array {
            Some(name) => self.named(name, &rows, options),
            None => self.among(&rows, options),
        }
    }

    /// The samples among the arrays `rows`.
    fn among(&self, rows: &[usize], options: &OpenOptions) -> Result<Samples, RecordError> {
        let families = self.families(rows, options);
        let usual = self.usual.iter().find_map(|usual| {
            let own = |at: &&usize| {
                let item = &self.all[**at];
                bare(&item.name).eq_ignore_ascii_case(usual) && item.rank() > 0
            };
            let own: Vec<usize> = rows.iter().filter(own).copied().collect();
            (!own.is_empty()).then_some(own)
        });
        let usual = usual.unwrap_or_default();
        let tables = || usual.iter().filter(|at| self.all[**at].rank() > 1);
        match (&families[..], tables().count(), &usual[..]) {
            ([only], 0, _) => self.leads(only, options),
            ([], _, [only]) => Ok(Samples::One(*only)),
            ([], 1, _) => Ok(Samples::One(tables().next().copied().unwrap_or_default())),
            ([], _, []) => self.only(rows),
            _ => Err(self.several(&families, rows)),
        }
    }

    /// The only array of two dimensions, or the only long one.
    fn only(&self, rows: &[usize]) -> Result<Samples, RecordError> {
        let of = |rank: usize| {
            let own = move |at: &usize| self.all[*at].rank() == rank;
            rows.iter().copied().filter(own)
        };
        let matrices: Vec<usize> = of(2).collect();
        let long: Vec<usize> = of(1).filter(|at| self.all[*at].is_long()).collect();
        let longest = |at: usize| self.all[at].dims.iter().copied().max();
        match (&matrices[..], &long[..]) {
            ([], [only]) if rows.iter().all(|at| self.all[*at].rank() < 3) => {
                Ok(Samples::One(*only))
            }
            ([only], _) if long.iter().all(|&at| longest(at) <= longest(*only)) => {
                Ok(Samples::One(*only))
            }
            ([], []) => Err(self.none()),
            _ => Err(self.several(&[], rows)),
        }
    }

    /// What the caller calls `name`: an array, arrays of leads, or a group.
    fn named(
        &self,
        name: &str,
        rows: &[usize],
        options: &OpenOptions,
    ) -> Result<Samples, RecordError> {
        let name = name.trim().trim_matches('/');
        let is = |at: usize, fits: &dyn Fn(&str) -> bool| fits(&self.all[at].name);
        let ends = |own: &str| {
            let start = own.len().checked_sub(name.len());
            let split = start.and_then(|start| Some((own.get(..start)?, own.get(start..)?)));
            split.is_some_and(|(before, end)| {
                let whole = before.is_empty() || before.ends_with(['/', '.']);
                whole && end.eq_ignore_ascii_case(name)
            })
        };
        let find = |fits: &dyn Fn(&str) -> bool| -> Vec<usize> {
            rows.iter().copied().filter(|&at| is(at, fits)).collect()
        };
        let mut own = find(&|own| own == name);
        if own.is_empty() {
            own = find(&ends);
        }
        let families = self.families(rows, options);
        let mut called = families.iter().filter(|family| family.is_called(name));
        match (&own[..], called.next(), called.next()) {
            ([at], ..) => {
                let item = &self.all[*at];
                let split = splits(&item.name, options);
                let lead = split.into_iter().find(|split| !split.glued);
                let lead = lead.filter(|_| item.vector().is_some());
                Ok(match lead.filter(|_| options.array_leads.is_none()) {
                    Some(split) => Samples::Leads(vec![(*at, split.lead)]),
                    None => Samples::One(*at),
                })
            }
            ([], Some(family), None) => self.leads(family, options),
            ([], ..) => {
                let inside = |own: &str| {
                    let rest = own.strip_prefix(name);
                    rest.is_some_and(|rest| rest.starts_with(['/', '.']))
                };
                match find(&inside) {
                    inside if inside.is_empty() => {
                        Err(self.refused(&format!("the array `{name}`"), "absent", &families, rows))
                    }
                    inside => self.among(&inside, options),
                }
            }
            _ => Err(self.several(&[], &own)),
        }
    }

    fn leads(&self, family: &Family, options: &OpenOptions) -> Result<Samples, RecordError> {
        let len = |row: &(usize, Lead)| self.all[row.0].vector().unwrap_or(0);
        let mut rows = family.rows.clone();
        rows.sort_by_key(|(_, lead)| lead.standard_index().unwrap_or(usize::MAX));
        let longest = rows.iter().max_by_key(|row| len(row));
        let short = rows
            .iter()
            .find(|row| longest.is_some_and(|longest| len(row) != len(longest)));
        if let (Some(short), Some(longest)) = (short, longest) {
            return Err(content(
                self.path,
                &format!(
                    "the length of lead {} (`{}`)",
                    short.1, self.all[short.0].name
                ),
                &format!("{} samples", len(short)),
                &format!("{}, as lead {} has", len(longest), longest.1),
            ));
        }
        let leads: Vec<Lead> = rows.iter().map(|(_, lead)| lead.clone()).collect();
        // Two arrays of one lead are refused before they cost anything.
        options.choose(self.path, &leads, |_| true)?;
        let Some(told) = &options.array_leads else {
            return Ok(Samples::Leads(rows));
        };
        // Names decide which array is which lead; the caller can only say which of them, and their order.
        let own = LeadSet::new(leads);
        match own.rows_of(told) {
            Ok(order) => {
                let rows = order.into_iter().map(|row| rows[row].clone());
                Ok(Samples::Leads(rows.collect()))
            }
            Err(absent) => Err(RecordError::MissingLead {
                path: self.path.to_owned(),
                lead: absent.to_string(),
                present: own.to_string(),
            }),
        }
    }

    /// Arrays of leads, those apart that are named in another way.
    fn families(&self, rows: &[usize], options: &OpenOptions) -> Vec<Family> {
        let mut families: Vec<Family> = Vec::new();
        let mut places = HashMap::new();
        for &at in rows {
            let item = &self.all[at];
            if item.vector().is_none() {
                continue;
            }
            for split in splits(&item.name, options) {
                let key = (
                    split.before.to_lowercase(),
                    split.after.to_lowercase(),
                    split.glued,
                );
                let place = *places.entry(key).or_insert(families.len());
                if place == families.len() {
                    families.push(Family {
                        before: split.before,
                        after: split.after,
                        rows: Vec::new(),
                        whole: split.whole,
                        glued: split.glued,
                    });
                }
                families[place].rows.push((at, split.lead));
            }
        }
        for family in &mut families {
            options.settle(family.rows.iter_mut().map(|(_, lead)| lead));
            let known = |lead: &Lead| lead.standard_index().is_some() || is_further(lead.name());
            family.rows.retain(|(_, lead)| known(lead));
        }
        families.retain(|family| self.is_recording(family));
        // Of two ways to read the same names that by which more are leads.
        families.sort_by_key(|family| (Reverse(family.rows.len()), family.glued));
        // So many are refused in any case.
        families.truncate(MAX_FAMILIES);
        let mut kept: Vec<Family> = Vec::new();
        let mut taken: Vec<HashSet<usize>> = Vec::new();
        for family in families {
            let own: HashSet<usize> = family.rows.iter().map(|row| row.0).collect();
            if !taken.iter().any(|other| own.is_subset(other)) {
                kept.push(family);
                taken.push(own);
            }
        }
        // Average beats are no recording where there is one.
        let median = |family: &Family| family.label().to_lowercase().contains("median");
        if kept.iter().any(|family| !median(family)) {
            kept.retain(|family| !median(family));
        }
        kept
    }

    fn is_recording(&self, family: &Family) -> bool {
        let longest = family
            .rows
            .iter()
            .filter_map(|(at, _)| self.all[*at].vector());
        let longest = longest.max().unwrap_or(0);
        let mut leads: Vec<&Lead> = family.rows.iter().map(|(_, lead)| lead).collect();
        leads.sort_unstable();
        leads.dedup();
        match leads.len() {
            0 => false,
            1 => family.whole && family.after.is_empty() && longest > LONG,
            count => longest > 1 && (count > 2 || !family.glued),
        }
    }

    fn none(&self) -> RecordError {
        let field = format!("the list of {}", self.what);
        listed(self.path, &field, &self.summary, self.expected)
    }

    fn several(&self, families: &[Family], rows: &[usize]) -> RecordError {
        let field = format!("the list of {}", self.what);
        self.refused(&field, "several that may be the samples", families, rows)
    }

    fn refused(
        &self,
        field: &str,
        found: &str,
        families: &[Family],
        rows: &[usize],
    ) -> RecordError {
        let own = families.iter().flat_map(|family| &family.rows);
        let in_family: HashSet<usize> = own.map(|row| row.0).collect();
        let arrays = rows.iter().filter(|&&at| {
            let item = &self.all[at];
            (item.rank() > 1 || item.vector().is_some_and(|len| len > 1))
                && !in_family.contains(&at)
        });
        let families = families.iter().map(|family| family.in_words(self.all));
        let arrays = arrays.map(|&at| {
            let item = &self.all[at];
            format!("{} ({})", item.name, item.said)
        });
        let mut words: Vec<String> = families.chain(arrays).collect();
        let more = words.len().saturating_sub(LISTED);
        words.truncate(LISTED);
        if more > 0 {
            words.push(format!("and {more} more"));
        }
        listed(
            self.path,
            field,
            &format!("{found}: {}", words.join(", ")),
            &format!(
                "{}, or the name of the array (`--input-array`)",
                self.expected
            ),
        )
    }

    /// What is said of vectors that are as long as those of the leads, in the same group, and belong to no lead by name.
    pub fn beside(&self, samples: &Samples) -> Option<String> {
        let Samples::Leads(leads) = samples else {
            return None;
        };
        let first = &self.all[leads.first()?.0];
        let own: HashSet<usize> = leads.iter().map(|lead| lead.0).collect();
        let each = self.all.iter().enumerate().filter(|(at, item)| {
            let name = bare(&item.name);
            item.vector() == first.vector()
                && parent(&item.name) == parent(&first.name)
                && !(own.contains(at) || is_time(name) || is_counter(name))
        });
        // The caller may have asked for some of the leads only.
        let each =
            each.filter(|(_, item)| lead(bare(&item.name), &OpenOptions::default()).is_none());
        let names = each.map(|(_, item)| format!("`{}`", bare(&item.name)));
        let names: Vec<String> = names.take(LISTED).collect();
        (!names.is_empty()).then(|| {
            format!(
                "not taken, as their names are none of leads: {}",
                names.join(", ")
            )
        })
    }

    /// The name of the array of samples, or of the group that the arrays of leads have in common.
    pub fn own(&self, samples: &Samples) -> String {
        let rows = samples.rows();
        let mut names = rows.iter().map(|&at| self.all[at].name.as_str());
        let first = names.next().unwrap_or("");
        if let Samples::One(_) = samples {
            return first.to_owned();
        }
        let common = names.fold(first.len(), |common, name| {
            let same = first.bytes().zip(name.bytes()).take_while(|(a, b)| a == b);
            common.min(same.count())
        });
        let end = first
            .bytes()
            .take(common)
            .rposition(|b| b == b'/' || b == b'.');
        first[..end.unwrap_or(0)].to_owned()
    }

    /// Samples of a lead, where each has an array of its own.
    pub fn len(&self, samples: &Samples) -> usize {
        let rows = samples.rows();
        let len = rows.first().and_then(|&at| self.all[at].vector());
        usize::try_from(len.unwrap_or(0)).unwrap_or(usize::MAX)
    }

    /// The array of the times of these samples: as long as a lead, in the same group or one around it.
    pub fn times(&self, samples: &Samples) -> Option<usize> {
        let first = match samples {
            Samples::One(at) => &self.all[*at],
            Samples::Leads(rows) => &self.all[rows.first()?.0],
        };
        let len = first.dims.iter().copied().max()?;
        let mut own = (0..self.all.len()).filter(|&at| {
            let item = &self.all[at];
            is_time(bare(&item.name))
                && item.vector() == Some(len)
                && first.name.starts_with(parent(&item.name))
        });
        let only = own.next()?;
        own.next().is_none().then_some(only)
    }
}

/// A name that holds the name of a lead.
struct Split {
    before: String,
    after: String,
    lead: Lead,
    whole: bool,
    glued: bool,
}

/// Every way in which the name of a lead stands in `name`.
fn splits(name: &str, options: &OpenOptions) -> Vec<Split> {
    let mut found = Vec::new();
    for segment in parts(name, 0..name.len(), &['/', '.']) {
        let own = &name[segment.clone()];
        let mut add = |part: Range<usize>, lead: Lead, whole: bool, glued: bool| {
            found.push(Split {
                before: name[..part.start].to_owned(),
                after: name[part.end..].to_owned(),
                lead,
                whole,
                glued,
            });
        };
        if let Some(lead) = lead(own, options) {
            add(segment, lead, true, false);
            continue;
        }
        if is_inverted(own) {
            continue;
        }
        let tokens = parts(name, segment.clone(), &['_', ' ', '-']);
        let leads: Vec<(Range<usize>, Lead)> = tokens
            .filter_map(|part| Some((part.clone(), lead(&name[part], options)?)))
            .collect();
        match &leads[..] {
            [(part, lead)] => {
                // A minus that nothing stands before is the sign of the lead.
                let before = &name[segment.start..part.start];
                let mut signs = before.chars().rev();
                let signed =
                    signs.next() == Some('-') && signs.next().is_none_or(|c| !c.is_alphanumeric());
                if !signed {
                    add(part.clone(), lead.clone(), false, false);
                }
            }
            // Between two leads.
            [_, _, ..] => {}
            [] => {
                for lead in &Lead::STANDARD_12 {
                    let start = segment.end.saturating_sub(lead.name().len());
                    let end = name.get(start..segment.end).unwrap_or_default();
                    let before = name.get(segment.start..start).unwrap_or_default();
                    if end.eq_ignore_ascii_case(lead.name())
                        && before.ends_with(|c: char| c.is_alphabetic())
                    {
                        add(start..segment.end, lead.clone(), false, true);
                    }
                }
            }
        }
    }
    found
}

/// The lead that is called so and nothing else.
fn lead(name: &str, options: &OpenOptions) -> Option<Lead> {
    let mut lead = Lead::parse(name);
    options.settle([&mut lead]);
    let chest = |name: &str| {
        let number = name.strip_prefix(['C', 'c']);
        number.is_some_and(|number| matches!(number, "1" | "2" | "3" | "4" | "5" | "6"))
    };
    let known = lead.standard_index().is_some() || is_further(name) || chest(name);
    known.then_some(lead)
}

/// The stretches of `name` within `range` between these characters.
fn parts<'a>(
    name: &'a str,
    range: Range<usize>,
    between: &'a [char],
) -> impl Iterator<Item = Range<usize>> + 'a {
    let mut start = range.start;
    name[range].split(between).map(move |part| {
        let own = start..start + part.len();
        start = own.end + 1;
        own
    })
}

/// Leads that lie in arrays of their own, as the rows of one.
#[derive(Debug)]
pub(crate) struct Rows {
    /// And whether the samples are its rows.
    pub leads: Vec<(Box<dyn Values>, bool)>,
}

impl Values for Rows {
    fn read(
        &self,
        rows: Range<usize>,
        columns: Range<usize>,
        out: &mut Vec<f64>,
    ) -> Result<(), RecordError> {
        self.leads[rows]
            .iter()
            .try_for_each(|(values, tall)| match tall {
                true => values.read(columns.clone(), 0..1, out),
                false => values.read(0..1, columns.clone(), out),
            })
    }
}

/// The rate that the times in an array of `len` values give; with `tall` they are its rows.
pub(crate) fn rate_of_times(
    path: &Path,
    name: &str,
    values: &dyn Values,
    tall: bool,
    len: usize,
) -> Result<f64, RecordError> {
    /// Times that are read at once.
    const BLOCK: usize = 1 << 16;
    let name = bare(name);
    let mut clock = Clock::new(path);
    let mut block = Vec::new();
    for start in (0..len).step_by(BLOCK) {
        block.clear();
        let part = start..(start + BLOCK).min(len);
        match tall {
            true => values.read(part, 0..1, &mut block)?,
            false => values.read(0..1, part, &mut block)?,
        }
        for &time in &block {
            clock.add(time, 0.0)?;
        }
    }
    const FROM: &str = "one that ends in s, ms or us, or a sampling rate (`--input-rate`)";
    let unit_s = name.rsplit(['_', ' ', '-']).next().and_then(time_unit_s);
    let rates = Rates {
        path,
        given: None,
        clock: Some((Ok(clock), name, unit_s)),
        noted: None,
        from: FROM,
    };
    let mut assumed = Vec::new();
    let hz = rates.settle(&mut assumed)?;
    // What a table may assume of its column is said by it; arrays have no place for that.
    match assumed.is_empty() {
        true => Ok(hz),
        false => Err(content(path, "the name of the array of times", name, FROM)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn items(all: &[(&str, &[u64])]) -> Vec<Item> {
        let each = all.iter().map(|(name, dims)| Item {
            name: (*name).to_owned(),
            dims: dims.to_vec(),
            said: String::new(),
        });
        each.collect()
    }

    fn samples(all: &[Item], array: Option<&str>) -> Result<Samples, RecordError> {
        let items = Items {
            path: Path::new("a.h5"),
            all,
            what: "arrays",
            summary: String::new(),
            usual: &["ecg", "data"],
            expected: "an array",
        };
        items.samples(&OpenOptions {
            array: array.map(str::to_owned),
            ..OpenOptions::default()
        })
    }

    fn leads(names: &[&str]) -> Option<String> {
        let all: Vec<(&str, &[u64])> = names.iter().map(|name| (*name, &[200u64][..])).collect();
        let leads = samples(&items(&all), None).ok()?.leads()?;
        Some(leads.to_string())
    }

    #[test]
    fn leads_are_found_in_names_of_any_kind() {
        for (names, found) in [
            (&["V1", "i", "avf"][..], "I aVF V1"),
            (&["a/strip_V1", "a/strip_II"], "II V1"),
            (&["x/Lead I/raw", "x/Lead II/raw"], "I II"),
            (&["r.DI", "r.DII", "r.DIII"], "I II III"),
            (&["ecgI", "ecgaVL", "ecgV3"], "I aVL V3"),
            (&["stripI", "stripIII", "stripV6"], "I III V6"),
            (&["I_mV", "V2_mV"], "I V2"),
            (&["c1", "c2", "I"], "I V1 V2"),
            (&["MLII", "V5"], "V5 MLII"),
            (&["clean-I", "clean-II"], "I II"),
            (&["median_I", "median_II", "rhythm_I", "rhythm_II"], "I II"),
            (&["V1"], "V1"),
        ] {
            assert_eq!(leads(names).as_deref(), Some(found), "{names:?}");
        }
        for names in [
            &["-aVR", "-I"][..],
            &["neg_aVR", "neg_I"],
            &["x_-aVR", "x_-I"],
            &["V1-V2", "V1-V3"],
            &["strip_I"],
            &["a/I", "b/I"],
            &["a_I", "a_II", "b_I", "b_II"],
            &["radii", "alibi"],
            &["I/raw", "I/peaks"],
        ] {
            let found = leads(names);
            assert!(found.is_none(), "{names:?}: {found:?}");
        }
    }

    #[test]
    fn of_several_arrays_none_is_taken() {
        let all = items(&[("a/ecg", &[200, 2]), ("b/ecg", &[200, 2]), ("c/x", &[3, 3])]);
        assert!(samples(&all, None).is_err());
        for (name, at) in [("b/ecg", 1), ("/b/ecg", 1), ("b", 1), ("X", 2)] {
            assert_eq!(
                samples(&all, Some(name)).unwrap(),
                Samples::One(at),
                "{name}"
            );
        }
        for name in ["ecg", "d", ""] {
            let error = samples(&all, Some(name)).unwrap_err().to_string();
            assert!(error.contains("--input-array"), "{error}");
        }
        // A short matrix beside a long vector says nothing about either.
        assert!(samples(&items(&[("peaks", &[3, 2]), ("hr", &[900])]), None).is_err());
        let with_times = items(&[("hr", &[900]), ("time", &[900]), ("n", &[1])]);
        assert_eq!(samples(&with_times, None).unwrap(), Samples::One(0));
    }

    proptest! {
        #[test]
        fn arrays_of_leads_are_equally_long_and_each_is_taken_once(
            names in prop::collection::vec("(a/|b/|c\\.)?(x|strip|median|neg|-|\u{b5})?[_ -]?(I|II|V1|v1|C1|aVR|lead 2|ecg)?(_mV|/raw|-|_I)?", 0..8),
            lens in prop::collection::vec(0u64..3, 8),
            array in prop::option::of("(a/|b)?(strip|x|V1)?[_*]{0,2}"),
        ) {
            let all: Vec<Item> = names.iter().zip(&lens).map(|(name, len)| Item {
                name: name.clone(),
                dims: vec![1, len * 120],
                said: String::new(),
            }).collect();
            if let Ok(Samples::Leads(rows)) = samples(&all, array.as_deref()) {
                let lens: HashSet<_> = rows.iter().map(|(at, _)| all[*at].vector()).collect();
                let own: HashSet<_> = rows.iter().map(|(at, _)| *at).collect();
                prop_assert_eq!((lens.len(), own.len()), (1, rows.len()));
            }
        }
    }
}
