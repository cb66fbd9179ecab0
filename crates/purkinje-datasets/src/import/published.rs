//! Comparison of counts with the numbers that a data set's authors published.

use std::collections::{BTreeSet, HashSet};

use purkinje_store::{LabelClass, LabelSet, Split};

use super::{Fault, Item};

/// A complete source, to be compared with published numbers.
///
/// An incomplete data set has other numbers, so nothing is compared unless all records are listed; files may be
/// missing. Each difference gives a message.
pub(super) struct Whole<'a> {
    items: &'a [Item],
    remarks: Vec<String>,
}

impl<'a> Whole<'a> {
    /// `None` unless `records` records are listed; those that repeat or contradict others do not count.
    pub(super) fn of(items: &'a [Item], records: usize) -> Option<Self> {
        let listed = items.iter().filter(|item| valid(item)).count();
        (listed == records).then(|| Whole {
            items,
            remarks: Vec::new(),
        })
    }

    /// Compares the number of patients.
    pub(super) fn patients(mut self, published: usize) -> Self {
        let patients: HashSet<&str> = self
            .items
            .iter()
            .filter_map(|item| item.patient.as_deref())
            .collect();
        self.compare("patients", patients.len(), published);
        self
    }

    /// Compares the number of records for which `which` holds; `what` describes them.
    pub(super) fn records(
        mut self,
        what: &str,
        published: usize,
        which: impl Fn(&Item) -> bool,
    ) -> Self {
        let found = self.items.iter().filter(|i| valid(i) && which(i)).count();
        self.compare(what, found, published);
        self
    }

    /// Compares the numbers of records in train, val and test; `name` is that of the split.
    pub(super) fn parts(mut self, name: &str, published: [usize; 3]) -> Self {
        for (part, published) in PARTS.into_iter().zip(published) {
            let here = |item: &Item| item.split == Some(part);
            self = self.records(&format!("{part} records of {name}"), published, here);
        }
        self
    }

    /// Compares the records of every class of set number `set` among those for which `which` holds.
    pub(super) fn positives(
        mut self,
        what: &str,
        set: usize,
        classes: &[LabelClass],
        published: &[usize],
        which: impl Fn(&Item) -> bool,
    ) -> Self {
        let found = positives(self.items, set, classes.len(), |i| valid(i) && which(i));
        self.remarks
            .extend(differing(what, classes, &found, published));
        self
    }

    /// Adds the messages of another comparison.
    pub(super) fn and(mut self, remarks: impl IntoIterator<Item = String>) -> Self {
        self.remarks.extend(remarks);
        self
    }

    /// The messages; empty if there are no differences.
    pub(super) fn remarks(self) -> Vec<String> {
        self.remarks
    }

    fn compare(&mut self, what: &str, found: usize, published: usize) {
        if found != published {
            self.remarks.push(format!(
                "the data set is complete, but has {found} {what} instead of the published {published}"
            ));
        }
    }
}

/// The splits in the order in which their sizes are published.
pub(super) const PARTS: [Split; 3] = [Split::Train, Split::Val, Split::Test];

fn valid(item: &Item) -> bool {
    !matches!(item.fault, Some(Fault::Invalid(_)))
}

/// A label set from classes with their published numbers of records.
pub(super) fn label_set(name: &str, classes: &[(&str, usize)]) -> LabelSet {
    LabelSet::from_names(name, classes.iter().map(|(class, _)| *class))
}

/// A class with a description.
pub(super) fn class(name: impl Into<String>, description: impl Into<String>) -> LabelClass {
    LabelClass {
        name: name.into(),
        description: Some(description.into()),
        ..LabelClass::default()
    }
}

/// The indices of the classes with these names, ascending and without repetition, and the names that are not a class.
pub(super) fn indices<'a>(
    set: &LabelSet,
    names: impl IntoIterator<Item = &'a str>,
) -> (Vec<i16>, Vec<&'a str>) {
    let mut found = BTreeSet::new();
    let mut unknown = Vec::new();
    for name in names {
        match set.class_index(name) {
            Some(index) => {
                found.insert(index);
            }
            None => unknown.push(name),
        }
    }
    (found.into_iter().collect(), unknown)
}

/// The number of records of `items` with each class of set number `set` that satisfy `which`.
pub(super) fn positives(
    items: &[Item],
    set: usize,
    classes: usize,
    which: impl Fn(&Item) -> bool,
) -> Vec<usize> {
    let mut counts = vec![0; classes];
    for item in items.iter().filter(|item| which(item)) {
        for &index in item.labels.get(set).into_iter().flatten().flatten() {
            if let Some(count) = usize::try_from(index).ok().and_then(|i| counts.get_mut(i)) {
                *count += 1;
            }
        }
    }
    counts
}

