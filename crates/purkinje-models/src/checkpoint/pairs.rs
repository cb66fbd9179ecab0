//! The published names of DERI and MERL: the parameters of a network, and detection of the network in a file.

use std::borrow::Cow;

use super::shapes::Shapes;
use super::system::{Facts, Published};
use super::{CheckpointError, StateDict};
use crate::deri::{DecoderConfig, Deri, DeriConfig};
use crate::layers::{ResNetConfig, VitConfig};
use crate::merl::{Merl, MerlConfig};
use crate::paired::{ECG, EcgEncoder, LINEAR, PairClassifier, PairConfig, Paired, Part};
use crate::text::{BertConfig, TextConfig};

/// What names of a network begin with, whatever a wrapper puts in front.
const ROOTS: [&str; 11] = [
    ECG,
    "downconv.",
    "att_pool_head.",
    "linear1.",
    "linear2.",
    "decode_t.",
    "decode_e.",
    "proj_t.",
    "proj_e.",
    "lm_model.",
    LINEAR,
];
/// What names begin with in the file of an encoder of recordings alone.
const ALONE: [&str; 9] = [
    "conv1.",
    "bn1.",
    "layer1.",
    "layer2.",
    "layer3.",
    "layer4.",
    "linear.",
    "pos_embedding",
    "to_patch_embedding.",
];
/// What names of the part that writes reports contain.
const WRITER: &str = "encoder_decoder.";
/// Classes of the layer of residual networks that nothing uses.
const CLASSES: usize = 10;
/// Samples from one output of a residual network to the next.
const STRIDE: usize = 16;

/// A network whose files are known.
pub trait PairFile: Paired {
    /// What it is called.
    const TITLE: &'static str;

    /// Whether only networks of this system have a tensor of this name.
    fn recognises(name: &str) -> bool;

    /// The network of a file.
    ///
    /// # Errors
    /// A sentence that names what is missing.
    fn of(shapes: &Shapes<'_>, facts: &Facts) -> Result<Self::Config, String>;

    /// Entries of published files that nothing uses.
    fn unused(config: &Self::Config) -> Vec<(String, Vec<usize>)>;
}

/// The structure of such a network, from shapes.
#[derive(Clone, Debug, PartialEq)]
pub struct PairLayout<C> {
    /// Sizes from the shapes; what is not visible in them as published.
    pub config: C,
    /// Outputs of a linear layer, and whether it is on the mean over time of what the encoder gives.
    pub outputs: Option<(usize, bool)>,
    /// Entries of the file that nothing uses.
    pub unused: Vec<(String, Vec<usize>)>,
}

/// The layout of DERI's files.
pub type DeriLayout = PairLayout<DeriConfig>;
/// That of MERL's.
pub type MerlLayout = PairLayout<MerlConfig>;

macro_rules! published {
    ($network:ty, $config:ty) => {
        impl Published for PairLayout<$config> {
            fn recognises(name: &str) -> bool {
                <$network as PairFile>::recognises(bare(name))
            }

            fn tidied(found: StateDict) -> StateDict {
                without_writer(found)
            }

            fn read(found: &StateDict, facts: &Facts) -> Result<Self, CheckpointError> {
                read::<$network>(found, facts)
            }

            fn parameters(&self) -> Vec<(String, Vec<usize>)> {
                parameters::<$network>(self)
            }

            fn canonical(name: &str) -> Cow<'_, str> {
                canonical(name)
            }

            fn published(&self, name: &str) -> String {
                published_name(self.config.clone().part(), name)
            }

            fn unused(&self) -> Vec<(String, Vec<usize>)> {
                let names = <$network as PairFile>::unused(&self.config).into_iter();
                names
                    .map(|(name, shape)| (Published::published(self, &name), shape))
                    .collect()
            }

            fn heads(&self, facts: &Facts) -> Result<(usize, Option<usize>), CheckpointError> {
                Ok((self.config.heads, facts.decoder_heads))
            }
        }
    };
}

published!(Deri, DeriConfig);
published!(Merl, MerlConfig);

