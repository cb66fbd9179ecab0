//! The published names of CLEAR and HUG: the parameters of a model, and detection of the model in a file.

use std::collections::HashSet;

use serde_json::{Map, Value};

use super::import::canonical_as;
use super::{CheckpointError, NamedTensor, StateDict};

/// Prefix of all names except the classifier's in published fine-tuned models.
pub(super) const PREFIX: &str = "backbone.";
const CLASSIFIER: &str = "mlp_head.";
const EXPERTS: &str = "moe.";

const LEADS: usize = 12;
const BEATS: usize = 15;
const TOKEN_SAMPLES: usize = 96;
/// Rows of the lead and time tables.
const TABLE_ROWS: usize = 16;
/// Width of the token convolution, in tokens.
const KERNEL: usize = 3;

/// The kind of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Reconstruction of masked heartbeats: no classifier.
    Pretrain,
    /// Stage 1: a linear classifier on the mean of the lead vectors.
    Linear,
    /// Stage 2: the experts of HUG before the classifier.
    Hug,
}

/// The structure of a CLEAR model, from shapes. The number of attention heads is not visible in them, see
/// [`default_heads`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// The kind of the model.
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

impl Layout {
    /// CLEAR base as published, for `classes` outputs unless it is the pre-training model.
    pub fn base(stage: Stage, classes: usize) -> Layout {
        Layout {
            stage,
            embed_dim: 768,
            depth: 12,
            mlp_dim: 1024,
            decoder_embed_dim: 512,
            decoder_depth: 4,
            classes: (stage != Stage::Pretrain).then_some(classes),
        }
    }

    /// CLEAR_large as published. Its fine-tuning models carry the decoder of the base model.
    pub fn large(stage: Stage, classes: usize) -> Layout {
        let base = Layout::base(stage, classes);
        let (decoder_embed_dim, decoder_depth) = match stage {
            Stage::Pretrain => (1024, 24),
            Stage::Linear | Stage::Hug => (base.decoder_embed_dim, base.decoder_depth),
        };
        Layout {
            embed_dim: 1024,
            depth: 24,
            decoder_embed_dim,
            decoder_depth,
            ..base
        }
    }

    /// Every parameter by its name without `backbone.`, with its shape, in state-dict order.
    pub fn parameters(&self) -> Vec<(String, Vec<usize>)> {
        let (d, dd, positions) = (
            self.embed_dim,
            self.decoder_embed_dim,
            LEADS + LEADS * BEATS,
        );
        let has_decoder = dd > 0;
        let mut all: Vec<(String, Vec<usize>)> = Vec::new();
        let mut add = |name: &str, shape: &[usize]| all.push((name.to_owned(), shape.to_vec()));
        add("cls_token", &[LEADS, d]);
        if has_decoder {
            add("mask_token", &[1, 1, dd]);
        }
        add("pos_embed", &[1, positions, d]);
        if has_decoder {
            add("decoder_pos_embed", &[1, positions, dd]);
        }
        add("token_embed.tokenConv.weight", &[d, TOKEN_SAMPLES, KERNEL]);
        add("spa_embed.embed.weight", &[TABLE_ROWS, d]);
        add("tem_embed.embed.weight", &[TABLE_ROWS, d]);
        for (stack, depth, width) in [
            ("encoder_transformer", self.depth, d),
            ("decoder_transformer", self.decoder_depth, dd),
        ] {
            for layer in 0..depth {
                for (part, shape) in layer_parts(width, self.mlp_dim) {
                    add(&format!("{stack}.layers.{layer}.{part}"), &shape);
                }
            }
        }
        if has_decoder {
            add("decoder_embed.weight", &[dd, d]);
            add("decoder_embed.bias", &[dd]);
        }
        if self.stage == Stage::Hug {
            for expert in EXPERT_NAMES {
                add(&format!("{EXPERTS}{expert}.net.0.weight"), &[d, d]);
                add(&format!("{EXPERTS}{expert}.net.0.bias"), &[d]);
            }
        }
        add("norm_layer.weight", &[d]);
        add("norm_layer.bias", &[d]);
        if has_decoder {
            add("decoder_norm.weight", &[dd]);
            add("decoder_norm.bias", &[dd]);
            add("decoder_pred.weight", &[TOKEN_SAMPLES, dd]);
            add("decoder_pred.bias", &[TOKEN_SAMPLES]);
        }
        if let Some(classes) = self.classes {
            add("mlp_head.weight", &[classes, d]);
            add("mlp_head.bias", &[classes]);
        }
        all
    }
}

