//! Names and shapes: what model a file holds, and what became of each of its tensors (specification 5.13, 6.7).

use std::collections::HashSet;
use std::fmt;

use serde_json::{Map, Value};

use super::{CheckpointError, NamedTensor, StateDict};

/// What the published fine-tuning models put before every name but those of the classifier.
const PREFIX: &str = "backbone.";
const CLASSIFIER: &str = "mlp_head.";
const EXPERTS: &str = "moe.";

/// What a file of weights was made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Reconstruction of masked heartbeats: no classifier.
    Pretrain,
    /// Stage 1: a linear classifier on the mean of the lead vectors.
    Linear,
    /// Stage 2: the experts of HUG before the classifier.
    Hug,
}

/// What shapes tell about a CLEAR model. The number of attention heads leaves no trace in them, see [`default_heads`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// What it was made for.
    pub stage: Stage,
    /// Encoder width D.
    pub embed_dim: usize,
    /// Encoder layers.
    pub depth: usize,
    /// Width of the feed-forward layers.
    pub mlp_dim: usize,
    /// Decoder width; 0 without a decoder.
    pub decoder_embed_dim: usize,
    /// Decoder layers; 0 without a decoder.
    pub decoder_depth: usize,
    /// Rows of the classifier, where there is one.
    pub classes: Option<usize>,
}

/// Reads the layout off names and shapes, with or without `backbone.` before the names.
///
/// # Errors
/// When a tensor that every CLEAR model has is missing or of the wrong rank, or layers are missing in between.
pub fn detect(found: &StateDict) -> Result<Layout, CheckpointError> {
    let unknown = |problem: String| CheckpointError::UnknownLayout {
        tensors: found.len(),
        problem,
    };
    let shape = |name: &str| {
        let tensor = found
            .get(name)
            .or_else(|| found.get(&format!("{PREFIX}{name}")));
        tensor.map(|tensor| tensor.shape.as_slice())
    };
    let size = |name: &str, rank: usize, axis: usize| match shape(name) {
        None => Err(unknown(format!("`{name}` is missing"))),
        Some(shape) if shape.len() == rank && shape[axis] > 0 => Ok(shape[axis]),
        Some(shape) => Err(unknown(format!(
            "`{name}` has shape {shape:?}, expected {rank} dimensions"
        ))),
    };
    let layers = |stack: &str| {
        let numbers: HashSet<usize> = found
            .names()
            .filter_map(|name| {
                let rest = bare(name).strip_prefix(stack)?.strip_prefix(".layers.")?;
                rest.split('.').next()?.parse().ok()
            })
            .collect();
        match (0..numbers.len()).find(|layer| !numbers.contains(layer)) {
            Some(missing) => Err(unknown(format!("`{stack}` lacks layer {missing}"))),
            None => Ok(numbers.len()),
        }
    };
    let depth = layers("encoder_transformer")?;
    if depth == 0 {
        return Err(unknown("`encoder_transformer` has no layer".to_owned()));
    }
    let classes = match shape("mlp_head.weight") {
        Some(_) => Some(size("mlp_head.weight", 2, 0)?),
        None => None,
    };
    let stage = if found.names().any(|name| bare(name).starts_with(EXPERTS)) {
        Stage::Hug
    } else if classes.is_some() {
        Stage::Linear
    } else {
        Stage::Pretrain
    };
    Ok(Layout {
        stage,
        embed_dim: size("cls_token", 2, 1)?,
        depth,
        mlp_dim: size("encoder_transformer.layers.0.ff.0.weight", 2, 0)?,
        decoder_embed_dim: match shape("mask_token") {
            Some(_) => size("mask_token", 3, 2)?,
            None => 0,
        },
        decoder_depth: layers("decoder_transformer")?,
        classes,
    })
}

/// The same tensors under the names of this crate's models: without `backbone.`.
///
/// # Errors
/// When a tensor is there with and without the prefix.
pub fn canonical(found: StateDict) -> Result<StateDict, CheckpointError> {
    if let Some(twice) = found
        .names()
        .find(|name| bare(name) != *name && found.contains(bare(name)))
    {
        return Err(CheckpointError::DuplicateName {
            name: bare(twice).to_owned(),
            first: bare(twice).to_owned(),
            second: twice.to_owned(),
        });
    }
    Ok(found
        .into_iter()
        .map(|(name, tensor)| (bare(&name).to_owned(), tensor))
        .collect())
}