fn read<N: PairFile>(
    found: &StateDict,
    facts: &Facts,
) -> Result<PairLayout<N::Config>, CheckpointError> {
    let unknown = |problem: String| CheckpointError::UnknownLayout {
        system: N::TITLE,
        tensors: found.len(),
        problem,
    };
    let shapes = Shapes::new(found, canonical);
    let config = N::of(&shapes, facts).map_err(unknown)?;
    config.validate().map_err(unknown)?;
    let head = shapes.shape(&format!("{LINEAR}weight"), 2).ok();
    let average = |width: usize| width == config.encoder().channels();
    let vector = shapes
        .first("downconv.bias")
        .or(shapes.first("proj_t.2.bias"));
    let unused = N::unused(&config).into_iter();
    Ok(PairLayout {
        outputs: head.map(|head| (head[0], vector != Some(head[1]) && average(head[1]))),
        unused: unused
            .filter(|(name, shape)| shapes.is(name, shape))
            .collect(),
        config,
    })
}

fn parameters<N: PairFile>(layout: &PairLayout<N::Config>) -> Vec<(String, Vec<usize>)> {
    let mut all = layout.config.entries();
    if let Some((outputs, average)) = layout.outputs {
        let width = match average || *layout.config.clone().part() == Part::Encoder {
            true => layout.config.encoder().channels(),
            false => layout.config.vector_width(),
        };
        all.extend(PairClassifier::<N>::parameters(width, outputs));
    }
    all.extend(layout.unused.iter().cloned());
    all
}

/// A name without what a wrapper puts in front; those of an encoder alone with what others have.
fn canonical(name: &str) -> Cow<'_, str> {
    let own = bare(name);
    let alone = |name: &str| {
        let block = name.strip_prefix("block");
        let block = block.is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
        block || name.starts_with("norm.") || ALONE.iter().any(|root| name.starts_with(root))
    };
    let unwrapped = own.strip_prefix("module.").unwrap_or(own);
    match alone(unwrapped) {
        true => Cow::Owned(format!("{ECG}{unwrapped}")),
        false => Cow::Borrowed(own),
    }
}

/// A name without what a wrapper puts in front.
fn bare(name: &str) -> &str {
    let starts = std::iter::once(0).chain(name.match_indices('.').map(|(at, _)| at + 1));
    for start in starts {
        let rest = &name[start..];
        if ROOTS.iter().any(|root| rest.starts_with(root)) {
            return rest;
        }
    }
    name
}

/// Without the part that writes reports, and what it keeps a second time.
fn without_writer(found: StateDict) -> StateDict {
    if !found.names().any(|name| name.contains(WRITER)) {
        return found;
    }
    let own = |name: &str| {
        let name = name.strip_prefix("module.").unwrap_or(name);
        name.strip_prefix("encoder.")
            .is_some_and(|rest| !rest.starts_with(LINEAR))
    };
    found.into_iter().filter(|(name, _)| own(name)).collect()
}

fn published_name(part: &Part, name: &str) -> String {
    match part {
        Part::Encoder => name.strip_prefix(ECG).unwrap_or(name).to_owned(),
        _ => name.to_owned(),
    }
}

/// What the shapes of these systems say.
trait PairShapes {
    fn encoder(&self, facts: &Facts) -> Result<EcgEncoder, String>;
    fn vit(&self, facts: &Facts) -> Result<VitConfig, String>;
    fn text(&self, facts: &Facts) -> Result<TextConfig, String>;
    fn part(&self) -> Part;
}