/// The experts of HUG in state-dict order.
const EXPERT_NAMES: [&str; 7] = [
    "level1_experts.0",
    "level1_experts.1",
    "level1_experts.2",
    "level2_experts.0",
    "level2_experts.1",
    "level2_experts.2",
    "level3_expert",
];

/// The parameters of one transformer layer.
fn layer_parts(width: usize, mlp: usize) -> [(&'static str, Vec<usize>); 12] {
    [
        ("self_attn.in_proj_weight", vec![3 * width, width]),
        ("self_attn.in_proj_bias", vec![3 * width]),
        ("self_attn.out_proj.weight", vec![width, width]),
        ("self_attn.out_proj.bias", vec![width]),
        ("norm1.weight", vec![width]),
        ("norm1.bias", vec![width]),
        ("ff.0.weight", vec![mlp, width]),
        ("ff.0.bias", vec![mlp]),
        ("ff.3.weight", vec![width, mlp]),
        ("ff.3.bias", vec![width]),
        ("norm2.weight", vec![width]),
        ("norm2.bias", vec![width]),
    ]
}

/// Determines the layout from names and shapes, with or without `backbone.` before the names.
///
/// # Errors
/// When a tensor that every CLEAR model has is missing or of the wrong rank, or layers are missing in between.
pub fn detect(found: &StateDict) -> Result<Layout, CheckpointError> {
    let unknown = |problem: String| CheckpointError::UnknownLayout {
        system: "CLEAR",
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

/// The same tensors under the names of CLEAR models: without `backbone.`.
///
/// # Errors
/// When a tensor is there with and without the prefix.
pub fn canonical(found: StateDict) -> Result<StateDict, CheckpointError> {
    canonical_as::<Layout>(found)
}

/// The same tensors under the published names of a stage: for fine-tuned models with `backbone.` before all but the
/// classifier.
pub fn published(ours: StateDict, stage: Stage) -> StateDict {
    let rename = |(name, tensor): (String, NamedTensor)| (published_name(&name, stage), tensor);
    ours.into_iter().map(rename).collect()
}

pub(super) fn published_name(name: &str, stage: Stage) -> String {
    let kept = stage == Stage::Pretrain || name.starts_with(CLASSIFIER) || name.starts_with(PREFIX);
    if kept {
        name.to_owned()
    } else {
        format!("{PREFIX}{name}")
    }
}

/// Whether only encoders of this system have this name.
pub(super) fn is_own(name: &str) -> bool {
    bare(name).starts_with("encoder_transformer.")
}

/// Attention heads of encoder and decoder: those in the arguments of the run, else those of the published sizes; `None`
/// if neither is known and the user has to give them.
pub fn default_heads(embed_dim: usize, args: &Map<String, Value>) -> Option<(usize, usize)> {
    Some((
        encoder_heads(embed_dim, args)?,
        decoder_heads(embed_dim, args)?,
    ))
}

pub(super) fn encoder_heads(embed_dim: usize, args: &Map<String, Value>) -> Option<usize> {
    let names = ["encoder_num_heads", "encoder_heads", "num_heads", "heads"];
    named_number(args, &names).or(match embed_dim {
        768 => Some(8),
        1024 => Some(16),
        _ => None,
    })
}

/// The decoders of all published sizes have 16 heads; `embed_dim` is the width of the encoder.
pub(super) fn decoder_heads(embed_dim: usize, args: &Map<String, Value>) -> Option<usize> {
    named_number(args, &["decoder_num_heads", "decoder_heads"]).or(match embed_dim {
        768 | 1024 => Some(16),
        _ => None,
    })
}

fn named_number(args: &Map<String, Value>, names: &[&str]) -> Option<usize> {
    let value = names.iter().find_map(|name| args.get(*name)?.as_u64())?;
    usize::try_from(value).ok().filter(|number| *number > 0)
}

pub(super) fn bare(name: &str) -> &str {
    name.strip_prefix(PREFIX).unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::{read_pth, report};
    use super::*;

    /// Tensors without numbers: names and shapes are all that mapping looks at.
    fn hollow(names: &[(String, Vec<usize>)]) -> StateDict {
        let hollow = |(name, shape): &(String, Vec<usize>)| {
            let (shape, data) = (shape.clone(), Vec::new());
            (name.clone(), NamedTensor { shape, data })
        };
        names.iter().map(hollow).collect()
    }

    type Parameters = Vec<(String, Vec<usize>)>;

    /// The published names and shapes of the six models, from the published files.
    fn published_keys() -> Vec<(&'static str, Parameters)> {
        let shape = |text: &str| {
            text.split('x')
                .map(|d| d.parse().unwrap())
                .collect::<Vec<usize>>()
        };
        let mut models = Vec::new();
        for model in include_str!("published_keys.txt").split("\n= ").skip(1) {
            let (name, lines) = model.split_once('\n').unwrap();
            let mut all = Vec::new();
            for block in lines.split("\n\n") {
                let lines: Vec<Vec<&str>> = block.lines().map(|l| l.split(' ').collect()).collect();
                let times = lines[0][0]
                    .strip_prefix('*')
                    .map_or(1, |n| n.parse().unwrap());
                for i in 0..times {
                    for line in &lines {
                        let [name, dimensions] = line[line.len() - 2..] else {
                            panic!("{line:?}")
                        };
                        all.push((name.replace("{i}", &i.to_string()), shape(dimensions)));
                    }
                }
            }
            models.push((name, all));
        }
        models
    }

    #[test]
    fn the_six_published_models_have_the_published_parameters() {
        let models = published_keys();
        for (name, layout, tensors, parameters) in [
            ("CLEAR", Layout::base(Stage::Pretrain, 0), 207, 56_639_072),
            (
                "CLEAR_finetune_base",
                Layout::base(Stage::Linear, 5),
                209,
                56_639_072 + 769 * 5,
            ),
            (
                "CLEAR_HUG_finetune_base",
                Layout::base(Stage::Hug, 5),
                223,
                60_773_216 + 769 * 5,
            ),
            (
                "CLEAR_large",
                Layout::large(Stage::Pretrain, 0),
                591,
                304_367_712,
            ),
            (
                "CLEAR_finetune_large",
                Layout::large(Stage::Linear, 5),
                353,
                160_864_352 + 1025 * 5,
            ),
            (
                "CLEAR_HUG_finetune_large",
                Layout::large(Stage::Hug, 5),
                367,
                168_211_552 + 1025 * 5,
            ),
        ] {
            let (_, theirs) = models.iter().find(|(model, _)| *model == name).unwrap();
            let numbers = theirs.iter().map(|(_, s)| s.iter().product::<usize>());
            assert_eq!(
                (theirs.len(), numbers.sum()),
                (tensors, parameters),
                "{name}"
            );
            let expected = layout.parameters();
            let ours = published(hollow(&expected), layout.stage);
            assert_eq!(ours, hollow(theirs), "{name}");
            assert!(
                ours.names().eq(theirs.iter().map(|(n, _)| n.as_str())),
                "{name}"
            );

            let file = hollow(theirs);
            assert_eq!(detect(&file).unwrap(), layout, "{name}");
            let found = report(&expected, &file);
            assert!(found.is_complete());
            assert_eq!((found.mapped.len(), found.unused.len()), (tensors, 0));
            assert_eq!(canonical(file).unwrap(), hollow(&expected));
        }
        assert_eq!(models.len(), 6);
    }

    #[test]
    fn a_model_without_decoder_has_no_parameters_of_one() {
        let layout = Layout {
            decoder_embed_dim: 0,
            decoder_depth: 0,
            ..Layout::base(Stage::Hug, 3)
        };
        let expected = layout.parameters();
        assert!(
            expected
                .iter()
                .all(|(name, _)| !name.contains("decoder") && name != "mask_token")
        );
        assert_eq!(detect(&hollow(&expected)).unwrap(), layout);
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
            let configured = Layout {
                stage,
                embed_dim: size("embed_dim"),
                depth: size("depth"),
                mlp_dim: size("mlp_dim"),
                decoder_embed_dim: size("decoder_embed_dim"),
                decoder_depth: size("decoder_depth"),
                classes: classes.map(size),
            };
            let file = read_pth(&golden.join(case).join("checkpoint.pth")).unwrap();
            let layout = detect(&file.model).unwrap();
            assert_eq!(layout, configured, "{case}");
            let expected = layout.parameters();
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
        let args = args.as_object().unwrap();
        assert_eq!(default_heads(48, args), Some((4, 2)));
        // What the run says counts more than what its size suggests.
        assert_eq!(default_heads(768, args), Some((4, 2)));
        assert_eq!(encoder_heads(48, &none), None);
    }

    #[test]
    fn other_models_are_refused_with_the_reason() {
        let mut all = Layout::base(Stage::Pretrain, 0).parameters();
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
