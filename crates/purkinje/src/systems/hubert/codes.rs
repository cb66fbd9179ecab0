//! The code words of tokens: in a file, and beside the signals they belong to.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use purkinje_base::npy::Header;
use purkinje_models::hubert::HubertInput;
use purkinje_train::TrainError;
use purkinje_train::source::{Look, Source};

use super::cutter::StoreCrops;

/// The leads of a record end to end, and its code words `[code books, tokens]`.
pub type Coded = (HubertInput, Vec<u32>);

/// Signals with the code words of their tokens.
pub struct CodedCrops<'a> {
    crops: StoreCrops<'a>,
    codes: Codes,
}

impl<'a> CodedCrops<'a> {
    /// Crops, whose records are in the order of the codes.
    ///
    /// # Errors
    /// When there are not as many.
    pub fn new(crops: StoreCrops<'a>, codes: Codes) -> Result<Self, TrainError> {
        if crops.len() != codes.records {
            return Err(TrainError::Data(format!(
                "there are code words of {} records for {} records; cluster again",
                codes.records,
                crops.len()
            )));
        }
        Ok(CodedCrops { crops, codes })
    }
}

impl Source for CodedCrops<'_> {
    type Input = Coded;

    fn len(&self) -> usize {
        self.crops.len()
    }

    /// The code words are those of the beginning, so that is what is seen however a network looks.
    fn see(&self, index: usize, _look: Look) -> Result<Coded, TrainError> {
        let input = self.crops.see(index, Look::Whole)?;
        Ok((input, self.codes.of(index)?))
    }
}

/// Code words of many records in a file (`.npy`, `[record, code book * token]`, unsigned 16-bit), read where they are
/// asked for: 186 bytes a record and book, whatever the number of records.
pub struct Codes {
    path: PathBuf,
    file: Mutex<File>,
    start: u64,
    words: usize,
    records: usize,
}

impl Codes {
    /// Opens the code words of `records` records, `words` each.
    ///
    /// # Errors
    /// When the file cannot be read or does not hold as many.
    pub fn open(path: &Path, records: usize, words: usize) -> Result<Self, TrainError> {
        let mut file = File::open(path).map_err(|e| TrainError::io(path, e))?;
        let size = file.metadata().map_err(|e| TrainError::io(path, e))?.len();
        let header = Header::read(&mut file).map_err(|e| TrainError::io(path, e))?;
        let values = records.checked_mul(words);
        let fits = header.holds::<u16>()
            && header.shape.first() == Some(&records)
            && values.is_some_and(|values| header.values() == Some(values))
            && values.is_some_and(|values| size == header.bytes as u64 + 2 * values as u64);
        if !fits {
            return Err(TrainError::Data(format!(
                "{}: {size} bytes of {} {:?} are not the code words of {records} records, {words} each; remove it and repeat the command",
                path.display(),
                header.descr,
                header.shape
            )));
        }
        Ok(Codes {
            path: path.to_owned(),
            file: Mutex::new(file),
            start: header.bytes as u64,
            words,
            records,
        })
    }

    /// Those of one record.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn of(&self, record: usize) -> Result<Vec<u32>, TrainError> {
        let mut bytes = vec![0; 2 * self.words];
        let place = self.start + (record * bytes.len()) as u64;
        // A poisoned lock means that another thread panicked; the file itself has no state but its position.
        let mut file = self.file.lock().unwrap_or_else(|e| e.into_inner());
        file.seek(SeekFrom::Start(place))
            .and_then(|_| file.read_exact(&mut bytes))
            .map_err(|e| TrainError::io(&self.path, e))?;
        let words = bytes.as_chunks::<2>().0.iter();
        Ok(words
            .map(|word| u32::from(u16::from_le_bytes(*word)))
            .collect())
    }
}
