//! Hyper-parameters of HuBERT-ECG, under the names of the published configuration files.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::compat::Compat;
use crate::layers::Convolution;

/// The published front ends, by the sampling rate of the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FrontEnd {
    /// 500 Hz, not decimated: seven convolutions.
    Hz500,
    /// 100 Hz, decimated by 5: five convolutions. All published weights.
    Hz100,
    /// 50 Hz, decimated by 10: four convolutions.
    Hz50,
}

impl FrontEnd {
    /// Kernels and strides.
    pub fn convolutions(self) -> (&'static [usize], &'static [usize]) {
        match self {
            FrontEnd::Hz500 => (&[10, 3, 3, 3, 3, 2, 2], &[5, 2, 2, 2, 2, 2, 2]),
            FrontEnd::Hz100 => (&[10, 3, 3, 2, 2], &[4, 2, 2, 2, 2]),
            FrontEnd::Hz50 => (&[10, 3, 3, 2], &[4, 2, 2, 2]),
        }
    }

    /// Samples of twelve leads of 5 s.
    pub fn samples(self) -> usize {
        match self {
            FrontEnd::Hz500 => 30_000,
            FrontEnd::Hz100 => 6_000,
            FrontEnd::Hz50 => 3_000,
        }
    }

    /// The front end with these kernels, whose strides are then known.
    pub fn of_kernels(kernels: &[usize]) -> Option<Self> {
        [FrontEnd::Hz500, FrontEnd::Hz100, FrontEnd::Hz50]
            .into_iter()
            .find(|front| front.convolutions().0 == kernels)
    }
}

/// Hyper-parameters of an encoder and its code-book heads.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct HubertConfig {
    /// Width D.
    pub hidden_size: usize,
    /// Transformer layers.
    pub num_hidden_layers: usize,
    /// Attention heads.
    pub num_attention_heads: usize,
    /// Width of the feed-forward layers.
    pub intermediate_size: usize,
    /// Width of the projection in which tokens are compared with cluster embeddings.
    pub classifier_proj_size: usize,
    /// Channels of each convolution of the front end.
    pub conv_dim: Vec<usize>,
    /// Their kernels.
    pub conv_kernel: Vec<usize>,
    /// Their strides.
    pub conv_stride: Vec<usize>,
    /// Kernel of the positional convolution.
    pub num_conv_pos_embeddings: usize,
    /// Its groups.
    pub num_conv_pos_embedding_groups: usize,
    /// Epsilon of all norms except the first.
    pub layer_norm_eps: f32,
    /// Standard deviation of initial linear weights.
    pub initializer_range: f64,
    /// Dropout after the first norm of the encoder and on what each half of a layer adds.
    pub hidden_dropout: f32,
    /// Dropout after the activation of the feed-forward layers.
    pub activation_dropout: f32,
    /// Dropout on attention weights.
    pub attention_dropout: f32,
    /// Dropout after the feature projection.
    pub feat_proj_dropout: f32,
    /// Probability of dropping a layer in training.
    pub layerdrop: f32,
    /// Fraction of tokens masked in pre-training; 0 for a model that is never pre-trained.
    pub mask_time_prob: f64,
    /// Tokens of one masked span.
    pub mask_time_length: usize,
    /// Smallest number of spans.
    pub mask_time_min_masks: usize,
    /// Number of clusters of each code book.
    pub vocab_sizes: Vec<usize>,
    /// Treatment of padding: see [`super::HubertBatch::valid_tokens`].
    pub compat: Compat,
}

impl Default for HubertConfig {
    fn default() -> Self {
        Self::base()
    }
}

impl HubertConfig {
    /// BASE: 12 layers of width 768, 93 M parameters.
    pub fn base() -> Self {
        let (kernels, strides) = FrontEnd::Hz100.convolutions();
        HubertConfig {
            hidden_size: 768,
            num_hidden_layers: 12,
            num_attention_heads: 12,
            intermediate_size: 3072,
            classifier_proj_size: 256,
            conv_dim: vec![512; kernels.len()],
            conv_kernel: kernels.to_vec(),
            conv_stride: strides.to_vec(),
            num_conv_pos_embeddings: 128,
            num_conv_pos_embedding_groups: 16,
            layer_norm_eps: 1e-5,
            initializer_range: 0.02,
            hidden_dropout: 0.1,
            activation_dropout: 0.1,
            attention_dropout: 0.1,
            feat_proj_dropout: 0.0,
            layerdrop: 0.1,
            mask_time_prob: 0.33,
            mask_time_length: 1,
            mask_time_min_masks: 2,
            vocab_sizes: vec![100],
            compat: Compat::Paper,
        }
    }

