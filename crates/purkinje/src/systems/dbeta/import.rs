//! D-BETA's published files.

use purkinje_models::checkpoint::DbetaLayout;
use purkinje_models::dbeta::DbetaConfig;

use super::{Dbeta, Head};
use crate::import::Imports;
use crate::keys::{Key, key};

impl Imports for Dbeta {
    type Layout = DbetaLayout;

    const IMPORT_KEYS: &'static [Key<DbetaConfig>] = &[key!(
        "part",
        "which parts are taken: ecg, text, vectors (both) or all",
        config.part
    )];

    fn published_network(
        layout: &DbetaLayout,
        _: usize,
        _: Option<usize>,
    ) -> (DbetaConfig, Option<(Head, usize)>) {
        let head = layout.outputs.map(|outputs| (Head::Linear, outputs));
        (layout.config.clone(), head)
    }

    fn published_layout(config: &DbetaConfig, head: Option<(Head, usize)>) -> DbetaLayout {
        DbetaLayout {
            config: config.clone(),
            outputs: head.map(|(_, outputs)| outputs),
        }
    }
}
