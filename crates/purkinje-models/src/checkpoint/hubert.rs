//! The published names of HuBERT-ECG: the parameters of a model, and detection of the model in a file.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value, json};

use super::system::Facts;
use super::{CheckpointError, StateDict};
use crate::hubert::{FrontEnd, Head, HeadActivation, HubertConfig};

/// Prefix of the encoder's names in classification models.
const PREFIX: &str = "hubert_ecg.";
const MASK: &str = "masked_spec_embed";
const SYSTEM: &str = "HuBERT-ECG";
/// Ends of the names of the positional kernel's two tensors: older, current.
const WEIGHT_NORM: [(&str, &str); 2] = [
    (".conv.weight_g", ".conv.parametrizations.weight.original0"),
    (".conv.weight_v", ".conv.parametrizations.weight.original1"),
];
/// Hidden sizes and attention heads of the published sizes.
const HEADS: [(usize, usize); 3] = [(512, 8), (768, 12), (960, 12)];

/// The structure of a HuBERT-ECG model, from shapes and configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct HubertLayout {
    /// Sizes from the shapes; what is not visible in them (heads, strides, dropout) from the configuration, or as
    /// published.
    pub config: HubertConfig,
    /// Whether it holds the vector that replaces masked tokens: models trained from scratch lack it.
    pub has_mask: bool,
    /// Head and outputs of a classification model; `None` for a pre-training model.
    pub classifier: Option<(Head, usize)>,
}

impl HubertLayout {
    /// The pre-training model of this configuration.
    pub fn pretraining(config: HubertConfig) -> Self {
        HubertLayout {
            has_mask: config.mask_time_prob > 0.0,
            config,
            classifier: None,
        }
    }

    /// The classification model on a pre-trained encoder of this configuration.
    pub fn classification(config: HubertConfig, head: Head, outputs: usize) -> Self {
        HubertLayout {
            has_mask: config.mask_time_prob > 0.0,
            config: HubertConfig {
                mask_time_prob: 0.0,
                ..config
            },
            classifier: Some((head, outputs)),
        }
    }

    /// Every parameter by its name without `hubert_ecg.`, with its shape, in state-dict order.
    pub fn parameters(&self) -> Vec<(String, Vec<usize>)> {
        let d = self.config.hidden_size;
        let mut all = Vec::new();
        if self.has_mask {
            all.push((MASK.to_owned(), vec![d]));
        }
        all.extend(self.config.encoder_parameters());
        match self.classifier {
            Some((head, outputs)) => all.extend(head.parameters(d, outputs)),
            None => all.extend(self.config.code_book_parameters()),
        }
        all
    }

    /// The name under which a parameter is published: in classification models with `hubert_ecg.` before that of the
    /// encoder.
    pub fn published_name(&self, name: &str) -> String {
        let is_head = name.starts_with("classifier.") || name.starts_with("label_embedding.");
        match self.classifier {
            Some(_) if !is_head => format!("{PREFIX}{name}"),
            _ => name.to_owned(),
        }
    }