impl PairShapes for Shapes<'_> {
    fn encoder(&self, facts: &Facts) -> Result<EcgEncoder, String> {
        if self.has("ecg_encoder.to_patch_embedding.") {
            return self.vit(facts).map(EcgEncoder::Vit);
        }
        let stem = self.shape("ecg_encoder.conv1.weight", 3)?;
        let stages = (1..).take_while(|stage| self.has(&format!("ecg_encoder.layer{stage}.")));
        let (mut widths, mut blocks) = (Vec::new(), Vec::new());
        for stage in stages {
            let first = format!("ecg_encoder.layer{stage}.0.conv1.weight");
            widths.push(self.shape(&first, 3)?[0]);
            blocks.push(self.numbered(&format!("ecg_encoder.layer{stage}.")));
        }
        Ok(EcgEncoder::ResNet(ResNetConfig {
            leads: stem[1],
            widths,
            blocks,
            bottleneck: self.has("ecg_encoder.layer1.0.conv3."),
        }))
    }

    fn vit(&self, facts: &Facts) -> Result<VitConfig, String> {
        let patches = self.shape("ecg_encoder.to_patch_embedding.weight", 3)?;
        let inner = self.shape("ecg_encoder.block0.attn.fn.to_qkv.weight", 2)?[0] / 3;
        let heads = facts.heads.unwrap_or((inner / 64).max(1));
        Ok(VitConfig {
            leads: patches[1],
            patches: self.shape("ecg_encoder.pos_embedding", 3)?[1],
            patch: patches[2],
            width: patches[0],
            depth: self.numbered("ecg_encoder.block"),
            heads,
            head_width: inner / heads.max(1),
            inner: self.shape("ecg_encoder.block0.ff.fn.net.0.weight", 2)?[0],
            drop_path: 0.0,
        })
    }

    // That published where there is none.
    fn text(&self, facts: &Facts) -> Result<TextConfig, String> {
        let stated = facts.config.get("num_attention_heads");
        let stated = stated
            .and_then(serde_json::Value::as_u64)
            .map(|n| n as usize);
        let published = BertConfig::default();
        if !self.has("lm_model.") {
            let width = self.shape("proj_t.0.weight", 2);
            return Ok(TextConfig::Bert(BertConfig {
                hidden_size: width.map_or(published.hidden_size, |shape| shape[1]),
                ..published
            }));
        }
        let table = self.shape("lm_model.embeddings.word_embeddings.weight", 2)?;
        let up = self.shape("lm_model.encoder.layer.0.intermediate.dense.weight", 2)?;
        let shape = |name: &str| self.shape(&format!("lm_model.embeddings.{name}.weight"), 2);
        Ok(TextConfig::Bert(BertConfig {
            vocab_size: table[0],
            hidden_size: table[1],
            num_hidden_layers: self.numbered("lm_model.encoder.layer."),
            num_attention_heads: stated.unwrap_or((table[1] / 64).max(1)),
            intermediate_size: up[0],
            max_position_embeddings: shape("position_embeddings")?[0],
            type_vocab_size: shape("token_type_embeddings")?[0],
            ..published
        }))
    }

    fn part(&self) -> Part {
        match (
            self.has("proj_t."),
            self.has("lm_model."),
            self.has("linear1."),
        ) {
            (false, _, _) => Part::Encoder,
            (true, false, _) => Part::Ecg,
            (true, true, false) => Part::Vectors,
            (true, true, true) => Part::All,
        }
    }
}

/// The roundest number of samples that give so many outputs, each of so many samples.
fn samples(outputs: usize, each: usize) -> usize {
    let range = each * outputs.saturating_sub(1) + 1..=each * outputs;
    let roundness = |n: &usize| {
        (0..)
            .take_while(|&power| n.is_multiple_of(10usize.pow(power + 1)))
            .count()
    };
    let mut best = *range.end();
    for n in range {
        if roundness(&n) > roundness(&best) || (roundness(&n) == roundness(&best) && n < best) {
            best = n;
        }
    }
    best
}

/// Word pieces of the longest text: as published, or as many as there are positions for.
fn longest(text: &TextConfig, published: usize) -> usize {
    text.positions()
        .map_or(published, |most| most.min(published))
}

/// The layer of residual networks that nothing uses.
fn of_encoder(encoder: &EcgEncoder) -> Vec<(String, Vec<usize>)> {
    match encoder {
        EcgEncoder::Vit(_) => Vec::new(),
        EcgEncoder::ResNet(own) => vec![
            (format!("{ECG}linear.weight"), vec![CLASSES, own.channels()]),
            (format!("{ECG}linear.bias"), vec![CLASSES]),
        ],
    }
}

impl PairFile for Deri {
    const TITLE: &'static str = "DERI";

    fn recognises(name: &str) -> bool {
        ["decode_t.", "decode_e.", "att_pool_head.sep_embedding"]
            .iter()
            .any(|root| name.starts_with(root))
    }

