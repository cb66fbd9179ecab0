//! A recording of which any stretch of time can be read, in memory that does not grow with its length.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use crate::array::Array;
use crate::derive::Deriving;
use crate::open::{Kind, LeadChoice, OpenOptions, kind_of};
use crate::packed::Unpacked;
use crate::wfdb::files;
use crate::{LeadSet, RecordError, Recording, edf, mistaken, packed, scp, wfdb, xml};

/// Samples of all signals up to which a file is read as a whole: about twelve minutes of twelve leads at 500 Hz.
pub const WHOLE_SAMPLES: usize = 1 << 23;

/// Bytes that the samples of a small file may take whatever its size.
const FREE_BYTES: u64 = 24 << 20;

/// Samples of all leads that [`Reader::blocks`] reads at once.
const BLOCK_SAMPLES: usize = 1 << 19;

/// A recording that was opened; its samples are read stretch by stretch where the file is long and its format allows that.
///
/// Long files of WFDB, EDF, DICOM, HDF5, MATLAB and NumPy are read by seeking. What cannot be read from the middle is unpacked once,
/// into a temporary file without a name: WFDB of several segments or in FLAC, compressed arrays of MATLAB and NumPy, tables (CSV,
/// Parquet). Read as a whole are SCP-ECG, XML, deflated DICOM, WFDB with skew or 8-bit differences, and HDF5 in chunks above 8 MB.
#[derive(Debug)]
pub struct Reader {
    head: Arc<Recording>,
    len: usize,
    /// `None`: in `head`.
    samples: Option<Box<dyn Stretches>>,
}

/// Samples that are read when they are needed.
pub(crate) trait Stretches: fmt::Debug + Send + Sync {
    /// The samples of a stretch that lies within the recording, without annotations.
    fn read(&self, stretch: &Range<usize>) -> Result<Recording, RecordError>;
}

/// A file whose samples were not read yet.
pub(crate) struct Lazy {
    /// Its samples do not count.
    head: Recording,
    /// Samples of a lead.
    len: usize,
    samples: Box<dyn Stretches>,
}

impl Lazy {
    pub fn new(head: Recording, len: usize, samples: impl Stretches + 'static) -> Lazy {
        Lazy {
            head,
            len,
            samples: Box::new(samples),
        }
    }

    /// All of it.
    ///
    /// # Errors
    /// When its samples would take memory out of proportion to the file, or cannot be read.
    pub fn whole(self) -> Result<Recording, RecordError> {
        in_proportion(&self.head.source.path, self.len, self.head.leads.len())?;
        let read = self.samples.read(&(0..self.len))?;
        Ok(self.head.with_samples_of(read))
    }

    /// Read stretch by stretch when it has more than `samples` samples of all leads.
    fn beyond(self, samples: usize) -> Result<Reader, RecordError> {
        if self.len.saturating_mul(self.head.leads.len()) <= samples {
            return Ok(self.whole()?.into());
        }
        Ok(Reader {
            head: Arc::new(self.head.stretch(&(0..0)).annotated(self.head.annotations)),
            len: self.len,
            samples: Some(self.samples),
        })
    }
}

/// Refuses samples that would take memory out of proportion to their file.
pub(crate) fn in_proportion(path: &Path, len: usize, leads: usize) -> Result<(), RecordError> {
    let bytes = len.saturating_mul(leads).saturating_mul(size_of::<f32>());
    let limit = FREE_BYTES.saturating_add(files::size_of(path)?.saturating_mul(4));
    if bytes as u64 <= limit {
        return Ok(());
    }
    Err(RecordError::TooLarge {
        path: path.to_owned(),
        what: "size of the samples in bytes",
        found: bytes as u64,
        limit,
    })
}

impl From<Array> for Lazy {
    fn from(array: Array) -> Lazy {
        Lazy::new(array.about.clone(), array.len(), array)
    }
}

impl Reader {
    /// Opens a recording, whatever its format, as [`crate::open`] does. Checksums are compared in one pass over the file.
    ///
    /// # Errors
    /// See [`crate::open`].
    pub fn open(path: impl AsRef<Path>, options: &OpenOptions) -> Result<Reader, RecordError> {
        Self::beyond(path.as_ref(), options, WHOLE_SAMPLES)
    }

    /// As [`Reader::open`], for files of more than `samples` samples of all signals by stretches.
    ///
    /// # Errors
    /// See [`crate::open`].
    pub fn beyond(
        path: &Path,
        options: &OpenOptions,
        samples: usize,
    ) -> Result<Reader, RecordError> {
        let opened = match packed::unpack(path) {
            Ok(Some(unpacked)) => unpacked.reader(options, samples),
            Ok(None) => Self::beyond_file(path, options, samples),
            Err(error) => Err(error),
        };
        mistaken::told(path, opened)
    }

