//! Hyper-parameters, and the names and shapes of all parameters.

use serde::{Deserialize, Serialize};

use crate::compat::Compat;
use crate::text::{BertLayer, T5Config, TextConfig};

/// The fixed positions of the decoder of signals, kept in files though nothing learns them.
pub const POSITION_TABLE: &str = "mim_head.decoder_pos_embed.pe";
/// Logarithm of the factor of the product of two vectors.
pub(super) const SCALE: &str = "ets_head.log_scale";
/// What is added to it.
pub(super) const BIAS: &str = "ets_head.bias";
/// Rows of that table.
pub(super) const POSITIONS: usize = 512;
/// Samples from which the length of a stretch is derived, whatever the length of the recordings.
const NOMINAL_SAMPLES: usize = 5000;
/// Leads of a recording.
pub(super) const LEADS: usize = 12;

/// One convolution of the front end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Convolutions {
    /// Channels of its output.
    pub channels: usize,
    /// Width of its kernel in samples.
    pub kernel: usize,
    /// Samples from one output to the next.
    pub stride: usize,
}

/// The encoder of recordings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EcgConfig {
    /// Layers.
    pub layers: usize,
    /// Width.
    pub width: usize,
    /// Width between the feed-forward layers.
    pub feed_forward: usize,
    /// Attention heads.
    pub heads: usize,
    /// Whether norms come before attention and feed-forward layers instead of after them.
    pub norm_first: bool,
    /// Probability of dropout of embeddings and of the outputs of layers.
    pub dropout: f32,
    /// Probability of dropout on attention weights.
    pub attention_dropout: f32,
    /// Probability of dropout after the activation.
    pub activation_dropout: f32,
    /// Probability of dropout after the projection to the width.
    pub input_dropout: f32,
    /// Probability with which a layer is left out in training.
    pub layer_drop: f32,
    /// The convolutions.
    pub convolutions: Vec<Convolutions>,
    /// Width of the kernel of positions in tokens.
    pub position_kernel: usize,
    /// Groups of that convolution.
    pub position_groups: usize,
}

impl Default for EcgConfig {
    /// As published.
    fn default() -> Self {
        EcgConfig {
            layers: 8,
            width: 768,
            feed_forward: 3072,
            heads: 12,
            norm_first: false,
            dropout: 0.1,
            attention_dropout: 0.1,
            activation_dropout: 0.0,
            input_dropout: 0.1,
            layer_drop: 0.0,
            convolutions: vec![
                Convolutions {
                    channels: 256,
                    kernel: 2,
                    stride: 2,
                };
                4
            ],
            position_kernel: 128,
            position_groups: 16,
        }
    }
}

/// The whole network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DbetaConfig {
    /// The encoder of recordings.
    pub ecg: EcgConfig,
    /// The encoder of texts.
    pub text: TextConfig,
    /// Width of both vectors, and of the layers that read recording and text together.
    pub hidden: usize,
    /// Attention heads of these layers.
    pub fusion_heads: usize,
    /// How many there are.
    pub fusion_layers: usize,
    /// Width between their feed-forward layers.
    pub fusion_feed_forward: usize,
    /// Probability of dropout in them.
    pub fusion_dropout: f32,
    /// Rows of the table of word pieces, which the head of words has outputs for.
    pub vocabulary: usize,
    /// The layer whose input the decoder of signals reads; -1 for the output of the last one.
    pub signal_layer: i64,
    /// The share of tokens that training hides.
    pub hidden_share: f64,
    /// Width of the decoder of signals.
    pub decoder_width: usize,
    /// Its layers.
    pub decoder_layers: usize,
    /// Its attention heads.
    pub decoder_heads: usize,
    /// Whether padding is kept from the encoder of texts.
    pub text_mask: bool,
    /// Whether the encoder of texts learns; one that does not has no dropout either.
    pub text_learns: bool,
    /// Whether vectors are divided by their length before they are compared.
    pub normalise: bool,
    /// Whether the factor of their product is learned, from 10; otherwise it is 1.
    pub learned_scale: bool,
    /// Whether a bias is learned that is added to it, from -4; otherwise there is none.
    pub learned_bias: bool,
    /// Which parts the network has.
    pub part: Part,
    /// Whether it follows the paper or the released program.
    pub compat: Compat,
}

