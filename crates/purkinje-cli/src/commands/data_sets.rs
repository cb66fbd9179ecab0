//! `purkinje data-sets`: lists the data sets that `prepare` supports by name.

use miette::IntoDiagnostic;
use purkinje::datasets::import::{DataSet, ImportOptions, data_set, data_sets, usual_preprocess};
use serde_json::json;

use crate::output;

/// Options of `data-sets`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Show only this data set
    data_set: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Lists the data sets.
pub fn run(args: Args) -> miette::Result<()> {
    let sets: Vec<&DataSet> = match &args.data_set {
        Some(name) => vec![data_set(name).into_diagnostic()?],
        None => data_sets().iter().collect(),
    };
    if args.json {
        let sets = sets
            .iter()
            .map(|set| as_json(set))
            .collect::<miette::Result<Vec<_>>>()?;
        return output::print_json(&sets);
    }
    let words = sets
        .iter()
        .map(|set| in_words(set))
        .collect::<miette::Result<Vec<_>>>()?;
    output::print(&words.join("\n"))
}

fn in_words(set: &DataSet) -> miette::Result<String> {
    let usual = usual_preprocess(set.name, &ImportOptions::default()).into_diagnostic()?;
    let mut text = format!(
        "{}\n  {}\n  preset {}: {} Hz, {}\n",
        set.name,
        set.about,
        set.preset,
        usual.rate_hz,
        usual.in_words()
    );
    let splits = set.splits();
    if !splits.is_empty() {
        text += &format!("  --split {}\n", splits.join(" | "));
    }
    let flags: Vec<String> = set
        .options
        .iter()
        .filter(|&&o| o != "split")
        .map(|o| flag(o))
        .collect();
    if !flags.is_empty() {
        text += &format!("  {}\n", flags.join(", "));
    }
    Ok(text)
}

fn as_json(set: &DataSet) -> miette::Result<serde_json::Value> {
    let usual = usual_preprocess(set.name, &ImportOptions::default()).into_diagnostic()?;
    Ok(json!({
        "name": set.name,
        "about": set.about,
        "preset": set.preset,
        "preprocess": usual,
        "splits": set.splits(),
        "options": set.options.iter().map(|o| flag(o)).collect::<Vec<_>>(),
    }))
}

/// The option of `prepare` for a field of [`ImportOptions`].
fn flag(option: &str) -> String {
    match option {
        "rate_hz" => "--rate".to_owned(),
        other => format!("--{}", other.replace('_', "-")),
    }
}
