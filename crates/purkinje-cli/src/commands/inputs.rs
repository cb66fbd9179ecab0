//! Recordings named on a command line, read and cut for a model.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};

use miette::{IntoDiagnostic, WrapErr, bail};
use purkinje_models::hubert::{HubertConfig, HubertInput};
use purkinje_record::wfdb::Header;
use purkinje_record::{LeadChoice, LeadSet, OpenOptions, RecordError, Recording};
use purkinje_signal::{BeatTokens, Preparer, Preprocess};
use purkinje_train::hubert::HubertCutter;
use purkinje_train::source::{Cut, Look};

use crate::model::{LoadedModel, Network, hubert_crop};
use crate::tokens::{View, WantedLeads, prepare};

/// Segments below each other that a record may have.
const MAX_SEGMENT_DEPTH: usize = 4;

/// A recording and what a model sees of it.
pub struct Input {
    /// Its name.
    pub id: String,
    /// Its file, as it was named or found.
    pub path: PathBuf,
    /// BLAKE3 of its files, in hex, see [`hash_of`].
    pub blake3: String,
    /// The recording.
    pub recording: Recording,
    /// The leads the model is given.
    pub leads: LeadSet,
    /// What it sees of them.
    pub seen: Seen,
}

/// What a network sees of a recording.
pub enum Seen {
    /// CLEAR: tokens of heartbeats, and where they are.
    Beats(Box<View>, BeatTokens),
    /// CLEAR: the tokens alone, of a stored record.
    Tokens(BeatTokens),
    /// HuBERT-ECG: the leads end to end, of one crop or several.
    Crops(Vec<HubertInput>),
}

impl Seen {
    /// Whether two recordings can be in one batch.
    pub fn is_like(&self, other: &Seen) -> bool {
        match (self.tokens(), other.tokens(), self.crops(), other.crops()) {
            (Some(a), Some(b), ..) => a.lead_index == b.lead_index,
            (.., [a, ..], [b, ..]) => a.samples.len() == b.samples.len(),
            _ => false,
        }
    }

    /// The tokens of heartbeats.
    pub fn tokens(&self) -> Option<&BeatTokens> {
        match self {
            Seen::Beats(_, tokens) | Seen::Tokens(tokens) => Some(tokens),
            Seen::Crops(_) => None,
        }
    }

    /// Where the heartbeats are.
    pub fn view(&self) -> Option<&View> {
        match self {
            Seen::Beats(view, _) => Some(view),
            _ => None,
        }
    }

    /// The leads end to end, of each crop.
    pub fn crops(&self) -> &[HubertInput] {
        match self {
            Seen::Crops(crops) => crops,
            _ => &[],
        }
    }
}

/// How recordings are read for a model.
pub struct Reader<'a> {
    /// The model.
    pub model: &'a LoadedModel,
    /// The leads to give it.
    pub leads: Option<&'a WantedLeads>,
    /// What bare arrays do not say about themselves.
    pub options: OpenOptions,
    /// HuBERT-ECG: crops of a recording, spread evenly; one is its beginning, as the published models are judged.
    pub crops: usize,
}

impl Reader<'_> {
    /// Reads and cuts one recording.
    ///
    /// # Errors
    /// A sentence that names the file.
    pub fn read(&self, path: &Path) -> Result<Input, String> {
        let options = OpenOptions {
            leads: LeadChoice::Voltages,
            keep_digital: true,
            ..self.options.clone()
        };
        let recording = purkinje_record::open(path, &options).map_err(|error| error.to_string())?;
        let fail = |reason: String| format!("`{}`: {reason}", path.display());
        let own = &self.model.preprocess;
        let leads = WantedLeads::choose(self.leads, &own.leads, &recording.leads).map_err(fail)?;
        let contract = own.clone().with_leads(leads.clone());
        let seen = match &self.model.network {
            Network::Clear(_) => beats(&recording, &contract),
            Network::Hubert(hubert) => crops(&recording, &contract, hubert.config(), self.crops),
        };
        let blake3 = hash_of(&recording.source.path).map_err(|error| error.to_string())?;
        Ok(Input {
            id: recording.id.clone(),
            path: path.to_owned(),
            blake3,
            leads,
            seen: seen.map_err(fail)?,
            recording,
        })
    }
}