/// Which parts a network has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Part {
    /// What gives vectors of recordings.
    Ecg,
    /// What gives vectors of texts.
    Text,
    /// Both.
    Vectors,
    /// Both, and what pre-training needs.
    #[default]
    All,
}

impl Default for DbetaConfig {
    /// As published.
    fn default() -> Self {
        DbetaConfig {
            ecg: EcgConfig::default(),
            text: TextConfig::T5(T5Config::default()),
            hidden: 768,
            fusion_heads: 12,
            fusion_layers: 6,
            fusion_feed_forward: 3072,
            fusion_dropout: 0.1,
            vocabulary: 32_128,
            signal_layer: 3,
            hidden_share: 0.75,
            decoder_width: 384,
            decoder_layers: 4,
            decoder_heads: 6,
            text_mask: true,
            text_learns: true,
            normalise: false,
            learned_scale: false,
            learned_bias: false,
            part: Part::All,
            compat: Compat::Paper,
        }
    }
}

impl EcgConfig {
    /// Tokens of a recording of so many samples; 0 where it is too short.
    pub fn tokens(&self, samples: usize) -> usize {
        self.convolutions.iter().fold(samples, |n, conv| {
            n.checked_sub(conv.kernel)
                .map_or(0, |room| room / conv.stride + 1)
        })
    }

    /// Channels behind the convolutions.
    pub fn channels(&self) -> usize {
        self.convolutions.last().map_or(LEADS, |conv| conv.channels)
    }

    fn parameters(&self) -> Vec<(String, Vec<usize>)> {
        let d = self.width;
        let mut all = vec![("class_embedding".to_owned(), vec![d])];
        let mut put = |name: String, shape: &[usize]| {
            all.push((format!("ecg_encoder.{name}"), shape.to_vec()));
        };
        for i in 0..self.layers {
            let layer = format!("encoder.layers.{i}");
            for part in ["k_proj", "v_proj", "q_proj", "out_proj"] {
                put(format!("{layer}.self_attn.{part}.weight"), &[d, d]);
                put(format!("{layer}.self_attn.{part}.bias"), &[d]);
            }
            for (part, shape) in [
                ("self_attn_layer_norm", vec![d]),
                ("fc1", vec![self.feed_forward, d]),
                ("fc2", vec![d, self.feed_forward]),
                ("final_layer_norm", vec![d]),
            ] {
                put(format!("{layer}.{part}.weight"), &shape);
                put(format!("{layer}.{part}.bias"), &shape[..1]);
            }
        }
        put("encoder.layer_norm.weight".to_owned(), &[d]);
        put("encoder.layer_norm.bias".to_owned(), &[d]);
        let mut inputs = LEADS;
        for (i, conv) in self.convolutions.iter().enumerate() {
            let block = format!("feature_extractor.conv_layers.{i}");
            put(
                format!("{block}.0.weight"),
                &[conv.channels, inputs, conv.kernel],
            );
            if i == 0 {
                put(format!("{block}.2.weight"), &[conv.channels]);
                put(format!("{block}.2.bias"), &[conv.channels]);
            }
            inputs = conv.channels;
        }
        if inputs != d {
            put("post_extract_proj.weight".to_owned(), &[d, inputs]);
            put("post_extract_proj.bias".to_owned(), &[d]);
        }
        let position = "conv_pos.pos_conv.0";
        put(format!("{position}.bias"), &[d]);
        put(
            format!("{position}.weight_g"),
            &[1, 1, self.position_kernel],
        );
        let of_group = d / self.position_groups.max(1);
        put(
            format!("{position}.weight_v"),
            &[d, of_group, self.position_kernel],
        );
        put("layer_norm.weight".to_owned(), &[inputs]);
        put("layer_norm.bias".to_owned(), &[inputs]);
        all
    }
}

/// A linear map `[out, from]` with its bias.
fn map(all: &mut Vec<(String, Vec<usize>)>, name: &str, out: usize, from: usize) {
    all.push((format!("{name}.weight"), vec![out, from]));
    all.push((format!("{name}.bias"), vec![out]));
}

fn norm(all: &mut Vec<(String, Vec<usize>)>, name: &str, width: usize) {
    all.push((format!("{name}.weight"), vec![width]));
    all.push((format!("{name}.bias"), vec![width]));
}

