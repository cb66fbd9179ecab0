//! Opening any recording by its path.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::content;
use crate::reader::Lazy;
use crate::units::no_voltage;
use crate::wfdb::files;
use crate::{
    Lead, LeadSet, RecordError, Recording, Unit, csv, derive, dicom, edf, hdf5, ishne, mat,
    mistaken, npy, npz, packed, parquet, scp, wfdb, xml,
};

/// What to take from a file, and what the file does not say.
///
/// The default takes every lead at its full rate and verifies checksums.
#[derive(Clone, Debug, PartialEq)]
pub struct OpenOptions {
    /// Which leads.
    pub leads: LeadChoice,
    /// What to do with several samples per frame (WFDB).
    pub frames: FramePolicy,
    /// Compare the signals taken with the checksum of the header, or else with its first value, where it gives them (WFDB).
    pub verify: bool,
    /// Keep the 16-bit samples of the file in [`Recording::digital`] (WFDB).
    pub keep_digital: bool,
    /// Accept signal files that are links out of the folder of the header, as datalad and git-annex make them (WFDB).
    pub links_outside: bool,
    /// Extensions of annotation files to read beside the header (`atr`, `qrs`, ...) (WFDB).
    pub annotators: Vec<String>,
    /// Patient the recording belongs to. Never taken from a file as it stands there, see `patient_salt`.
    pub patient: Option<String>,
    /// With a salt, the patient identifier of a file (DICOM, EDF, ISHNE, SCP-ECG, XML) becomes [`Recording::patient`] as a salted hash, which
    /// keeps patients apart without naming them. Without one it is dropped. Keep the salt secret: with it and a list of
    /// identifiers the hashes can be found again.
    pub patient_salt: Option<String>,
    /// Sampling rate in hertz of an array or a table; overrides what the file says, such as a sidecar file or a time column.
    pub rate_hz: Option<f64>,
    /// Leads of an array in the order of its rows or columns; overrides a sidecar file.
    pub array_leads: Option<LeadSet>,
    /// Which array of a container (HDF5, MATLAB, npz) holds the samples: its name with or without its groups, a group, or what the arrays of
    /// leads have in common (`ecg/strip_*`).
    pub array: Option<String>,
    /// Leads by names that no rule knows, such as `CH1`; whatever the case.
    pub lead_names: Vec<(String, Lead)>,
    /// Which of several signals of one name is meant.
    pub repeated: Repeated,
    /// Compute limb leads that are asked for by name and absent from two of I, II and III; they are named in
    /// [`Source::derived`](crate::Source::derived).
    pub derive: bool,
    /// Unit of an array or a table; overrides a sidecar file. Millivolt when nothing says otherwise, but of whole
    /// numbers, which must be told. In other formats the unit of signals whose own is no voltage and that are asked for by
    /// name or are standard leads.
    pub unit: Option<Unit>,
    /// Read codings that have not been compared with another reader (SCP-ECG); a comment in [`crate::Source`] says so.
    pub unverified: bool,
}

/// Which signals of a file become leads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum LeadChoice {
    /// All; a signal that is no voltage is an error.
    #[default]
    All,
    /// All that are voltages; others (pressure, respiration in ohm) are left out.
    Voltages,
    /// Just these, in this order; one that is absent is an error.
    Named(LeadSet),
}

/// What to do with several samples per frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FramePolicy {
    /// Keep every sample; leads of different rates are an error.
    #[default]
    Full,
    /// Average the samples of a frame: every lead at the frame rate.
    Average,
}

/// What to do where a file has several signals of one name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Repeated {
    /// Nobody knows which is meant: an error.
    #[default]
    Refused,
    /// The first is taken.
    First,
    /// The last is taken.
    Last,
}

/// Bytes at the start of a file that tell its kind.
const START_BYTES: u64 = 256;

impl Default for OpenOptions {
    fn default() -> Self {
        OpenOptions {
            leads: LeadChoice::All,
            frames: FramePolicy::Full,
            verify: true,
            keep_digital: false,
            links_outside: false,
            annotators: Vec::new(),
            patient: None,
            patient_salt: None,
            rate_hz: None,
            array_leads: None,
            array: None,
            lead_names: Vec::new(),
            repeated: Repeated::Refused,
            derive: true,
            unit: None,
            unverified: false,
        }
    }
}