/// The same tensors under the published names of a stage: for fine-tuned models with `backbone.` before all but the
/// classifier.
pub fn published(ours: StateDict, stage: Stage) -> StateDict {
    let rename = |(name, tensor): (String, NamedTensor)| {
        let kept =
            stage == Stage::Pretrain || name.starts_with(CLASSIFIER) || name.starts_with(PREFIX);
        let name = if kept {
            name
        } else {
            format!("{PREFIX}{name}")
        };
        (name, tensor)
    };
    ours.into_iter().map(rename).collect()
}

/// Heads of encoder and decoder: those of the published sizes (specification 5.1), else those named among the
/// arguments of the run, else `None`, and the user has to say.
pub fn default_heads(embed_dim: usize, args: &Map<String, Value>) -> Option<(usize, usize)> {
    match embed_dim {
        768 => return Some((8, 16)),
        1024 => return Some((16, 16)),
        _ => {}
    }
    let number = |keys: &[&str]| {
        let value = keys.iter().find_map(|key| args.get(*key)?.as_u64())?;
        usize::try_from(value).ok().filter(|heads| *heads > 0)
    };
    let encoder = number(&["encoder_num_heads", "encoder_heads", "num_heads", "heads"])?;
    Some((encoder, number(&["decoder_num_heads", "decoder_heads"])?))
}

/// A tensor that found its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapped {
    /// Its name in the file.
    pub theirs: String,
    /// The parameter it fills.
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
    /// Its own.
    pub found: Vec<usize>,
}

/// What became of every tensor of a file and every parameter of a model; as text, a table with one line for each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyReport {
    /// Tensors that fill a parameter, in the model's order.
    pub mapped: Vec<Mapped>,
    /// Parameters without a tensor, with their shapes.
    pub missing: Vec<(String, Vec<usize>)>,
    /// Tensors without a parameter, with their shapes.
    pub unused: Vec<(String, Vec<usize>)>,
    /// Tensors that do not fit.
    pub mis_shaped: Vec<MisShaped>,
}

impl KeyReport {
    /// Whether every parameter has its tensor; unused tensors do no harm.
    pub fn is_complete(&self) -> bool {
        self.missing.is_empty() && self.mis_shaped.is_empty()
    }
}

