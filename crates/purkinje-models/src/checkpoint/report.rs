//! How every tensor of a file and every parameter of a model was matched.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::fmt;

use super::{Layout, Published, StateDict};

/// A tensor that was matched with a parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapped {
    /// Its name in the file.
    pub theirs: String,
    /// The name of the parameter.
    pub ours: String,
    /// Its dimensions.
    pub shape: Vec<usize>,
}

/// A tensor with the name but not the shape of a parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MisShaped {
    /// Its name in the file.
    pub theirs: String,
    /// The parameter of this name.
    pub ours: String,
    /// The parameter's dimensions.
    pub expected: Vec<usize>,
    /// The tensor's dimensions.
    pub found: Vec<usize>,
}

/// How every tensor of a file and every parameter of a model was matched; as text, a table with one row for each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyReport {
    /// Tensors matched with a parameter, in the model's order.
    pub mapped: Vec<Mapped>,
    /// Parameters without a tensor, with their shapes.
    pub missing: Vec<(String, Vec<usize>)>,
    /// Tensors without a parameter, with their shapes.
    pub unused: Vec<(String, Vec<usize>)>,
    /// Tensors with another shape than their parameter.
    pub mis_shaped: Vec<MisShaped>,
}

impl KeyReport {
    /// Whether every parameter has a tensor; unused tensors are allowed.
    pub fn is_complete(&self) -> bool {
        self.missing.is_empty() && self.mis_shaped.is_empty()
    }
}

/// Compares the parameters a CLEAR model expects, by canonical name and shape, with the tensors of a file, whose names
/// may carry the prefix `backbone.`.
pub fn report(expected: &[(String, Vec<usize>)], found: &StateDict) -> KeyReport {
    report_as::<Layout>(expected, found)
}

/// [`report`] for the names of any system.
pub fn report_as<L: Published>(expected: &[(String, Vec<usize>)], found: &StateDict) -> KeyReport {
    let mut report = KeyReport::default();
    let mut used = HashSet::new();
    // A tensor under the canonical name itself comes first.
    let mut names: HashMap<Cow<'_, str>, &str> = HashMap::new();
    for name in found.names() {
        let canonical = L::canonical(name);
        if canonical == name || !names.contains_key(&canonical) {
            names.insert(canonical, name);
        }
    }
    for (ours, shape) in expected {
        let theirs = names.get(ours.as_str()).map(|name| (*name).to_owned());
        let Some((theirs, tensor)) = theirs.and_then(|name| {
            let tensor = found.get(&name)?;
            Some((name, tensor))
        }) else {
            report.missing.push((ours.clone(), shape.clone()));
            continue;
        };
        used.insert(theirs.clone());
        let ours = ours.clone();
        if tensor.shape == *shape {
            let shape = shape.clone();
            report.mapped.push(Mapped {
                theirs,
                ours,
                shape,
            });
        } else {
            report.mis_shaped.push(MisShaped {
                theirs,
                ours,
                expected: shape.clone(),
                found: tensor.shape.clone(),
            });
        }
    }
    report.unused = found
        .iter()
        .filter(|(name, _)| !used.contains(*name))
        .map(|(name, tensor)| (name.to_owned(), tensor.shape.clone()))
        .collect();
    report
}

impl fmt::Display for KeyReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dimensions = |shape: &[usize]| match shape {
            [] => "scalar".to_owned(),
            shape => shape
                .iter()
                .map(usize::to_string)
                .collect::<Vec<_>>()
                .join(" x "),
        };
        let mut rows: Vec<[String; 4]> =
            vec![["", "in the file", "parameter", "shape"].map(Into::into)];
        let mut row = |state: &str, theirs: &str, ours: &str, shape: String| {
            rows.push([state.to_owned(), theirs.to_owned(), ours.to_owned(), shape]);
        };
        // What needs attention first.
        for (name, shape) in &self.missing {
            row("missing", "-", name, dimensions(shape));
        }
        for odd in &self.mis_shaped {
            let (found, expected) = (dimensions(&odd.found), dimensions(&odd.expected));
            row(
                "mis-shaped",
                &odd.theirs,
                &odd.ours,
                format!("{found}, expected {expected}"),
            );
        }
        for (name, shape) in &self.unused {
            row("unused", name, "-", dimensions(shape));
        }
        for tensor in &self.mapped {
            row(
                "mapped",
                &tensor.theirs,
                &tensor.ours,
                dimensions(&tensor.shape),
            );
        }
        let widths: [usize; 3] =
            std::array::from_fn(|i| rows.iter().map(|row| row[i].len()).max().unwrap_or(0));
        for [state, theirs, ours, shape] in &rows {
            let [a, b, c] = widths;
            writeln!(f, "{state:a$}  {theirs:b$}  {ours:c$}  {shape}")?;
        }
        write!(
            f,
            "{} mapped, {} missing, {} mis-shaped, {} unused",
            self.mapped.len(),
            self.missing.len(),
            self.mis_shaped.len(),
            self.unused.len()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Layout, NamedTensor, Stage};
    use super::*;

    #[test]
    fn large_pretraining_weights_meet_the_smaller_decoder_of_fine_tuning() {
        let expected = Layout::large(Stage::Linear, 5).parameters();
        let file: StateDict = Layout::large(Stage::Pretrain, 0)
            .parameters()
            .into_iter()
            .map(|(name, shape)| {
                (
                    name,
                    NamedTensor {
                        shape,
                        data: Vec::new(),
                    },
                )
            })
            .collect();
        let found = report(&expected, &file);
        let missing: Vec<&str> = found
            .missing
            .iter()
            .map(|(name, _)| name.as_str())
            .collect();
        assert_eq!(missing, ["mlp_head.weight", "mlp_head.bias"]);
        // 20 decoder layers too many, and the decoder's own widths.
        assert_eq!(found.unused.len(), 20 * 12);
        assert!(
            found
                .mis_shaped
                .iter()
                .all(|odd| odd.ours.contains("decoder") || odd.ours == "mask_token")
        );
        assert_eq!(
            found.mapped.len() + found.missing.len() + found.mis_shaped.len(),
            353
        );

        let table = found.to_string();
        assert!(table.contains("1 x 1 x 1024, expected 1 x 1 x 512"));
        // A head line, a line for each of 353 parameters and 240 unused tensors, and the sum; what is wrong comes first.
        assert_eq!(table.lines().count(), 1 + 353 + 240 + 1);
        assert!(table.lines().nth(1).unwrap().starts_with("missing"));
        let sum = "unused".to_owned();
        assert!(table.lines().last().unwrap().ends_with(&sum));
    }
}
