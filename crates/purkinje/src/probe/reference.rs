//! The reference of explanations, computed from features that are already available.

use purkinje_models::checkpoint::Reference;
use purkinje_models::layers::Context;

use super::{Evaluated, FrozenHead, tensor};
use crate::explain::spread;
use crate::features::Features;
use crate::model::Model;
use crate::network::values;
use crate::{Device, Result};

/// The contributions of the leads of the mean recording to the logits. For heads that are affine in their vectors they
/// follow from the mean vectors. `None` where there is not one vector per lead, or the head is not affine.
///
/// # Errors
/// When vectors cannot be read.
pub(super) fn from_features(
    classifier: &Model,
    features: &Features,
    head: &dyn FrozenHead,
    fitted: &Evaluated,
    rows: &[usize],
) -> Result<Option<Reference>> {
    let leads = &classifier.preprocess().leads;
    if !classifier.explains() || rows.is_empty() || features.leads().len() != leads.len() {
        return Ok(None);
    }
    let rows = spread(rows);
    let each = leads.len() * features.width();
    let mut sum = vec![0.0f64; each];
    features.chunks(&rows, |vectors, _| {
        for record in vectors.chunks_exact(each) {
            let values = sum.iter_mut().zip(record);
            values.for_each(|(sum, value)| *sum += f64::from(*value));
        }
        Ok(Vec::new())
    })?;
    let mean = sum.iter().map(|sum| (sum / rows.len() as f64) as f32);
    let device = Device::cpu();
    let mean = tensor(mean.collect(), 1, features, device.inner());
    let ctx = Context::inference(device.inner());
    let Some(parts) = head.contributions(mean, features.leads(), &fitted.weights, &ctx) else {
        return Ok(None);
    };
    let contributions = values(parts)?;
    Ok(Some(Reference {
        records: rows.len(),
        leads: leads.to_string(),
        contributions: contributions.into_iter().map(f64::from).collect(),
    }))
}