impl OpenOptions {
    /// Gives the signals of a file, all of them, the names of leads that the caller or all of them together tell.
    pub(crate) fn settle<'l>(&self, leads: impl IntoIterator<Item = &'l mut Lead>) {
        let mut leads: Vec<&mut Lead> = leads.into_iter().collect();
        for lead in &mut leads {
            let Lead::Other(name) = &**lead else { continue };
            let mut told = self.lead_names.iter();
            if let Some((_, told)) = told.find(|(own, _)| own.trim().eq_ignore_ascii_case(name)) {
                **lead = told.clone();
            }
        }
        crate::leads::settle(&mut leads);
    }

    /// The rows of the signals that are asked for, in their order, among those of a file; `voltage` says of which rows that is known.
    ///
    /// # Errors
    /// When a lead is not there, or several signals of its name are and nobody says which is meant.
    pub(crate) fn choose(
        &self,
        path: &Path,
        leads: &[Lead],
        voltage: impl Fn(usize) -> bool,
    ) -> Result<Vec<usize>, RecordError> {
        let meant = |row: &usize| -> Result<bool, RecordError> {
            let own = &leads[*row];
            let mut same = (0..leads.len()).filter(|&other| leads[other] == *own);
            let (first, last) = (same.next(), same.next_back());
            let Some(last) = last.filter(|_| own.standard_index().is_some()) else {
                return Ok(true);
            };
            match self.repeated {
                Repeated::First => Ok(first == Some(*row)),
                Repeated::Last => Ok(last == *row),
                Repeated::Refused => Err(content(
                    path,
                    "the list of signals",
                    &format!(
                        "several of the name {own}: signals {} and {}",
                        first.unwrap_or(0) + 1,
                        last + 1
                    ),
                    "one signal of a name, or `--repeated first` or `--repeated last`",
                )),
            }
        };
        let all = |rows: &mut dyn Iterator<Item = usize>| {
            let kept = rows.filter_map(|row| match meant(&row) {
                Ok(true) => Some(Ok(row)),
                Ok(false) => None,
                Err(error) => Some(Err(error)),
            });
            kept.collect::<Result<Vec<usize>, RecordError>>()
        };
        match &self.leads {
            LeadChoice::All => all(&mut (0..leads.len())),
            LeadChoice::Voltages => all(&mut (0..leads.len()).filter(|&row| voltage(row))),
            LeadChoice::Named(wanted) => {
                let present = LeadSet::new(leads.to_vec());
                let read = match self.derive {
                    true => derive::to_read(wanted, &present),
                    false => wanted.clone(),
                };
                let rows = present
                    .rows_of(&read)
                    .map_err(|lead| RecordError::MissingLead {
                        path: path.to_owned(),
                        lead: lead.to_string(),
                        present: present.to_string(),
                    })?;
                let mut chosen = Vec::with_capacity(rows.len());
                for row in rows {
                    // The first of its name was found.
                    let same = (row..leads.len()).filter(|&other| leads[other] == leads[row]);
                    let mut own = None;
                    for row in same {
                        if meant(&row)? {
                            own = own.or(Some(row));
                        }
                    }
                    chosen.extend(own);
                }
                Ok(chosen)
            }
        }
    }

    /// Whether a signal counts as a voltage: by its unit, or because the caller gave one for it.
    pub(crate) fn is_voltage(&self, lead: &Lead, unit: &str) -> bool {
        unit.parse::<Unit>().is_ok() || (self.unit.is_some() && self.means(lead))
    }

    /// Whether the unit from the caller is meant for a signal whose own is none: one asked for by name, or a standard lead.
    fn means(&self, lead: &Lead) -> bool {
        matches!(self.leads, LeadChoice::Named(_)) || lead.standard_index().is_some()
    }

    /// The unit of the samples of `signal`, which is this lead.
    ///
    /// # Errors
    /// When it is no voltage, and the caller gave none for this signal.
    pub(crate) fn unit_of(
        &self,
        path: &Path,
        signal: &str,
        lead: &Lead,
        unit: &str,
    ) -> Result<Unit, RecordError> {
        let given = self.unit.filter(|_| unit.is_empty() || self.means(lead));
        unit.parse().ok().or(given).ok_or_else(|| {
            let asked = matches!(self.leads, LeadChoice::Named(_));
            no_voltage(path, signal, unit, asked)
        })
    }

    /// What becomes of the patient identifier `found` in a file.
    pub(crate) fn patient_of(&self, found: Option<&str>) -> Option<String> {
        if self.patient.is_some() {
            return self.patient.clone();
        }
        let found = found.map(str::trim).filter(|found| !found.is_empty())?;
        let mut hasher = blake3::Hasher::new_derive_key("purkinje patient identifier 1");
        let salt = self.patient_salt.as_ref()?.as_bytes();
        hasher.update(&(salt.len() as u64).to_le_bytes());
        hasher.update(salt);
        hasher.update(found.as_bytes());
        Some(hasher.finalize().to_hex()[..32].to_owned())
    }
}