/// Compares the parameters a model expects, by canonical name and shape, with the tensors of a file, whose names may
/// carry the prefix `backbone.`.
pub fn report(expected: &[(String, Vec<usize>)], found: &StateDict) -> KeyReport {
    let mut report = KeyReport::default();
    let mut used = HashSet::new();
    for (ours, shape) in expected {
        let prefixed = format!("{PREFIX}{ours}");
        let theirs = [ours, &prefixed]
            .into_iter()
            .find(|name| found.contains(name));
        let Some((theirs, tensor)) = theirs.and_then(|name| Some((name, found.get(name)?))) else {
            report.missing.push((ours.clone(), shape.clone()));
            continue;
        };
        used.insert(theirs.clone());
        let (theirs, ours) = (theirs.clone(), ours.clone());
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

fn bare(name: &str) -> &str {
    name.strip_prefix(PREFIX).unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::read_pth;
    use super::*;

    /// A CLEAR model of the given sizes by names and shapes, as specification 5.13 lists them.
    fn names(
        stage: Stage,
        [d, depth, mlp, dd, decoder_depth]: [usize; 5],
        classes: usize,
    ) -> Vec<(String, Vec<usize>)> {
        let mut all: Vec<(String, Vec<usize>)> = Vec::new();
        let mut add = |name: String, shape: &[usize]| all.push((name, shape.to_vec()));
        add("cls_token".into(), &[12, d]);
        add("mask_token".into(), &[1, 1, dd]);
        add("pos_embed".into(), &[1, 192, d]);
        add("decoder_pos_embed".into(), &[1, 192, dd]);
        add("token_embed.tokenConv.weight".into(), &[d, 96, 3]);
        add("spa_embed.embed.weight".into(), &[16, d]);
        add("tem_embed.embed.weight".into(), &[16, d]);
        for (stack, layers, w) in [("encoder", depth, d), ("decoder", decoder_depth, dd)] {
            for i in 0..layers {
                for (part, shape) in [
                    ("self_attn.in_proj_weight", vec![3 * w, w]),
                    ("self_attn.in_proj_bias", vec![3 * w]),
                    ("self_attn.out_proj.weight", vec![w, w]),
                    ("self_attn.out_proj.bias", vec![w]),
                    ("norm1.weight", vec![w]),
                    ("norm1.bias", vec![w]),
                    ("ff.0.weight", vec![mlp, w]),
                    ("ff.0.bias", vec![mlp]),
                    ("ff.3.weight", vec![w, mlp]),
                    ("ff.3.bias", vec![w]),
                    ("norm2.weight", vec![w]),
                    ("norm2.bias", vec![w]),
                ] {
                    add(format!("{stack}_transformer.layers.{i}.{part}"), &shape);
                }
            }
        }
        add("decoder_embed.weight".into(), &[dd, d]);
        add("decoder_embed.bias".into(), &[dd]);
        if stage == Stage::Hug {
            let levels = [
                (1, "s.0"),
                (1, "s.1"),
                (1, "s.2"),
                (2, "s.0"),
                (2, "s.1"),
                (2, "s.2"),
                (3, ""),
            ];
            for (level, expert) in levels {
                add(
                    format!("moe.level{level}_expert{expert}.net.0.weight"),
                    &[d, d],
                );
                add(format!("moe.level{level}_expert{expert}.net.0.bias"), &[d]);
            }
        }
        add("norm_layer.weight".into(), &[d]);
        add("norm_layer.bias".into(), &[d]);
        add("decoder_norm.weight".into(), &[dd]);
        add("decoder_norm.bias".into(), &[dd]);
        add("decoder_pred.weight".into(), &[96, dd]);
        add("decoder_pred.bias".into(), &[96]);
        if stage != Stage::Pretrain {
            add("mlp_head.weight".into(), &[classes, d]);
            add("mlp_head.bias".into(), &[classes]);
        }
        all
    }

    /// Tensors without numbers: names and shapes are all that mapping looks at.
    fn hollow(names: &[(String, Vec<usize>)]) -> StateDict {
        let hollow = |(name, shape): &(String, Vec<usize>)| {
            let (shape, data) = (shape.clone(), Vec::new());
            (name.clone(), NamedTensor { shape, data })
        };
        names.iter().map(hollow).collect()
    }

    const BASE: [usize; 5] = [768, 12, 1024, 512, 4];
    const LARGE: [usize; 5] = [1024, 24, 1024, 1024, 24];
    const LARGE_FINETUNE: [usize; 5] = [1024, 24, 1024, 512, 4];

    #[test]
    fn every_published_size_is_recognised_and_mapped_completely() {
        for (stage, sizes, tensors, parameters) in [
            (Stage::Pretrain, BASE, 207, 56_639_072),
            (Stage::Linear, BASE, 209, 56_639_072 + 769 * 5),
            (Stage::Hug, BASE, 223, 60_773_216 + 769 * 5),
            (Stage::Pretrain, LARGE, 591, 304_367_712),
            (Stage::Linear, LARGE_FINETUNE, 353, 160_864_352 + 1025 * 5),
            (Stage::Hug, LARGE_FINETUNE, 367, 168_211_552 + 1025 * 5),
        ] {
            let expected = names(stage, sizes, 5);
            let numbers: usize = expected
                .iter()
                .map(|(_, s)| s.iter().product::<usize>())
                .sum();
            assert_eq!((expected.len(), numbers), (tensors, parameters));
            let file = published(hollow(&expected), stage);
            assert_eq!(
                file.contains("backbone.cls_token"),
                stage != Stage::Pretrain
            );
            assert_eq!(file.contains("mlp_head.bias"), stage != Stage::Pretrain);
            let layout = detect(&file).unwrap();
            let [embed_dim, depth, mlp_dim, decoder_embed_dim, decoder_depth] = sizes;
            let classes = (stage != Stage::Pretrain).then_some(5);
            assert_eq!(
                layout,
                Layout {
                    stage,
                    embed_dim,
                    depth,
                    mlp_dim,
                    decoder_embed_dim,
                    decoder_depth,
                    classes
                }
            );
            let found = report(&expected, &file);
            assert!(found.is_complete());
            assert_eq!((found.mapped.len(), found.unused.len()), (tensors, 0));
            let table = found.to_string();
            assert!(
                expected
                    .iter()
                    .all(|(name, _)| table.contains(name.as_str()))
            );
            assert_eq!(table.lines().count(), tensors + 2);
            assert_eq!(canonical(file).unwrap(), hollow(&expected));
        }
    }

    #[test]
    fn large_pretraining_weights_meet_the_smaller_decoder_of_fine_tuning() {
        let expected = names(Stage::Linear, LARGE_FINETUNE, 5);
        let found = report(&expected, &hollow(&names(Stage::Pretrain, LARGE, 5)));
        assert_eq!(found.missing.len(), 2);
        assert!(
            found
                .missing
                .iter()
                .all(|(name, _)| name.starts_with("mlp_head."))
        );
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
        assert!(
            found
                .to_string()
                .contains("1 x 1 x 1024, expected 1 x 1 x 512")
        );
    }

    #[test]
    fn golden_checkpoints_have_the_layout_of_their_configuration() {
        let golden =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden-data/clear-hug");
        for (case, stage, classes) in [
            ("pretrain-forward", Stage::Pretrain, None),
            ("finetune-clear", Stage::Linear, Some("num_classes")),
            ("finetune-clear-hug", Stage::Hug, Some("num_classes")),
        ] {
            let config = std::fs::read(golden.join(case).join("config.json")).unwrap();
            let config: Value = serde_json::from_slice(&config).unwrap();
            let size = |key: &str| config[key].as_u64().unwrap() as usize;
            let sizes = [
                "embed_dim",
                "depth",
                "mlp_dim",
                "decoder_embed_dim",
                "decoder_depth",
            ]
            .map(size);
            let file = read_pth(&golden.join(case).join("checkpoint.pth")).unwrap();
            let layout = detect(&file.model).unwrap();
            assert_eq!((layout.stage, layout.classes), (stage, classes.map(size)));
            let expected = names(stage, sizes, classes.map_or(0, size));
            let found = report(&expected, &file.model);
            assert!(
                found.is_complete() && found.unused.is_empty(),
                "{case}\n{found}"
            );
            assert_eq!(default_heads(layout.embed_dim, &file.args), None);
        }
    }

    #[test]
    fn heads_come_from_the_size_or_the_arguments() {
        let none = Map::new();
        assert_eq!(default_heads(768, &none), Some((8, 16)));
        assert_eq!(default_heads(1024, &none), Some((16, 16)));
        assert_eq!(default_heads(48, &none), None);
        let args = serde_json::json!({"encoder_num_heads": 4, "decoder_num_heads": 2});
        assert_eq!(default_heads(48, args.as_object().unwrap()), Some((4, 2)));
    }

    #[test]
    fn other_models_are_refused_with_the_reason() {
        let mut all = names(Stage::Pretrain, BASE, 0);
        all.retain(|(name, _)| !name.contains("encoder_transformer.layers.3."));
        let error = detect(&hollow(&all)).unwrap_err().to_string();
        assert!(error.contains("lacks layer 3"), "{error}");
        let other = hollow(&[("conv1.weight".to_owned(), vec![64, 12, 7])]);
        assert!(matches!(
            detect(&other),
            Err(CheckpointError::UnknownLayout { tensors: 1, .. })
        ));
        let twice = hollow(&[("w".to_owned(), vec![]), ("backbone.w".to_owned(), vec![])]);
        assert!(matches!(
            canonical(twice),
            Err(CheckpointError::DuplicateName { .. })
        ));
    }
}
