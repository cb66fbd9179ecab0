//! From a published file to tensors under this crate's names, and back.

use std::collections::HashMap;
use std::path::Path;

use serde_json::{Map, Value};

use super::keys::{decoder_heads, encoder_heads};
use super::safetensors_io::read_noted;
use super::{
    CheckpointError, Epoch, KeyReport, Layout, NamedTensor, OptimizerState, PthOptions, StateDict,
    canonical, detect, published, read_pth_with, report,
};

/// How a published file is imported.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImportOptions {
    /// Attention heads of the encoder; `None` for those of the run's arguments or of the published size.
    pub heads: Option<usize>,
    /// Attention heads of the decoder; likewise.
    pub decoder_heads: Option<usize>,
    /// How a PyTorch file is read: with its optimizer or without, and which Python names it may hold.
    pub pth: PthOptions,
}

/// A published CLEAR or HUG model in host memory.
#[derive(Clone, Debug)]
pub struct Imported {
    /// The tensors that fill a parameter, under its name (without `backbone.`) and in state-dict order.
    pub state: StateDict,
    /// Stage and sizes.
    pub layout: Layout,
    /// Attention heads of the encoder.
    pub heads: usize,
    /// Attention heads of the decoder; `None` without a decoder.
    pub decoder_heads: Option<usize>,
    /// The state of the optimizer, where it was asked for and is there.
    pub optimizer: Option<OptimizerState>,
    /// When the file was saved, where it says so.
    pub epoch: Option<Epoch>,
    /// The arguments of the run; empty where the file has none.
    pub args: Map<String, Value>,
    /// What became of every tensor. Missing, unused and mis-shaped ones are reported and no error, as in the published
    /// program (specification 6.7); see [`KeyReport::is_complete`].
    pub report: KeyReport,
    /// What a reader should know: which entry was taken, what was left out or rounded.
    pub notes: Vec<String>,
}

/// Imports a CLEAR or HUG model: a `.safetensors` file (by its ending), or else a PyTorch checkpoint.
///
/// # Errors
/// When the file cannot be read ([`read_pth_with`], [`super::read_safetensors`]), is not of this system, holds a tensor
/// with and without the prefix, or nothing tells the number of attention heads.
pub fn import(path: &Path, options: &ImportOptions) -> Result<Imported, CheckpointError> {
    let is_safetensors = path
        .extension()
        .is_some_and(|ending| ending.eq_ignore_ascii_case("safetensors"));
    let (found, optimizer, epoch, args, notes) = if is_safetensors {
        let (tensors, _, notes) = read_noted(path)?;
        (tensors, None, None, Map::new(), notes)
    } else {
        let file = read_pth_with(path, &options.pth)?;
        (
            file.model,
            file.optimizer,
            file.epoch,
            file.args,
            file.notes,
        )
    };
    let layout = detect(&found)?;
    let unknown = |part, width| CheckpointError::UnknownHeads { part, width };
    let heads = options
        .heads
        .or_else(|| encoder_heads(layout.embed_dim, &args))
        .ok_or_else(|| unknown("encoder", layout.embed_dim))?;
    let decoder_heads = match layout.decoder_depth {
        0 => None,
        _ => Some(
            options
                .decoder_heads
                .or_else(|| decoder_heads(layout.embed_dim, &args))
                .ok_or_else(|| unknown("decoder", layout.decoder_embed_dim))?,
        ),
    };
    let report = report(&layout.parameters(), &found);
    let mut tensors: HashMap<String, NamedTensor> = canonical(found)?.into_iter().collect();
    let state = report
        .mapped
        .iter()
        .filter_map(|mapped| Some((mapped.ours.clone(), tensors.remove(&mapped.ours)?)))
        .collect();
    Ok(Imported {
        state,
        layout,
        heads,
        decoder_heads,
        optimizer,
        epoch,
        args,
        report,
        notes,
    })
}