/// Opens a recording, whatever its format.
///
/// | file | read as |
/// | --- | --- |
/// | `.hea`, or a record's name without extension, or `.dat`/`.mat` with the `.hea` beside it | WFDB |
/// | `.npy`, `.npz` | NumPy array, with a sidecar `.json` for `.npy` |
/// | `.csv`, `.tsv`, `.txt`, `.parquet` | table with one column a lead |
/// | `.mat` without a header | MATLAB struct |
/// | `.h5`, `.hdf5` | HDF5 with one recording |
/// | `.edf`, `.bdf`, `.rec`, or any name with the mark of EDF or BDF | EDF, EDF+, BDF, BDF+ |
/// | `.ecg`, `.ishne`, or any name with the mark of ISHNE | ISHNE Holter 1.0 |
/// | `.dcm`, or any name with a DICOM preamble | DICOM waveform |
/// | `.scp`, or any name with the mark of SCP-ECG | SCP-ECG |
/// | `.xml` | GE MUSE, Philips Sierra, HL7 aECG, by the root element |
/// | `.gz`, `.zip` | the recording inside, of which there has to be one |
///
/// Files of MFER are told by their mark, and refused; so are pointers of Git LFS and git-annex, pages of a server, empty files.
///
/// # Errors
/// With a sentence that names file and field, what was found, what was expected and what to do; see [`RecordError`].
pub fn open(path: impl AsRef<Path>, options: &OpenOptions) -> Result<Recording, RecordError> {
    let path = path.as_ref();
    let opened = match packed::unpack(path) {
        Ok(Some(unpacked)) => unpacked.open(options),
        Ok(None) => open_file(path, options),
        Err(error) => Err(error),
    };
    mistaken::told(path, opened)
}

/// The recording in a file that is not compressed.
pub(crate) fn open_file(path: &Path, options: &OpenOptions) -> Result<Recording, RecordError> {
    let recording = match kind_of(path)? {
        Kind::Wfdb(header) => mistaken::told(&header, wfdb::open(&header, options)),
        Kind::Edf => edf::open(path, options),
        Kind::Lazy(open) => open(path, options)?.whole(),
        Kind::Scp => scp::open(path, options),
        Kind::Xml => xml::open(path, options),
    }?;
    Ok(match &options.leads {
        LeadChoice::Named(wanted) if options.derive => recording.deriving(wanted),
        _ => recording,
    })
}

/// The kind of a file.
pub(crate) enum Kind {
    /// WFDB, with this header.
    Wfdb(PathBuf),
    Edf,
    /// Opened by this function.
    Lazy(fn(&Path, &OpenOptions) -> Result<Lazy, RecordError>),
    Scp,
    Xml,
}

