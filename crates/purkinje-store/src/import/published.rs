//! Counting label sets and comparing them with what a data set's authors published.

use std::collections::BTreeSet;

use super::Item;
use crate::schema::{LabelClass, LabelSet, Split};

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

/// The indices of the classes of these names, ascending and once each, and the names that are no class.
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

/// How many items carry each class of set number `set`; of all parts, or just of one.
pub(super) fn positives(
    items: &[Item],
    set: usize,
    classes: usize,
    split: Option<Split>,
) -> Vec<usize> {
    let mut counts = vec![0; classes];
    for item in items {
        if split.is_some() && item.split != split {
            continue;
        }
        for &index in item.labels.get(set).into_iter().flatten().flatten() {
            if let Some(count) = usize::try_from(index).ok().and_then(|i| counts.get_mut(i)) {
                *count += 1;
            }
        }
    }
    counts
}

/// A sentence on the classes whose numbers of records are not the published ones; nothing if all agree.
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
            "the set is complete, but the records of {what} are not as many as published: {}",
            differing.join(", ")
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_named_by_class() {
        let set = label_set("rhythm", &[("SR", 2), ("AF", 1)]);
        let item = |labels: &[i16]| Item {
            labels: vec![Some(labels.to_vec())],
            split: Some(Split::Test),
            ..Item::default()
        };
        let items = [item(&[0]), item(&[0, 1]), Item::default()];
        let found = positives(&items, 0, 2, None);
        assert_eq!(found, [2, 1]);
        assert_eq!(positives(&items, 0, 2, Some(Split::Train)), [0, 0]);
        assert_eq!(differing("rhythm", &set.classes, &found, &[2, 1]), None);
        let remark = differing("rhythm", &set.classes, &found, &[2, 4]).unwrap();
        assert!(remark.ends_with("AF 1 instead of 4"), "{remark}");
        assert_eq!(
            indices(&set, ["AF", "SR", "AF", "x"]),
            (vec![0, 1], vec!["x"])
        );
    }
}
