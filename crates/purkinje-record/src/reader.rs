//! A recording of which any stretch of time can be read, in memory that does not grow with its length.

use std::borrow::Cow;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use crate::open::{Kind, OpenOptions, kind_of, open};
use crate::{RecordError, Recording, edf, wfdb};

/// Samples of all signals up to which a file is read as a whole: about twelve minutes of twelve leads at 500 Hz.
pub const WHOLE_SAMPLES: usize = 1 << 23;

/// Samples of all leads that [`Reader::blocks`] reads at once.
const BLOCK_SAMPLES: usize = 1 << 19;

/// A recording that was opened; its samples are read stretch by stretch where the file is long and its format allows that.
///
/// Long files of WFDB (one segment, any format but FLAC and 8-bit differences, no skew) and of EDF are read by seeking. All others
/// are read as a whole and held in memory.
#[derive(Debug)]
pub struct Reader {
    head: Arc<Recording>,
    len: usize,
    samples: Samples,
}

#[derive(Debug)]
enum Samples {
    /// In `head`.
    Whole,
    Wfdb(wfdb::long::Long),
    Edf(edf::long::Long),
}

impl Reader {
    /// Opens a recording, whatever its format, as [`open`] does. Checksums are compared in one pass over the file.
    ///
    /// # Errors
    /// See [`open`].
    pub fn open(path: impl AsRef<Path>, options: &OpenOptions) -> Result<Reader, RecordError> {
        Self::beyond(path.as_ref(), options, WHOLE_SAMPLES)
    }

    /// As [`Reader::open`], for files of more than `samples` samples of all signals by stretches.
    ///
    /// # Errors
    /// See [`open`].
    pub fn beyond(
        path: &Path,
        options: &OpenOptions,
        samples: usize,
    ) -> Result<Reader, RecordError> {
        let long = match kind_of(path)? {
            Kind::Wfdb(path) => {
                let header = wfdb::Header::read(&path)?;
                match wfdb::long::open(&path, &header, options, samples as u64)? {
                    Some((long, head, len)) => Some((Samples::Wfdb(long), head, len)),
                    // The header is not read again.
                    None => return Ok(wfdb::open_whole(&path, header, options)?.into()),
                }
            }
            Kind::Edf => {
                let long = edf::long::open(path, options, samples as u64)?;
                long.map(|(long, head, len)| (Samples::Edf(long), head, len))
            }
            Kind::Other(_) => None,
        };
        Ok(match long {
            Some((samples, head, len)) => Reader {
                head: Arc::new(head),
                len,
                samples,
            },
            None => open(path, options)?.into(),
        })
    }

    /// What is known about the recording: name, leads, rate, annotations of all of it, texts. Its samples are all of them or none, see
    /// [`Reader::whole`].
    pub fn about(&self) -> &Recording {
        &self.head
    }

    /// The recording, where it is held in memory.
    pub fn whole(&self) -> Option<&Recording> {
        matches!(self.samples, Samples::Whole).then_some(&self.head)
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
            Samples::Whole if *stretch == (0..self.len) => Ok(Cow::Borrowed(&self.head)),
            Samples::Whole => Ok(Cow::Owned(self.head.stretch(stretch))),
            Samples::Wfdb(long) => long.read(stretch).map(Cow::Owned),
            Samples::Edf(long) => long.read(stretch).map(Cow::Owned),
        }
    }

    /// All of the recording in consecutive stretches: at once where it is held in memory.
    ///
    /// # Errors
    /// When the file cannot be read: the last item.
    pub fn blocks(&self) -> impl Iterator<Item = Result<Cow<'_, Recording>, RecordError>> {
        let len = match self.samples {
            Samples::Whole => self.len,
            _ => BLOCK_SAMPLES / self.head.leads.len(),
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
            samples: Samples::Whole,
        }
    }
}