impl DbetaConfig {
    /// Samples of a lead that one token stands for in the decoder of signals.
    pub fn stretch(&self) -> usize {
        NOMINAL_SAMPLES / self.ecg.tokens(NOMINAL_SAMPLES).max(1)
    }

    /// Tokens that training leaves of so many.
    pub fn kept_tokens(&self, tokens: usize) -> usize {
        (tokens as f64 * (1.0 - self.hidden_share)) as usize
    }

    /// What gives vectors of recordings.
    pub fn ecg_parameters(&self) -> Vec<(String, Vec<usize>)> {
        let mut all = self.ecg.parameters();
        map(
            &mut all,
            "multi_modal_ecg_proj",
            self.hidden,
            self.ecg.width,
        );
        map(
            &mut all,
            "unimodal_ecg_pooler.dense",
            self.hidden,
            self.hidden,
        );
        all
    }

    /// What gives vectors of texts.
    pub fn text_parameters(&self) -> Vec<(String, Vec<usize>)> {
        let mut all = self.text.parameters("language_encoder.");
        map(
            &mut all,
            "multi_modal_language_proj",
            self.hidden,
            self.text.width(),
        );
        map(
            &mut all,
            "unimodal_language_pooler.dense",
            self.hidden,
            self.hidden,
        );
        all
    }

    /// What pre-training needs beside.
    pub fn pretraining_parameters(&self) -> Vec<(String, Vec<usize>)> {
        let d = self.hidden;
        let mut all = vec![("modality_type_embeddings.weight".to_owned(), vec![2, d])];
        for stream in ["ecg", "language"] {
            for i in 0..self.fusion_layers {
                let prefix = format!("multi_modal_{stream}_layers.{i}.");
                all.extend(BertLayer::parameters(
                    &prefix,
                    d,
                    self.fusion_feed_forward,
                    true,
                ));
            }
            map(
                &mut all,
                &format!("multi_modal_{stream}_pooler.dense"),
                d,
                d,
            );
        }
        map(&mut all, "mlm_head.transform.dense", d, d);
        norm(&mut all, "mlm_head.transform.LayerNorm", d);
        all.push((
            "mlm_head.decoder.weight".to_owned(),
            vec![self.vocabulary, d],
        ));
        all.push(("mlm_head.bias".to_owned(), vec![self.vocabulary]));
        let w = self.decoder_width;
        map(&mut all, "mim_head.decoder_embed", w, d);
        all.push(("mim_head.mask_token".to_owned(), vec![1, 1, w]));
        all.push((POSITION_TABLE.to_owned(), vec![1, POSITIONS, w]));
        for i in 0..self.decoder_layers {
            let block = format!("mim_head.decoder.resblocks.{i}");
            all.push((format!("{block}.attn.in_proj_weight"), vec![3 * w, w]));
            all.push((format!("{block}.attn.in_proj_bias"), vec![3 * w]));
            map(&mut all, &format!("{block}.attn.out_proj"), w, w);
            norm(&mut all, &format!("{block}.ln_1"), w);
            map(&mut all, &format!("{block}.mlp.c_fc"), 4 * w, w);
            map(&mut all, &format!("{block}.mlp.c_proj"), w, 4 * w);
            norm(&mut all, &format!("{block}.ln_2"), w);
        }
        norm(&mut all, "mim_head.decoder_norm", w);
        map(&mut all, "mim_head.decoder_pred", LEADS * self.stretch(), w);
        map(&mut all, "itm_head.fc", 2, 2 * d);
        let learned = [(SCALE, self.learned_scale), (BIAS, self.learned_bias)];
        let learned = learned.into_iter().filter(|(_, learned)| *learned);
        all.extend(learned.map(|(name, _)| (name.to_owned(), vec![1])));
        all
    }

    /// Every parameter of the parts that the network has, with its shape.
    pub fn parameters(&self) -> Vec<(String, Vec<usize>)> {
        let mut all = Vec::new();
        if self.part != Part::Text {
            all.extend(self.ecg_parameters());
        }
        if self.part != Part::Ecg {
            all.extend(self.text_parameters());
        }
        if self.part == Part::All {
            all.extend(self.pretraining_parameters());
        }
        all
    }