    /// SMALL: 8 layers of width 512, 30 M parameters.
    pub fn small() -> Self {
        HubertConfig {
            hidden_size: 512,
            num_hidden_layers: 8,
            num_attention_heads: 8,
            intermediate_size: 2048,
            ..Self::base()
        }
    }

    /// LARGE: 16 layers of width 960, 188 M parameters.
    pub fn large() -> Self {
        HubertConfig {
            hidden_size: 960,
            num_hidden_layers: 16,
            intermediate_size: 3840,
            classifier_proj_size: 512,
            layerdrop: 0.0,
            ..Self::base()
        }
    }

    /// For pre-training on two cores in minutes: 4 layers of width 128, 64 channels.
    pub fn tiny() -> Self {
        HubertConfig {
            hidden_size: 128,
            num_hidden_layers: 4,
            num_attention_heads: 4,
            intermediate_size: 512,
            classifier_proj_size: 64,
            conv_dim: vec![64; 5],
            ..Self::base()
        }
    }

    /// The named size, or `None`.
    pub fn size(name: &str) -> Option<Self> {
        match name {
            "tiny" => Some(Self::tiny()),
            "small" => Some(Self::small()),
            "base" => Some(Self::base()),
            "large" => Some(Self::large()),
            _ => None,
        }
    }

    /// The same sizes with another front end.
    pub fn with_front_end(self, front: FrontEnd) -> Self {
        let (kernels, strides) = front.convolutions();
        let channels = self.conv_dim.first().copied().unwrap_or(512);
        HubertConfig {
            conv_dim: vec![channels; kernels.len()],
            conv_kernel: kernels.to_vec(),
            conv_stride: strides.to_vec(),
            ..self
        }
    }

    /// The same model without dropout and layer drop.
    pub fn without_dropout(self) -> Self {
        HubertConfig {
            hidden_dropout: 0.0,
            activation_dropout: 0.0,
            attention_dropout: 0.0,
            feat_proj_dropout: 0.0,
            layerdrop: 0.0,
            ..self
        }
    }

    /// Reads the fields of a published configuration; those it lacks are as in [`HubertConfig::base`], `compat` is
    /// [`Compat::Released`] if it is absent.
    ///
    /// # Errors
    /// A message that names the field that describes another network than HuBERT-ECG, or is invalid.
    pub fn from_published(fields: &Map<String, Value>) -> Result<Self, String> {
        let fixed = [
            ("feat_extract_norm", Value::from("group")),
            ("feat_extract_activation", "gelu".into()),
            ("hidden_act", "gelu".into()),
            ("feat_proj_layer_norm", true.into()),
            ("conv_bias", false.into()),
            ("do_stable_layer_norm", false.into()),
            ("conv_pos_batch_norm", false.into()),
        ];
        for (field, expected) in fixed {
            match fields.get(field) {
                None => {}
                Some(found) if *found == expected => {}
                Some(found) => {
                    return Err(format!(
                        "`{field}` is {found}, expected {expected} for HuBERT-ECG; other networks of the family are not supported"
                    ));
                }
            }
        }
        let feature_prob = fields.get("mask_feature_prob").and_then(Value::as_f64);
        if feature_prob.is_some_and(|p| p != 0.0) {
            return Err(
                "`mask_feature_prob` is not 0, expected 0: masking of features is not supported"
                    .into(),
            );
        }
        let mut own = fields.clone();
        own.entry("compat").or_insert_with(|| "released".into());
        let config: HubertConfig =
            serde_json::from_value(Value::Object(own)).map_err(|e| e.to_string())?;
        let books = fields.get("ensemble_length").and_then(Value::as_u64);
        if let (Some(books), true) = (books, fields.contains_key("vocab_sizes"))
            && usize::try_from(books).ok() != Some(config.vocab_sizes.len())
        {
            return Err(format!(
                "`ensemble_length` is {books}, but `vocab_sizes` has {} entries",
                config.vocab_sizes.len()
            ));
        }
        config.validate()?;
        Ok(config)
    }