pub(crate) fn kind_of(path: &Path) -> Result<Kind, RecordError> {
    if path.is_dir() {
        let path = path.to_owned();
        return Err(match std::fs::read_dir(&path) {
            Err(source) => RecordError::Io { path, source },
            Ok(_) => RecordError::NotAFile { path },
        });
    }
    let extension = path
        .extension()
        .map(|extension| extension.to_string_lossy().to_ascii_lowercase());
    macro_rules! array {
        ($open:path) => {
            Kind::Lazy(|path, options| $open(path, options).map(Lazy::from))
        };
    }
    Ok(match extension.as_deref() {
        Some("hea") => Kind::Wfdb(path.to_owned()),
        Some("npy") => array!(npy::open),
        Some("npz") => array!(npz::open),
        Some("csv") => array!(csv::open),
        Some("parquet") => array!(parquet::open),
        Some("h5" | "hdf5") => array!(hdf5::open),
        Some("edf" | "bdf") => Kind::Edf,
        Some("dcm" | "dicom") => Kind::Lazy(dicom::open),
        Some("scp") => Kind::Scp,
        Some("xml") => Kind::Xml,
        Some("ishne") => Kind::Lazy(ishne::open),
        extension => match header_beside(path) {
            Ok(header) => Kind::Wfdb(header),
            Err(_) if extension == Some("mat") => array!(mat::open),
            Err(_) if matches!(extension, Some("tsv" | "txt")) => array!(csv::open),
            Err(_) if dicom::is_dicom(path) => Kind::Lazy(dicom::open),
            Err(_) if scp::is_scp(path) => Kind::Scp,
            Err(error) => by_mark(path, extension)?.ok_or(error)?,
        },
    })
}

/// The kind of a file that its name does not tell, by its first bytes.
fn by_mark(path: &Path, extension: Option<&str>) -> Result<Option<Kind>, RecordError> {
    let mut start = Vec::new();
    if path.is_file() {
        files::read_start(path, START_BYTES, &mut start)?;
    }
    // The preamble of MFER (ISO 22077-1): its tag, its length, a text.
    let mfer = start.starts_with(b"@") && start.get(2..6) == Some(b"MFR ");
    if edf::is_edf_by_mark(&start) {
        return Ok(Some(Kind::Edf));
    }
    if ishne::is_ishne(&start) {
        return Ok(Some(Kind::Lazy(ishne::open)));
    }
    if ishne::is_annotations(&start) {
        return Err(RecordError::NoSamples {
            path: path.to_owned(),
            why: "it holds the annotations of an ISHNE recording; open the recording (.ecg)".into(),
        });
    }
    if mfer || matches!(extension, Some("mwf" | "mfer")) {
        return Err(RecordError::Unsupported {
            path: path.to_owned(),
            kind: "an MFER file",
            instead: "DICOM, HL7 aECG, EDF or CSV with the program of the device",
        });
    }
    Ok(None)
}

/// The header of a record named without it: `record` or `record.dat` with `record.hea` in the same folder.
fn header_beside(path: &Path) -> Result<PathBuf, RecordError> {
    let mut appended = path.as_os_str().to_owned();
    appended.push(".hea");
    let appended = PathBuf::from(appended);
    if appended.is_file() {
        return Ok(appended);
    }
    let replaced = path.with_extension("hea");
    if path.extension().is_some() && replaced.is_file() {
        return Ok(replaced);
    }
    Err(RecordError::UnknownKind {
        path: path.to_owned(),
    })
}

/// Name of the record at `path`: the file name without its extension.
pub(crate) fn id_of(path: &Path) -> String {
    path.file_stem()
        .unwrap_or(path.as_os_str())
        .to_string_lossy()
        .into_owned()
}

/// A usable rate, or an error that says where one is `expected`.
pub(crate) fn valid_rate(
    path: &Path,
    rate_hz: Option<f64>,
    expected: &str,
) -> Result<f64, RecordError> {
    match rate_hz {
        Some(rate_hz) if rate_hz.is_finite() && rate_hz > 0.0 => Ok(rate_hz),
        Some(other) => Err(content(
            path,
            "the sampling rate",
            &other.to_string(),
            "a number of hertz above 0",
        )),
        None => Err(content(path, "the sampling rate", "absent", expected)),
    }
}
