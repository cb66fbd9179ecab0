//! CLEAR-HUG's library of real excerpts: kind `records`.

use purkinje_record::{Lead, LeadSet, Recording};
use purkinje_signal::quality;

use crate::Check;
use crate::compare::Findings;
use crate::entry::{all_files_listed, indices, number, text, texts};
use crate::walk::Case;

/// The kinds checked here.
pub const CHECKS: &[(&str, Check)] = &[("records", records)];

/// The excerpts are what their list says, and each can be taken in as a recording.
fn records(case: &Case, findings: &mut Findings) -> Result<(), String> {
    let list = case.json("records.json")?;
    let list = list.as_object().ok_or("records.json: expected an object")?;
    all_files_listed(case, list.keys().map(String::as_str), findings)?;
    for (name, entry) in list {
        let tensors = case.tensors(&format!("{name}.safetensors"))?;
        let signal = tensors.f32("signal")?;
        let shape = indices(entry, "shape")?;
        findings.exact_all(&format!("{name}: shape"), tensors.shape("signal")?, &shape);
        findings.sha256_f32(
            &format!("{name}: sha256"),
            signal,
            text(entry, "sha256_f32le")?,
        );

        let leads = match entry.get("lead_order") {
            Some(_) => texts(entry, "lead_order")?
                .into_iter()
                .map(Lead::parse)
                .collect(),
            // One lead, which may be any.
            None => vec![Lead::II],
        };
        let rows = leads.len();
        let rate_hz = number(entry, "fs")?;
        let recording =
            Recording::new(name.as_str(), LeadSet::new(leads), rate_hz, signal.to_vec())
                .map_err(|e| e.to_string())?;
        findings.exact(
            &format!("{name}: samples per lead"),
            Some(&recording.len()),
            shape.last(),
        );
        let quality = quality::assess(&recording);
        findings.exact(
            &format!("{name}: leads assessed"),
            quality.leads.len(),
            rows,
        );
        let missing: usize = quality.leads.iter().map(|l| l.missing_samples).sum();
        findings.exact(&format!("{name}: missing samples"), missing, 0);
    }
    Ok(())
}