    /// A size by its name: `tiny`, `small`, or `base` as published.
    pub fn size(name: &str) -> Option<Self> {
        let learned = |config| DbetaConfig {
            normalise: true,
            learned_scale: true,
            learned_bias: true,
            ..config
        };
        let small = |width: usize, layers: usize, fusion: usize| {
            let text = T5Config {
                vocab_size: 2048,
                d_model: width,
                d_kv: 32,
                d_ff: 2 * width,
                num_layers: layers,
                num_heads: width / 32,
                ..T5Config::default()
            };
            DbetaConfig {
                ecg: EcgConfig {
                    layers: 2 * layers,
                    width,
                    feed_forward: 4 * width,
                    heads: width / 32,
                    convolutions: vec![
                        Convolutions {
                            channels: width / 2,
                            kernel: 2,
                            stride: 2,
                        };
                        4
                    ],
                    position_kernel: 32,
                    ..EcgConfig::default()
                },
                hidden: width,
                fusion_heads: width / 32,
                fusion_layers: fusion,
                fusion_feed_forward: 4 * width,
                vocabulary: text.vocab_size,
                text: TextConfig::T5(text),
                signal_layer: fusion as i64 / 2,
                decoder_width: width / 2,
                decoder_layers: 2,
                decoder_heads: width / 64,
                ..DbetaConfig::default()
            }
        };
        match name {
            "tiny" => Some(learned(small(128, 2, 1))),
            "small" => Some(learned(small(256, 4, 2))),
            "base" => Some(learned(DbetaConfig::default())),
            _ => None,
        }
    }

    /// Checks that all sizes fit each other.
    ///
    /// # Errors
    /// A message that names the field.
    pub fn validate(&self) -> Result<(), String> {
        let ecg = &self.ecg;
        for (name, width, heads) in [
            ("ecg.heads", ecg.width, ecg.heads),
            ("ecg.position_groups", ecg.width, ecg.position_groups),
            ("fusion_heads", self.hidden, self.fusion_heads),
            ("decoder_heads", self.decoder_width, self.decoder_heads),
        ] {
            if heads == 0 || !width.is_multiple_of(heads) {
                return Err(format!("{name}: {heads} does not divide the width {width}"));
            }
        }
        let sound = |conv: &Convolutions| conv.channels > 0 && conv.kernel > 0 && conv.stride > 0;
        if ecg.convolutions.is_empty() || !ecg.convolutions.iter().all(sound) {
            return Err("ecg.convolutions: expected at least one, of no size 0".to_owned());
        }
        if ecg.tokens(NOMINAL_SAMPLES) == 0 {
            return Err(format!(
                "ecg.convolutions: they leave nothing of {NOMINAL_SAMPLES} samples"
            ));
        }
        if ecg.position_kernel == 0 {
            return Err("ecg.position_kernel: 0, expected at least 1".to_owned());
        }
        if !(0.0..1.0).contains(&self.hidden_share) {
            return Err(format!(
                "hidden_share: {}, expected a share from 0 to below 1",
                self.hidden_share
            ));
        }
        let layers = self.fusion_layers as i64;
        if !(-1..layers).contains(&self.signal_layer) {
            return Err(format!(
                "signal_layer: {}, expected -1 to {}",
                self.signal_layer,
                layers - 1
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_network_has_its_number_of_parameters() {
        let config = DbetaConfig::default();
        config.validate().unwrap();
        let count = |all: Vec<(String, Vec<usize>)>| -> usize {
            let own = all.iter().filter(|(name, _)| name != POSITION_TABLE);
            own.map(|(_, shape)| shape.iter().product::<usize>()).sum()
        };
        assert_eq!(count(config.ecg_parameters()), 63_203_712);
        assert_eq!(count(config.text_parameters()), 110_809_728);
        assert_eq!(count(config.parameters()), 321_387_330);
        assert_eq!(config.parameters().len(), 644);
        assert_eq!((config.ecg.tokens(5000), config.stretch()), (312, 16));
        assert_eq!(config.kept_tokens(312), 78);
        let config = DbetaConfig {
            hidden_share: 0.9,
            ..config
        };
        assert_eq!(config.kept_tokens(20), 1);
    }
}