    /// Checks that the configuration is valid.
    ///
    /// # Errors
    /// A message that names the field.
    pub fn validate(&self) -> Result<(), String> {
        let positive = [
            ("hidden_size", self.hidden_size),
            ("num_hidden_layers", self.num_hidden_layers),
            ("num_attention_heads", self.num_attention_heads),
            ("intermediate_size", self.intermediate_size),
            ("classifier_proj_size", self.classifier_proj_size),
            ("num_conv_pos_embeddings", self.num_conv_pos_embeddings),
            (
                "num_conv_pos_embedding_groups",
                self.num_conv_pos_embedding_groups,
            ),
            ("mask_time_length", self.mask_time_length),
        ];
        let each = [
            ("conv_dim", &self.conv_dim),
            ("conv_kernel", &self.conv_kernel),
            ("conv_stride", &self.conv_stride),
            ("vocab_sizes", &self.vocab_sizes),
        ];
        for (field, value) in positive {
            if value == 0 {
                return Err(format!("`{field}` is 0; expected at least 1"));
            }
        }
        for (field, values) in each {
            if values.contains(&0) {
                return Err(format!("`{field}` holds a 0; expected at least 1"));
            }
        }
        let layers = self.conv_dim.len();
        if layers == 0 || self.conv_kernel.len() != layers || self.conv_stride.len() != layers {
            return Err(format!(
                "`conv_dim`, `conv_kernel` and `conv_stride` have {layers}, {} and {} entries; expected the same number, at least 1",
                self.conv_kernel.len(),
                self.conv_stride.len()
            ));
        }
        let d = self.hidden_size;
        for (field, count) in [
            ("num_attention_heads", self.num_attention_heads),
            (
                "num_conv_pos_embedding_groups",
                self.num_conv_pos_embedding_groups,
            ),
        ] {
            if !d.is_multiple_of(count) {
                return Err(format!(
                    "`hidden_size` ({d}) is not a multiple of `{field}` ({count})"
                ));
            }
        }
        for (field, p) in [
            ("hidden_dropout", self.hidden_dropout),
            ("activation_dropout", self.activation_dropout),
            ("attention_dropout", self.attention_dropout),
            ("feat_proj_dropout", self.feat_proj_dropout),
        ] {
            if !(0.0..1.0).contains(&p) {
                return Err(format!("`{field}` is {p}; expected 0 <= p < 1"));
            }
        }
        if !(0.0..=1.0).contains(&self.layerdrop) {
            return Err(format!(
                "`layerdrop` is {}; expected 0 <= p <= 1",
                self.layerdrop
            ));
        }
        if !(0.0..=1.0).contains(&self.mask_time_prob) {
            return Err(format!(
                "`mask_time_prob` is {}; expected 0 <= p <= 1",
                self.mask_time_prob
            ));
        }
        Ok(())
    }

    /// Tokens that come out of `samples` samples; 0 where the front end is longer.
    pub fn tokens(&self, samples: usize) -> usize {
        self.conv_kernel
            .iter()
            .zip(&self.conv_stride)
            .fold(samples, |length, (&kernel, &stride)| {
                Convolution::valid(stride).output_length(length, kernel)
            })
    }

    /// Receptive field and stride of a token, in samples (82 and 64 at 100 Hz).
    pub fn reach(&self) -> (usize, usize) {
        let layers = self.conv_kernel.iter().zip(&self.conv_stride);
        layers.fold((1, 1), |(reach, step), (kernel, stride)| {
            (reach + (kernel - 1) * step, step * stride)
        })
    }

    /// Parameters of the encoder with their shapes, in state-dict order, without the vector that replaces masked
    /// tokens.
    pub fn encoder_parameters(&self) -> Vec<(String, Vec<usize>)> {
        let (d, f) = (self.hidden_size, self.intermediate_size);
        let mut all: Vec<(String, Vec<usize>)> = Vec::new();
        let mut add = |name: &str, shape: &[usize]| all.push((name.to_owned(), shape.to_vec()));
        let mut channels = 1;
        for (i, (&out, &kernel)) in self.conv_dim.iter().zip(&self.conv_kernel).enumerate() {
            let layer = format!("feature_extractor.conv_layers.{i}");
            add(&format!("{layer}.conv.weight"), &[out, channels, kernel]);
            if i == 0 {
                add(&format!("{layer}.layer_norm.weight"), &[out]);
                add(&format!("{layer}.layer_norm.bias"), &[out]);
            }
            channels = out;
        }
        add("feature_projection.layer_norm.weight", &[channels]);
        add("feature_projection.layer_norm.bias", &[channels]);
        add("feature_projection.projection.weight", &[d, channels]);
        add("feature_projection.projection.bias", &[d]);
        let k = self.num_conv_pos_embeddings;
        add("encoder.pos_conv_embed.conv.bias", &[d]);
        add(POSITION_SCALE, &[1, 1, k]);
        add(
            POSITION_DIRECTION,
            &[d, d / self.num_conv_pos_embedding_groups, k],
        );
        add("encoder.layer_norm.weight", &[d]);
        add("encoder.layer_norm.bias", &[d]);
        for j in 0..self.num_hidden_layers {
            let layer = format!("encoder.layers.{j}");
            for part in ["k", "v", "q", "out"] {
                add(&format!("{layer}.attention.{part}_proj.weight"), &[d, d]);
                add(&format!("{layer}.attention.{part}_proj.bias"), &[d]);
            }
            add(&format!("{layer}.layer_norm.weight"), &[d]);
            add(&format!("{layer}.layer_norm.bias"), &[d]);
            let forward = format!("{layer}.feed_forward");
            add(&format!("{forward}.intermediate_dense.weight"), &[f, d]);
            add(&format!("{forward}.intermediate_dense.bias"), &[f]);
            add(&format!("{forward}.output_dense.weight"), &[d, f]);
            add(&format!("{forward}.output_dense.bias"), &[d]);
            add(&format!("{layer}.final_layer_norm.weight"), &[d]);
            add(&format!("{layer}.final_layer_norm.bias"), &[d]);
        }
        all
    }