/// The tensors of a complete model as the published program names and orders them: with `backbone.` before all but the
/// classifier for fine-tuned models. Tensors that are no parameter of the layout are left out.
///
/// # Errors
/// When a parameter is missing or has another shape.
pub fn export(state: StateDict, layout: &Layout) -> Result<StateDict, CheckpointError> {
    let expected = layout.parameters();
    let found = report(&expected, &state);
    if !found.is_complete() {
        let missing = found.missing.iter().map(|(name, _)| name);
        let first = missing
            .chain(found.mis_shaped.iter().map(|odd| &odd.ours))
            .next();
        return Err(CheckpointError::Incomplete {
            missing: found.missing.len(),
            mis_shaped: found.mis_shaped.len(),
            first: first.cloned().unwrap_or_default(),
        });
    }
    let mut tensors: HashMap<String, NamedTensor> = canonical(state)?.into_iter().collect();
    let ordered = expected
        .into_iter()
        .filter_map(|(name, _)| tensors.remove(&name).map(|tensor| (name, tensor)))
        .collect();
    Ok(published(ordered, layout.stage))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::super::{Stage, read_safetensors, write_safetensors};
    use super::*;

    fn golden(file: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../../tests/golden-data/clear-hug")
            .join(file)
    }

    fn heads() -> ImportOptions {
        ImportOptions {
            heads: Some(4),
            decoder_heads: Some(2),
            ..ImportOptions::default()
        }
    }

    #[test]
    fn what_is_exported_is_what_was_imported() {
        let folder = tempfile::tempdir().unwrap();
        for (case, stage) in [
            ("pretrain-forward", Stage::Pretrain),
            ("finetune-clear", Stage::Linear),
            ("train-hug-20", Stage::Hug),
        ] {
            let path = golden(&format!("{case}/checkpoint.pth"));
            let imported = import(&path, &heads()).unwrap();
            assert_eq!(imported.layout.stage, stage);
            assert!(imported.report.is_complete() && imported.report.unused.is_empty());
            assert!(
                imported
                    .state
                    .names()
                    .all(|name| !name.starts_with("backbone."))
            );
            let expected = imported.layout.parameters();
            assert!(
                imported
                    .state
                    .names()
                    .eq(expected.iter().map(|(name, _)| name.as_str()))
            );

            // From the order of another writer back to the order of the file.
            let shuffled = imported.state.clone().into_iter().collect::<Vec<_>>();
            let shuffled = shuffled.into_iter().rev().collect();
            let out = folder.path().join(format!("{case}.safetensors"));
            let exported = export(shuffled, &imported.layout).unwrap();
            write_safetensors(&out, &exported, &HashMap::new()).unwrap();
            let original = read_pth_with(&path, &PthOptions::default()).unwrap();
            assert_eq!(read_safetensors(&out).unwrap().0, original.model);

            // And the export can be imported.
            let again = import(&out, &heads()).unwrap();
            assert_eq!(
                (again.state, again.layout),
                (imported.state, imported.layout)
            );
            assert!(again.args.is_empty() && again.notes.is_empty());
        }
    }

    #[test]
    fn what_does_not_fit_is_reported_and_left_out() {
        let path = golden("finetune-clear-hug/checkpoint.pth");
        let imported = import(&path, &heads()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("odd.safetensors");
        let mut odd: StateDict = imported
            .state
            .clone()
            .into_iter()
            .filter(|(name, _)| name != "norm_layer.bias")
            .collect();
        let wide = NamedTensor {
            shape: vec![7],
            data: vec![0.0; 7],
        };
        odd.insert("norm_layer.weight", wide.clone());
        odd.insert("extra", wide);
        write_safetensors(&out, &odd, &HashMap::new()).unwrap();
        let found = import(&out, &heads()).unwrap();
        assert!(!found.report.is_complete());
        assert_eq!(found.report.missing[0].0, "norm_layer.bias");
        assert_eq!(found.report.mis_shaped[0].found, [7]);
        assert_eq!(found.report.unused[0].0, "extra");
        assert_eq!(found.state.len(), imported.state.len() - 2);
        let error = export(found.state, &found.layout).unwrap_err();
        assert!(
            matches!(
                &error,
                CheckpointError::Incomplete {
                    missing: 2,
                    mis_shaped: 0,
                    ..
                }
            ),
            "{error}"
        );
    }

    #[test]
    fn heads_must_be_known() {
        let path = golden("pretrain-forward/checkpoint.pth");
        for (heads, part) in [(None, "encoder"), (Some(4), "decoder")] {
            let options = ImportOptions {
                heads,
                ..ImportOptions::default()
            };
            let error = import(&path, &options).unwrap_err().to_string();
            assert!(error.contains(&format!("heads of the {part}")), "{error}");
        }
    }

    #[test]
    fn the_optimizer_comes_on_request() {
        let path = golden("train-pretrain-20/checkpoint.pth");
        let without = import(&path, &heads()).unwrap();
        assert_eq!(without.optimizer, None);
        let mut options = heads();
        options.pth.optimizer = true;
        let with = import(&path, &options).unwrap();
        // Every parameter is trained in pre-training; the indices run over the groups one after the other.
        let optimizer = with.optimizer.unwrap();
        let params: Vec<usize> = optimizer
            .groups
            .iter()
            .flat_map(|g| g.params.clone())
            .collect();
        assert!(params.iter().copied().eq(0..with.state.len()));
        assert_eq!(without.state, with.state);
    }
}