    fn of(shapes: &Shapes<'_>, facts: &Facts) -> Result<DeriConfig, String> {
        let EcgEncoder::ResNet(ecg) = shapes.encoder(facts)? else {
            return Err("the encoder is a transformer over patches, which DERI has no decoders for; MERL takes it".to_owned());
        };
        let published = DeriConfig::default();
        let part = shapes.part();
        if part == Part::Encoder {
            return Ok(DeriConfig {
                ecg,
                part,
                ..published
            });
        }
        let rows = |name: &str| shapes.shape(name, 3).map(|shape| shape[1]);
        let tokens = rows("att_pool_head.positional_embedding")?.saturating_sub(2);
        let inner = shapes.shape("decode_t.block0.attn.fn.to_qkv.weight", 2)?[0] / 3;
        let heads = facts.decoder_heads.unwrap_or((inner / 64).max(1));
        let separator = rows("decode_t.pos_embedding")? == tokens + 3;
        let kept = match part {
            Part::All => rows("linear1.positional_embedding")?.saturating_sub(2),
            _ => (tokens as f64 * (1.0 - published.mask_ratio)) as usize,
        };
        let text = shapes.text(facts)?;
        let config = DeriConfig {
            samples: samples(tokens, 3 * STRIDE),
            text_tokens: match part {
                Part::All => rows("decode_e.pos_embedding")?.saturating_sub(2),
                _ => longest(&text, published.text_tokens),
            },
            width: shapes.shape("downconv.weight", 3)?[0],
            text_inner: shapes.shape("proj_t.0.weight", 2)?[0],
            heads: facts.heads.unwrap_or(published.heads),
            decoder: DecoderConfig {
                inner: shapes.shape("decode_t.to_patch.fc1.weight", 2)?[0],
                depth: shapes.numbered("decode_t.block"),
                heads,
                head_width: inner / heads.max(1),
                ..DecoderConfig::default()
            },
            separator,
            text,
            ecg,
            part,
            ..published
        };
        Ok(match config.kept() == kept {
            true => config,
            false => DeriConfig {
                mask_ratio: 1.0 - (kept as f64 + 0.5) / tokens.max(1) as f64,
                ..config
            },
        })
    }

    fn unused(config: &DeriConfig) -> Vec<(String, Vec<usize>)> {
        let mut all = of_encoder(&config.encoder());
        let d = config.width;
        let parts: &[&str] = match config.part {
            Part::Encoder => &[],
            Part::All => &["att_pool_head", "linear1", "linear2"],
            _ => &["att_pool_head"],
        };
        for part in parts {
            all.push((format!("{part}.c_proj.weight"), vec![d, d]));
            all.push((format!("{part}.c_proj.bias"), vec![d]));
        }
        all
    }
}

impl PairFile for Merl {
    const TITLE: &'static str = "MERL";

    fn recognises(name: &str) -> bool {
        let own = ["att_pool_head.cls_token", "proj_e.", "linear1.weight"];
        own.iter().any(|root| name.starts_with(root))
    }

    fn of(shapes: &Shapes<'_>, facts: &Facts) -> Result<MerlConfig, String> {
        let (ecg, published) = (shapes.encoder(facts)?, MerlConfig::default());
        let part = shapes.part();
        let of_patches = match &ecg {
            EcgEncoder::Vit(own) => Some(own.patches * own.patch),
            EcgEncoder::ResNet(_) => None,
        };
        if part == Part::Encoder {
            return Ok(MerlConfig {
                samples: of_patches.unwrap_or(published.samples),
                ecg,
                part,
                ..published
            });
        }
        let length = match of_patches {
            Some(samples) => samples,
            None => {
                let rows = shapes.shape("att_pool_head.positional_embedding", 3)?[1];
                samples(rows.saturating_sub(1), STRIDE)
            }
        };
        let projection = shapes.shape("proj_t.2.weight", 2)?;
        let text = shapes.text(facts)?;
        Ok(MerlConfig {
            samples: length,
            text_tokens: longest(&text, published.text_tokens),
            text,
            width: projection[0],
            inner: projection[1],
            heads: facts
                .heads
                .filter(|_| of_patches.is_none())
                .unwrap_or(published.heads),
            ecg,
            part,
            ..published
        })
    }