fn beats(recording: &Recording, contract: &Preprocess) -> Result<Seen, String> {
    let mut view = View::of(recording, contract, 0.0)?;
    let tokens = view
        .cut
        .take()
        .ok_or("the largest sample of all leads is exactly 0: nothing was recorded")?;
    Ok(Seen::Beats(Box::new(view), tokens))
}

/// Crops at the places where those of a store are.
fn crops(
    recording: &Recording,
    contract: &Preprocess,
    config: &HubertConfig,
    crops: usize,
) -> Result<Seen, String> {
    let preparer = Preparer::new(contract).map_err(|error| error.to_string())?;
    let prepared = prepare(&preparer, recording, 0)?;
    let (samples, decimation) = hubert_crop(config);
    let cutter = HubertCutter::new(samples, decimation).map_err(|error| error.to_string())?;
    // Stored samples are single precision; a recording and its store give one input.
    let rows: Vec<f32> = prepared.rows.iter().map(|&v| v as f32).collect();
    let leads = prepared.leads.len();
    let cut = (0..crops).map(|k| cutter.cut(&rows, leads, 0, Look::Crop { k, n: crops }));
    let cut = cut.collect::<Result<Vec<_>, _>>();
    Ok(Seen::Crops(cut.map_err(|error| error.to_string())?))
}

/// The recordings that paths name: files as they are, folders by what is in them.
///
/// # Errors
/// When a folder cannot be listed or holds no recording.
pub fn list(path: &Path) -> miette::Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let found = purkinje_record::find_records(path).into_diagnostic()?;
    if found.is_empty() {
        bail!(
            "no recording below `{}`; expected WFDB headers (.hea), or files in another format that `purkinje inspect` reads",
            path.display()
        );
    }
    Ok(found)
}

/// BLAKE3 of a recording's files one after the other, in hex: of the file itself, and for WFDB of the header and then of
/// every signal file and segment it names, each once, in the order of their names.
///
/// # Errors
/// When one cannot be read.
pub fn hash_of(path: &Path) -> Result<String, RecordError> {
    let mut hasher = blake3::Hasher::new();
    add_file(&mut hasher, path, 0)?;
    Ok(hasher.finalize().to_hex().to_string())
}

fn add_file(hasher: &mut blake3::Hasher, path: &Path, depth: usize) -> Result<(), RecordError> {
    File::open(path)
        .and_then(|file| hasher.update_reader(file).map(|_| ()))
        .map_err(|source| RecordError::Io {
            path: path.to_owned(),
            source,
        })?;
    let is_header = path
        .extension()
        .is_some_and(|extension| extension.eq_ignore_ascii_case("hea"));
    if !is_header || depth > MAX_SEGMENT_DEPTH {
        return Ok(());
    }
    let header = Header::read(path)?;
    let folder = path.parent().unwrap_or(Path::new(""));
    let files: BTreeSet<&str> = header.signals.iter().map(|s| s.file.as_str()).collect();
    for file in files.into_iter().filter(|&file| file != "~") {
        add_file(hasher, &folder.join(file), depth)?;
    }
    let segments: BTreeSet<&str> = header.segments.iter().map(|s| s.name.as_str()).collect();
    for segment in segments.into_iter().filter(|&name| name != "~") {
        add_file(hasher, &folder.join(format!("{segment}.hea")), depth + 1)?;
    }
    Ok(())
}

/// Says which recordings could not be used, and whether that is too many.
///
/// # Errors
/// When more failed than `allowed`.
pub fn report(failures: &[String], records: usize, allowed: usize) -> miette::Result<()> {
    let many = failures.len() > allowed;
    if let ([only], 1) = (failures, records) {
        bail!("{only}");
    }
    for failure in failures {
        crate::progress::note(format_args!("left out: {failure}"));
    }
    if many {
        return Err(failures
            .first()
            .map_or_else(|| miette::miette!("nothing was read"), |first| miette::miette!("{first}")))
        .wrap_err_with(|| {
            format!(
                "{} of {records} recordings cannot be used, more than the {allowed} allowed (`--max-failed`)",
                failures.len()
            )
        });
    }
    Ok(())
}