    /// The same of a file that is not compressed.
    pub(crate) fn beyond_file(
        path: &Path,
        options: &OpenOptions,
        samples: usize,
    ) -> Result<Reader, RecordError> {
        let reader = Self::as_stored(path, options, samples)?;
        match &options.leads {
            LeadChoice::Named(wanted) if options.derive => Ok(reader.deriving(wanted)),
            _ => Ok(reader),
        }
    }

    /// The same with the leads `wanted`, as [`Recording::deriving`] gives them.
    pub fn deriving(self, wanted: &LeadSet) -> Reader {
        let own = &self.head.leads;
        let Some(stretches) = self.samples else {
            return match wanted == own {
                true => self,
                false => Arc::unwrap_or_clone(self.head).deriving(wanted).into(),
            };
        };
        let head = (*self.head).clone().deriving(wanted);
        let samples: Box<dyn Stretches> = match head.leads == *own {
            true => stretches,
            false => Box::new(Deriving {
                stretches,
                wanted: wanted.clone(),
            }),
        };
        Reader {
            head: Arc::new(head),
            len: self.len,
            samples: Some(samples),
        }
    }

    /// With the leads that the file holds.
    fn as_stored(
        path: &Path,
        options: &OpenOptions,
        samples: usize,
    ) -> Result<Reader, RecordError> {
        let long = match kind_of(path)? {
            Kind::Wfdb(path) => {
                let header = mistaken::told(&path, wfdb::Header::read(&path))?;
                match wfdb::long::open(&path, &header, options, samples as u64)? {
                    Some(long) => long,
                    // The header is not read again.
                    None => return Ok(wfdb::open_whole(&path, header, options)?.into()),
                }
            }
            Kind::Edf => match edf::long::open(path, options, samples as u64)? {
                Some(long) => long,
                None => return Ok(edf::open(path, options)?.into()),
            },
            Kind::Lazy(open) => open(path, options)?,
            Kind::Scp => return Ok(scp::open(path, options)?.into()),
            Kind::Xml => return Ok(xml::open(path, options)?.into()),
        };
        long.beyond(samples)
    }

    /// The same, read from a compressed file that was unpacked.
    pub(crate) fn of(self, unpacked: Unpacked) -> Reader {
        let head = Arc::unwrap_or_clone(self.head);
        Reader {
            head: Arc::new(unpacked.owned(head)),
            len: self.len,
            samples: match self.samples {
                Some(samples) => Some(Box::new(unpacked.keep(samples))),
                None => None,
            },
        }
    }

    /// What is known about the recording: name, leads, rate, annotations of all of it, texts. Its samples are all of them or none, see
    /// [`Reader::whole`].
    pub fn about(&self) -> &Recording {
        &self.head
    }

    /// The recording, where it is held in memory.
    pub fn whole(&self) -> Option<&Recording> {
        self.samples.is_none().then_some(&*self.head)
    }

    /// Samples of a lead.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no sample.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Length in seconds.
    pub fn duration_s(&self) -> f64 {
        self.len as f64 / self.head.rate_hz
    }

    /// The samples `stretch` of every lead, as a recording of their own without annotations.
    ///
    /// # Errors
    /// When the file cannot be read, or was changed.
    ///
    /// # Panics
    /// When the stretch reaches beyond the end.
    pub fn read(&self, stretch: &Range<usize>) -> Result<Cow<'_, Recording>, RecordError> {
        assert!(
            stretch.start <= stretch.end && stretch.end <= self.len,
            "{stretch:?} of {} samples",
            self.len
        );
        match &self.samples {
            None if *stretch == (0..self.len) => Ok(Cow::Borrowed(&self.head)),
            None => Ok(Cow::Owned(self.head.stretch(stretch))),
            Some(samples) => samples.read(stretch).map(Cow::Owned),
        }
    }

    /// All of the recording in consecutive stretches: at once where it is held in memory.
    ///
    /// # Errors
    /// When the file cannot be read: the last item.
    pub fn blocks(&self) -> impl Iterator<Item = Result<Cow<'_, Recording>, RecordError>> {
        let len = match self.samples {
            None => self.len,
            Some(_) => BLOCK_SAMPLES / self.head.leads.len(),
        };
        let (all, len) = (self.len, len.max(1));
        (0..all.div_ceil(len))
            .map(move |block| self.read(&(block * len..((block + 1) * len).min(all))))
    }
}

impl From<Recording> for Reader {
    fn from(recording: Recording) -> Reader {
        Arc::new(recording).into()
    }
}

impl From<Arc<Recording>> for Reader {
    fn from(recording: Arc<Recording>) -> Reader {
        Reader {
            len: recording.len(),
            head: recording,
            samples: None,
        }
    }
}