    fn unused(config: &MerlConfig) -> Vec<(String, Vec<usize>)> {
        of_encoder(&config.encoder())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrappers_are_seen_through_and_files_told_apart() {
        for (name, own) in [
            ("module.downconv.weight", "downconv.weight"),
            ("conv1.weight", "ecg_encoder.conv1.weight"),
            ("module.layer1.0.bn1.bias", "ecg_encoder.layer1.0.bn1.bias"),
            ("block3.ff.norm.bias", "ecg_encoder.block3.ff.norm.bias"),
            ("encoder.ecg_encoder.bn1.bias", "ecg_encoder.bn1.bias"),
            (
                "decode_t.block0.attn.norm.bias",
                "decode_t.block0.attn.norm.bias",
            ),
            ("linear.weight", "ecg_encoder.linear.weight"),
        ] {
            assert_eq!(canonical(name), own);
        }
        assert!(DeriLayout::recognises("module.decode_e.sep_embedding"));
        assert!(MerlLayout::recognises("att_pool_head.cls_token"));
        for name in [
            "conv1.weight",
            "downconv.weight",
            "lm_model.pooler.dense.bias",
        ] {
            assert!(
                !DeriLayout::recognises(name) && !MerlLayout::recognises(name),
                "{name}"
            );
        }
    }

    #[test]
    fn the_roundest_length_is_taken() {
        assert_eq!(samples(105, 48), 5000);
        assert_eq!(samples(313, 16), 5000);
        assert_eq!(samples(21, 48), 1000);
        assert_eq!(samples(63, 16), 1000);
        assert_eq!(samples(9, 48), 400);
    }

    /// The tensors of a network by their published names.
    fn file<N: PairFile>(network: &N) -> StateDict {
        let named = |(name, shape, data)| (name, super::super::NamedTensor { shape, data });
        network.weights().to_host().into_iter().map(named).collect()
    }

    #[test]
    fn files_of_probes_and_of_pretraining_are_told_apart() {
        let device = burn::tensor::Device::flex();
        let facts = Facts {
            heads: Some(4),
            decoder_heads: Some(4),
            ..Facts::default()
        };
        let size = DeriConfig::size("tiny").unwrap();
        for (separator, part) in [
            (true, Part::All),
            (false, Part::All),
            (false, Part::Ecg),
            (true, Part::Encoder),
        ] {
            let config = DeriConfig {
                separator,
                part,
                ..size.clone()
            };
            let found = file(&Deri::random(config.clone(), 0, &device));
            let layout = DeriLayout::read(&found, &facts).unwrap();
            assert_eq!((layout.config.part, layout.outputs), (part, None));
            if part != Part::Encoder {
                assert_eq!(layout.config.separator, separator);
                assert_eq!(layout.config.samples, size.samples);
            }
            if part == Part::All {
                let heads = |text: &TextConfig| match text {
                    TextConfig::Bert(own) => own.num_hidden_layers,
                    TextConfig::T5(_) => 0,
                };
                assert_eq!(heads(&layout.config.text), heads(&size.text));
                assert_eq!(layout.config.mask_ratio, size.mask_ratio);
                assert_eq!(layout.config.text_tokens, size.text_tokens);
            }
        }
        let merl = MerlConfig::size("tiny").unwrap();
        for name in ["resnet18", "vit-tiny"] {
            let mut config = merl.clone();
            let encoder = config.encoder().named(name).unwrap();
            config.set_encoder(encoder).unwrap();
            let found = file(&Merl::random(config.clone(), 0, &device));
            let layout = MerlLayout::read(&found, &Facts::default()).unwrap();
            assert_eq!(
                (layout.config.ecg, layout.config.samples),
                (config.ecg, 1000)
            );
        }
        let lacking = StateDict::default();
        let error = DeriLayout::read(&lacking, &facts).unwrap_err().to_string();
        assert!(error.contains("ecg_encoder.conv1.weight"), "{error}");
    }
}
