//! HuBERT-ECG's published files.

use purkinje_models::checkpoint::HubertLayout;
use purkinje_models::hubert::{Head, HubertConfig};
use serde_json::{Map, Value};

use super::Hubert;
use super::recipes::{self, RecipeError};
use crate::import::{Imports, Outputs};
use crate::{Error, Result};

impl Imports for Hubert {
    type Layout = HubertLayout;

    fn published_network(
        layout: &HubertLayout,
        _: usize,
        _: Option<usize>,
    ) -> (HubertConfig, Option<(Head, usize)>) {
        (layout.config.clone(), layout.classifier)
    }

    fn published_layout(config: &HubertConfig, head: Option<(Head, usize)>) -> HubertLayout {
        match head {
            Some((head, outputs)) => HubertLayout::classification(config.clone(), head, outputs),
            None => HubertLayout::pretraining(config.clone()),
        }
    }

    fn usable(stated: &Map<String, Value>) -> Result<()> {
        match stated.get("task_type").and_then(Value::as_str) {
            Some("regression") => Err(Error::invalid(
                "it predicts numbers (`task_type` is regression), expected labels; nothing was written",
            )
            .with_help("import the encoder that it was made from instead")),
            _ => Ok(()),
        }
    }

    fn published_outputs(name: &str) -> Result<Option<Outputs>> {
        match recipes::output_names(name) {
            Ok(names) => Ok(Some(Outputs {
                names,
                one_of_two: recipes::says_one_of_two(name),
            })),
            Err(RecipeError::Unknown { .. }) => Ok(None),
            Err(error) => Err(Error::invalid(error.to_string())),
        }
    }

    fn published_orders() -> Vec<String> {
        recipes::names().unwrap_or_default()
    }
}