    /// The contents of a published `config.json`.
    pub fn published_config(&self) -> Value {
        let mut fields = match serde_json::to_value(&self.config) {
            Ok(Value::Object(fields)) => fields,
            // A struct of numbers, lists and a name is an object.
            _ => Map::new(),
        };
        let fixed = json!({
            "apply_spec_augment": true, "bos_token_id": 1, "conv_bias": false, "do_stable_layer_norm": false,
            "ensemble_length": self.config.vocab_sizes.len(), "eos_token_id": 2, "feat_extract_activation": "gelu",
            "feat_extract_norm": "group", "feat_proj_layer_norm": true, "final_dropout": self.config.hidden_dropout,
            "hidden_act": "gelu", "mask_feature_length": 10, "mask_feature_min_masks": 0, "mask_feature_prob": 0.0,
            "num_feat_extract_layers": self.config.conv_dim.len(), "pad_token_id": 0, "torch_dtype": "float32",
        });
        let own = match self.classifier {
            None => json!({
                "architectures": ["HuBERTECG"], "model_type": "hubert_ecg",
                "auto_map": {"AutoConfig": "hubert_ecg.HuBERTECGConfig", "AutoModel": "hubert_ecg.HuBERTECG"},
            }),
            Some((head, _)) => {
                let (hidden, activation) = match head {
                    Head::Mlp { hidden, activation } => (Some(hidden), activation),
                    _ => (None, HeadActivation::Tanh),
                };
                json!({
                    "architectures": ["HuBERTECGForClassification"], "model_type": "hubert_ecg_classification",
                    "classifier_hidden_size": hidden, "activation": activation, "classifier_dropout_prob": 0.1,
                    "use_label_embedding": head == Head::LabelEmbedding,
                })
            }
        };
        for more in [fixed, own] {
            if let Value::Object(more) = more {
                fields.extend(more);
            }
        }
        Value::Object(fields)
    }

    pub(super) fn detect(found: &StateDict, facts: &Facts) -> Result<Self, CheckpointError> {
        let shapes = Shapes::of(found);
        let unknown = |problem| shapes.unknown(problem);
        let stated = HubertConfig::from_published(&facts.config).map_err(unknown)?;
        let (conv_dim, conv_kernel) = shapes.convolutions()?;
        let conv_stride = shapes.strides(&conv_kernel, &stated, facts)?;
        let hidden_size = shapes.shape("feature_projection.projection.weight", 2)?[0];
        let num_hidden_layers = shapes.numbered("encoder.layers.")?;
        if num_hidden_layers == 0 {
            return Err(unknown("`encoder.layers.` has no layer".to_owned()));
        }
        let position = shapes.shape(crate::hubert::POSITION_DIRECTION, 3)?;
        let (of_group, num_conv_pos_embeddings) = (position[1], position[2]);
        if hidden_size % of_group != 0 {
            return Err(unknown(format!(
                "groups of {of_group} channels do not divide the width {hidden_size}"
            )));
        }
        let num_attention_heads = heads(hidden_size, &stated, facts)?;
        let classifier = shapes.classifier(facts)?;
        let has_mask = shapes.shapes.contains_key(MASK);
        let intermediate = "encoder.layers.0.feed_forward.intermediate_dense.weight";
        let mut config = HubertConfig {
            hidden_size,
            num_hidden_layers,
            num_attention_heads,
            intermediate_size: shapes.shape(intermediate, 2)?[0],
            conv_dim,
            conv_kernel,
            conv_stride,
            num_conv_pos_embeddings,
            num_conv_pos_embedding_groups: hidden_size / of_group,
            ..stated
        };
        if classifier.is_some() {
            // Whatever the field says, a classifier has no masked tokens.
            config.mask_time_prob = 0.0;
        } else {
            shapes.add_code_books(&mut config)?;
            if has_mask && config.mask_time_prob == 0.0 {
                config.mask_time_prob = HubertConfig::base().mask_time_prob;
            } else if !has_mask {
                config.mask_time_prob = 0.0;
            }
        }
        config.validate().map_err(unknown)?;
        Ok(HubertLayout {
            config,
            has_mask,
            classifier,
        })
    }
}

/// Attention heads: as asked for, as stated, or those of the published size of this width.
fn heads(width: usize, stated: &HubertConfig, facts: &Facts) -> Result<usize, CheckpointError> {
    let is_stated = facts.config.contains_key("num_attention_heads");
    let published = || HEADS.iter().find(|(d, _)| *d == width).map(|(_, h)| *h);
    facts
        .heads
        .or_else(|| is_stated.then_some(stated.num_attention_heads))
        .or_else(published)
        .ok_or(CheckpointError::UnknownHeads {
            part: "encoder",
            width,
        })
}