/// A message on the classes whose numbers of records differ from the published ones; `None` if all agree.
pub(super) fn differing(
    what: &str,
    classes: &[LabelClass],
    found: &[usize],
    published: &[usize],
) -> Option<String> {
    let differing: Vec<String> = classes
        .iter()
        .zip(found.iter().zip(published))
        .filter(|(_, (found, published))| found != published)
        .map(|(class, (found, published))| format!("{} {found} instead of {published}", class.name))
        .collect();
    (!differing.is_empty()).then(|| {
        format!(
            "the data set is complete, but the numbers of records of {what} differ from the published ones: {}",
            differing.join(", ")
        )
    })
}

/// Gives items that lack labels of set number `set` just as many of every class as published, among those for which
/// `which` holds: record after record, each class from the first on. For tests of the comparisons.
#[cfg(test)]
pub(super) fn label_as_published(
    items: &mut [Item],
    set: usize,
    published: &[usize],
    which: impl Fn(&Item) -> bool,
) {
    for (class, &count) in (0i16..).zip(published) {
        let mut left = count;
        for item in items.iter_mut().filter(|item| which(item)) {
            if left == 0 {
                break;
            }
            while item.labels.len() <= set {
                item.labels.push(Some(Vec::new()));
            }
            if let Some(labels) = &mut item.labels[set]
                && !labels.contains(&class)
            {
                labels.push(class);
                left -= 1;
            }
        }
        assert_eq!(left, 0, "class {class} has more records than there are");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(split: Split, patient: &str, labels: &[i16]) -> Item {
        Item {
            labels: vec![Some(labels.to_vec())],
            split: Some(split),
            patient: Some(patient.to_owned()),
            ..Item::default()
        }
    }

    #[test]
    fn differences_are_named_by_class() {
        let set = label_set("rhythm", &[("SR", 2), ("AF", 1)]);
        let items = [
            item(Split::Test, "a", &[0]),
            item(Split::Test, "a", &[0, 1]),
            Item::default(),
        ];
        let found = positives(&items, 0, 2, |_| true);
        assert_eq!(found, [2, 1]);
        let train = positives(&items, 0, 2, |item| item.split == Some(Split::Train));
        assert_eq!(train, [0, 0]);
        assert_eq!(differing("rhythm", &set.classes, &found, &[2, 1]), None);
        let remark = differing("rhythm", &set.classes, &found, &[2, 4]).unwrap();
        assert!(remark.ends_with("AF 1 instead of 4"), "{remark}");
        assert_eq!(
            indices(&set, ["AF", "SR", "AF", "x"]),
            (vec![0, 1], vec!["x"])
        );
    }

    #[test]
    fn a_whole_source_is_compared_and_a_part_of_it_is_not() {
        let set = label_set("rhythm", &[("SR", 2), ("AF", 1)]);
        let mut items = vec![
            item(Split::Train, "a", &[0]),
            item(Split::Train, "a", &[0, 1]),
            item(Split::Test, "b", &[]),
        ];
        items[2].fault = Some(Fault::Missing("no file".to_owned()));
        let compare = |items: &[Item]| {
            Whole::of(items, 3).map(|whole| {
                whole
                    .patients(2)
                    .parts("x", [2, 0, 1])
                    .records("records without labels", 1, |i| i.labels == [Some(vec![])])
                    .positives("rhythm", 0, &set.classes, &[2, 1], |_| true)
                    .remarks()
            })
        };
        // A missing file changes no table.
        assert_eq!(compare(&items), Some(Vec::new()));
        assert_eq!(compare(&items[..2]), None);
        items[1].patient = Some("c".to_owned());
        items[1].split = Some(Split::Val);
        items[1].labels = vec![Some(vec![])];
        let remarks = compare(&items).unwrap();
        for said in [
            "3 patients instead of the published 2",
            "1 train records of x instead of the published 2",
            "1 val records of x instead of the published 0",
            "2 records without labels instead of the published 1",
            "SR 1 instead of 2, AF 0 instead of 1",
        ] {
            assert!(
                remarks.iter().any(|r| r.contains(said)),
                "{said}: {remarks:?}"
            );
        }
        assert_eq!(remarks.len(), 5);
        // Records of one id are one record.
        items[2].fault = Some(Fault::Invalid("twice".to_owned()));
        assert_eq!(compare(&items), None);
    }
}