    /// The vector that replaces masked tokens, if the model supports masking.
    pub fn mask_parameter(&self) -> Option<(String, Vec<usize>)> {
        (self.mask_time_prob > 0.0).then(|| (MASK.to_owned(), vec![self.hidden_size]))
    }

    /// Parameters of the code-book heads.
    pub fn code_book_parameters(&self) -> Vec<(String, Vec<usize>)> {
        let (d, p) = (self.hidden_size, self.classifier_proj_size);
        let maps = (0..self.vocab_sizes.len()).flat_map(|e| {
            [
                (format!("final_proj.{e}.weight"), vec![p, d]),
                (format!("final_proj.{e}.bias"), vec![p]),
            ]
        });
        let books = self.vocab_sizes.iter().enumerate();
        let books = books.map(|(e, v)| (format!("label_embedding.{e}.weight"), vec![*v, p]));
        maps.chain(books).collect()
    }

    /// Parameters of the pre-training model, in state-dict order.
    pub fn parameters(&self) -> Vec<(String, Vec<usize>)> {
        let mut all: Vec<_> = self.mask_parameter().into_iter().collect();
        all.extend(self.encoder_parameters());
        all.extend(self.code_book_parameters());
        all
    }
}

/// The vector that replaces masked tokens.
pub(crate) const MASK: &str = "masked_spec_embed";
/// Length of the positional kernel at each of its positions.
pub(crate) const POSITION_SCALE: &str =
    "encoder.pos_conv_embed.conv.parametrizations.weight.original0";
/// Its direction.
pub(crate) const POSITION_DIRECTION: &str =
    "encoder.pos_conv_embed.conv.parametrizations.weight.original1";

#[cfg(test)]
mod tests {
    use super::*;

    fn count(parameters: &[(String, Vec<usize>)]) -> usize {
        let sizes = parameters.iter().map(|(_, s)| s.iter().product::<usize>());
        sizes.sum()
    }

    #[test]
    fn parameter_counts_are_the_published_ones() {
        for (config, encoder, tensors, with_100) in [
            (HubertConfig::small(), 30_209_664, 148, 30_366_592),
            (HubertConfig::base(), 92_798_848, 212, 93_021_312),
            (HubertConfig::large(), 187_644_736, 276, 188_187_968),
        ] {
            let own = count(&config.encoder_parameters()) + config.hidden_size;
            assert_eq!(own, encoder);
            let all = config.parameters();
            assert_eq!((all.len(), count(&all)), (tensors, with_100));
        }
    }

    #[test]
    fn every_front_end_gives_93_tokens() {
        for (front, reach) in [
            (FrontEnd::Hz500, None),
            (FrontEnd::Hz100, Some((82, 64))),
            (FrontEnd::Hz50, None),
        ] {
            let config = HubertConfig::base().with_front_end(front);
            assert_eq!(config.tokens(front.samples()), 93);
            assert!(reach.is_none_or(|r| r == config.reach()));
            assert_eq!(FrontEnd::of_kernels(&config.conv_kernel), Some(front));
        }
        assert_eq!(HubertConfig::base().tokens(81), 0);
        assert_eq!(HubertConfig::base().tokens(82), 1);
    }

    #[test]
    fn impossible_configurations_are_named() {
        let fields = |value: Value| value.as_object().unwrap().clone();
        let read = |value| HubertConfig::from_published(&fields(value));
        for (value, part) in [
            (serde_json::json!({"hidden_size": 10}), "`hidden_size` (10)"),
            (
                serde_json::json!({"conv_bias": true}),
                "`conv_bias` is true",
            ),
            (
                serde_json::json!({"ensemble_length": 2, "vocab_sizes": [5]}),
                "`ensemble_length` is 2",
            ),
            (serde_json::json!({"conv_dim": [4]}), "`conv_dim`"),
            (serde_json::json!({"hidden_size": "x"}), "invalid type"),
        ] {
            let error = read(value).unwrap_err();
            assert!(error.contains(part), "{error}");
        }
        let read = read(serde_json::json!({"hidden_size": 96, "unknown": 3})).unwrap();
        assert_eq!((read.hidden_size, read.compat), (96, Compat::Released));
    }
}