/// The shapes of the tensors of a file by their canonical names.
struct Shapes<'a> {
    shapes: HashMap<Cow<'a, str>, &'a [usize]>,
    tensors: usize,
}

impl<'a> Shapes<'a> {
    fn of(found: &'a StateDict) -> Self {
        let shapes = found.iter();
        let shapes = shapes.map(|(name, own)| (canonical_name(name), own.shape.as_slice()));
        Shapes {
            shapes: shapes.collect(),
            tensors: found.len(),
        }
    }

    fn unknown(&self, problem: String) -> CheckpointError {
        CheckpointError::UnknownLayout {
            system: SYSTEM,
            tensors: self.tensors,
            problem,
        }
    }

    /// The shape of a tensor of `rank` dimensions, none of which is 0.
    fn shape(&self, name: &str, rank: usize) -> Result<&'a [usize], CheckpointError> {
        match self.shapes.get(name) {
            None => Err(self.unknown(format!("`{name}` is missing"))),
            Some(shape) if shape.len() == rank && !shape.contains(&0) => Ok(*shape),
            Some(shape) => Err(self.unknown(format!(
                "`{name}` has shape {shape:?}, expected {rank} dimensions"
            ))),
        }
    }

    /// How many parts are numbered from 0 after `prefix`.
    fn numbered(&self, prefix: &str) -> Result<usize, CheckpointError> {
        let names = self.shapes.keys();
        let numbers: HashSet<usize> = names
            .filter_map(|name| name.strip_prefix(prefix)?.split('.').next()?.parse().ok())
            .collect();
        match (0..numbers.len()).find(|i| !numbers.contains(i)) {
            Some(missing) => Err(self.unknown(format!("`{prefix}{missing}` is missing"))),
            None => Ok(numbers.len()),
        }
    }

    /// Channels and kernels of the front end.
    fn convolutions(&self) -> Result<(Vec<usize>, Vec<usize>), CheckpointError> {
        let all = 0..self.numbered("feature_extractor.conv_layers.")?;
        all.map(|i| {
            let name = format!("feature_extractor.conv_layers.{i}.conv.weight");
            let kernel = self.shape(&name, 3)?;
            Ok((kernel[0], kernel[2]))
        })
        .collect()
    }

    /// The strides of the front end: as stated, or those of the published one with these kernels.
    fn strides(
        &self,
        kernels: &[usize],
        stated: &HubertConfig,
        facts: &Facts,
    ) -> Result<Vec<usize>, CheckpointError> {
        let is_stated = facts.config.contains_key("conv_stride");
        if is_stated && stated.conv_stride.len() == kernels.len() {
            return Ok(stated.conv_stride.clone());
        }
        match FrontEnd::of_kernels(kernels) {
            Some(front) => Ok(front.convolutions().1.to_vec()),
            None => Err(self.unknown(format!(
                "the kernels {kernels:?} of its front end are none of the published ones, and no configuration names their strides"
            ))),
        }
    }

    /// The sizes of the code books, and the width in which words are compared.
    fn add_code_books(&self, config: &mut HubertConfig) -> Result<(), CheckpointError> {
        let books = self.numbered("label_embedding.")?;
        config.vocab_sizes = (0..books)
            .map(|e| Ok(self.shape(&format!("label_embedding.{e}.weight"), 2)?[0]))
            .collect::<Result<_, CheckpointError>>()?;
        if books > 0 {
            config.classifier_proj_size = self.shape("final_proj.0.weight", 2)?[0];
        }
        Ok(())
    }

    /// Head and outputs, from the shapes of the head; what lies between its layers from the configuration.
    fn classifier(&self, facts: &Facts) -> Result<Option<(Head, usize)>, CheckpointError> {
        if self.shapes.contains_key("classifier.weight") {
            return Ok(Some((Head::Linear, self.shape("classifier.weight", 2)?[0])));
        }
        if self.shapes.contains_key("classifier.2.weight") {
            let last = self.shape("classifier.2.weight", 2)?;
            let activation = facts.config.get("activation").cloned();
            let activation = activation.and_then(|name| serde_json::from_value(name).ok());
            let head = Head::Mlp {
                hidden: last[1],
                activation: activation.unwrap_or_default(),
            };
            return Ok(Some((head, last[0])));
        }
        if self.shapes.contains_key("label_embedding.weight") {
            let outputs = self.shape("label_embedding.weight", 2)?[0];
            return Ok(Some((Head::LabelEmbedding, outputs)));
        }
        Ok(None)
    }
}

/// Whether only encoders of this system have this name.
pub(super) fn is_own(name: &str) -> bool {
    canonical_name(name) == "feature_extractor.conv_layers.0.conv.weight"
}

/// The name of a tensor without `hubert_ecg.`, and with the current names of the positional kernel.
pub(super) fn canonical_name(name: &str) -> Cow<'_, str> {
    let bare = name.strip_prefix(PREFIX).unwrap_or(name);
    for (older, current) in WEIGHT_NORM {
        if let Some(stem) = bare.strip_suffix(older) {
            return Cow::Owned(format!("{stem}{current}"));
        }
    }
    Cow::Borrowed(bare)
}

#[cfg(test)]
mod tests {
    use super::super::{NamedTensor, Published, canonical_as, export_as, report_as};
    use super::*;

    type Parameters = Vec<(String, Vec<usize>)>;

    /// Tensors without numbers: names and shapes are all that mapping looks at.
    fn hollow(names: &[(String, Vec<usize>)]) -> StateDict {
        let hollow = |(name, shape): &(String, Vec<usize>)| {
            let (shape, data) = (shape.clone(), Vec::new());
            (name.clone(), NamedTensor { shape, data })
        };
        names.iter().map(hollow).collect()
    }

    /// The published names and shapes of the six models.
    fn published_keys() -> Vec<(&'static str, Parameters)> {
        let mut models = Vec::new();
        for model in include_str!("published_keys_hubert.txt")
            .split("\n= ")
            .skip(1)
        {
            let (name, lines) = model.split_once('\n').unwrap();
            let mut all = Vec::new();
            for block in lines.trim_end().split("\n\n") {
                let times = match block.strip_prefix('*') {
                    Some(rest) => rest.split(' ').next().unwrap().parse().unwrap(),
                    None => 1,
                };
                for i in 0..times {
                    for line in block.lines() {
                        let mut words = line.rsplit(' ').skip(1);
                        let shape = words.next().unwrap().split('x');
                        let shape = shape.map(|d| d.parse().unwrap()).collect();
                        let name = words.next().unwrap().replace("{i}", &i.to_string());
                        all.push((name, shape));
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
        assert_eq!(models.len(), 6);
        for (name, theirs) in models {
            let (size, kind) = name.split_once(' ').unwrap();
            let config = HubertConfig::size(size).unwrap();
            let layout = match kind {
                "pretraining" => HubertLayout::pretraining(config),
                _ => HubertLayout::classification(config, Head::Linear, 164),
            };
            let expected = layout.parameters();
            let ours: Parameters = expected
                .iter()
                .map(|(name, shape)| (layout.published_name(name), shape.clone()))
                .collect();
            assert_eq!(ours, theirs, "{name}");

            // Without a configuration, under the current and under the older names.
            let file = hollow(&theirs);
            let older: Parameters = theirs
                .iter()
                .map(|(name, shape)| {
                    let name = name.replace("parametrizations.weight.original0", "weight_g");
                    let name = name.replace("parametrizations.weight.original1", "weight_v");
                    (name, shape.clone())
                })
                .collect();
            for file in [file, hollow(&older)] {
                let found = HubertLayout::read(&file, &Facts::default()).unwrap();
                // What leaves no trace in shapes is that of BASE.
                let stated = HubertConfig {
                    layerdrop: layout.config.layerdrop,
                    ..found.config.clone()
                };
                let classifier = layout.classifier.is_some();
                let sizes = HubertConfig {
                    classifier_proj_size: match classifier {
                        true => found.config.classifier_proj_size,
                        false => layout.config.classifier_proj_size,
                    },
                    ..layout.config.clone()
                };
                assert_eq!(
                    stated,
                    HubertConfig {
                        compat: found.config.compat,
                        ..sizes
                    }
                );
                assert_eq!(
                    (found.has_mask, found.classifier),
                    (true, layout.classifier)
                );
                let report = report_as::<HubertLayout>(&expected, &file);
                assert!(report.is_complete() && report.unused.is_empty(), "{report}");
                let canonical = canonical_as::<HubertLayout>(file).unwrap();
                assert_eq!(canonical, hollow(&expected));
                let back = export_as(canonical, &layout).unwrap();
                assert!(
                    back.names()
                        .eq(theirs.iter().map(|(name, _)| name.as_str()))
                );
            }
        }
    }

    #[test]
    fn heads_and_books_come_from_shapes() {
        let config = HubertConfig {
            vocab_sizes: vec![500, 1000],
            ..HubertConfig::tiny()
        };
        let facts = Facts {
            heads: Some(4),
            ..Facts::default()
        };
        let layout = HubertLayout::pretraining(config.clone());
        let found = HubertLayout::read(&hollow(&layout.parameters()), &facts).unwrap();
        assert_eq!(found.config.vocab_sizes, [500, 1000]);
        let error = HubertLayout::read(&hollow(&layout.parameters()), &Facts::default());
        assert!(matches!(
            error,
            Err(CheckpointError::UnknownHeads { width: 128, .. })
        ));
        let mlp = Head::Mlp {
            hidden: 20,
            activation: HeadActivation::Relu,
        };
        for head in [Head::Linear, mlp, Head::LabelEmbedding] {
            let layout = HubertLayout::classification(config.clone(), head, 7);
            let published = layout.published_config();
            let facts = Facts {
                config: published.as_object().unwrap().clone(),
                ..Facts::default()
            };
            let names: Parameters = layout
                .parameters()
                .iter()
                .map(|(name, shape)| (layout.published_name(name), shape.clone()))
                .collect();
            let found = HubertLayout::read(&hollow(&names), &facts).unwrap();
            assert_eq!(found, layout);
        }
    }

    #[test]
    fn other_models_are_refused_with_the_reason() {
        let config = HubertConfig::tiny();
        let read = |all: &Parameters| {
            let facts = Facts {
                heads: Some(4),
                ..Facts::default()
            };
            HubertLayout::read(&hollow(all), &facts)
                .unwrap_err()
                .to_string()
        };
        let mut all = config.parameters();
        all.retain(|(name, _)| !name.contains("encoder.layers.2."));
        assert!(
            read(&all).contains("`encoder.layers.2` is missing"),
            "{}",
            read(&all)
        );
        let mut all = config.parameters();
        all.retain(|(name, _)| !name.contains("conv_layers.3"));
        assert!(read(&all).contains("conv_layers.3"));
        assert!(read(&vec![("conv1.weight".to_owned(), vec![3])]).contains("HuBERT-ECG"));
        let mut all = config.parameters();
        for (name, shape) in &mut all {
            if name.contains("conv_layers.1.conv") {
                shape[2] = 5;
            }
        }
        assert!(read(&all).contains("none of the published ones"));
        let twice = [
            ("encoder.pos_conv_embed.conv.weight_g".to_owned(), vec![1]),
            (
                "hubert_ecg.encoder.pos_conv_embed.conv.weight_g".to_owned(),
                vec![1],
            ),
        ];
        assert!(matches!(
            canonical_as::<HubertLayout>(hollow(&twice)),
            Err(CheckpointError::DuplicateName { .. })
        ));
    }
}
