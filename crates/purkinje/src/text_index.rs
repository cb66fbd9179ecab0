//! An index of reports: a vector for each distinct one, and which are least similar to which.
//!
//! A folder holds the vectors as features of `purkinje-cluster` do (`features.json`, `NNNNN.npy`, and the texts, one a line, in `NNNNN.txt`),
//! and `neighbours.u32`: for each text the positions of those least similar to it, from the least on, as little-endian whole numbers.

use std::collections::{HashMap, HashSet};
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use purkinje_cluster::features::{Features, Writer};
use purkinje_models::compat::Compat;
use purkinje_text::clean;
use purkinje_text::neighbours::{Found, Search, least_similar, most_similar};
use serde_json::json;

use crate::reporter::{Reporter, Silent, go_on};
use crate::text_encoder::TextEncoder;
use crate::{Device, Error, Result};

/// The table of least similar texts.
const NEIGHBOURS: &str = "neighbours.u32";
/// The list of files of vectors.
const FEATURES: &str = "features.json";
/// In which parts an index is made.
#[derive(Clone, Copy)]
struct Parts {
    /// Distinct texts that are read before their vectors are computed: those of one length share a pass. A multiple of `batch`.
    chunk: usize,
    /// Texts of a batch of the released program.
    batch: usize,
    /// Bytes of vectors of a shard.
    shard_bytes: usize,
    /// Texts that are compared with all others at once, at the least and at the most.
    queries: [usize; 2],
}

const PARTS: Parts = Parts {
    chunk: 8192,
    batch: 128,
    shard_bytes: 16 << 20,
    queries: [64, 1 << 16],
};

/// How an index is made.
#[derive(Clone, Debug, PartialEq)]
pub struct IndexOptions {
    /// Folder to write; what an interrupted call left there is kept.
    pub out: PathBuf,
    /// Least similar texts that are stored for each.
    pub neighbours: usize,
    /// With `Released` the vector of a text is a mean over its padding too, as in D-BETA's program, so that it depends on the texts of its batch.
    pub compat: Compat,
    /// Bytes for vectors and results while texts are compared.
    pub memory: usize,
    /// Where the texts come from; an index of others is not continued.
    pub source: String,
}

/// What was indexed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Indexed {
    /// Records read.
    pub records: usize,
    /// Those without a text, or with one that has no words.
    pub without: usize,
    /// Distinct texts.
    pub distinct: usize,
    /// Texts that were cut because they are too long, of those that this call computed vectors for.
    pub cut: usize,
    /// Least similar texts stored for each.
    pub neighbours: usize,
}

/// Makes an index of `texts`, in the order of their first occurrence, or completes one. The bytes do not depend on interruptions, on memory or
/// on the number of threads.
///
/// # Errors
/// When a text cannot be read, there are fewer than two, the folder holds an index of others, or a stop was requested.
pub fn build<'t>(
    texts: impl Iterator<Item = Result<Option<&'t str>>> + Clone,
    embedder: &TextEncoder,
    options: &IndexOptions,
    reporter: &dyn Reporter,
) -> Result<Indexed> {
    build_in(PARTS, texts, embedder, options, reporter)
}

fn build_in<'t>(
    parts: Parts,
    texts: impl Iterator<Item = Result<Option<&'t str>>> + Clone,
    embedder: &TextEncoder,
    options: &IndexOptions,
    reporter: &dyn Reporter,
) -> Result<Indexed> {
    if options.neighbours == 0 {
        return Err(Error::invalid(
            "an index stores no neighbours, expected at least one for each text",
        ));
    }
    let made_of = json!({
        "source": options.source,
        "embedder": embedder.folder(),
        "embedder_blake3": embedder.hash()?,
        "compat": options.compat,
    });
    let (mut indexed, mut seen) = (Indexed::default(), HashSet::new());
    let progress = reporter.begin("read texts", texts.size_hint().1.unwrap_or(0), "texts");
    for text in texts.clone() {
        go_on(reporter)?;
        progress.add(1);
        indexed.records += 1;
        match text?.and_then(words) {
            None => indexed.without += 1,
            Some(text) => {
                seen.insert(mark(&text));
            }
        }
    }
    progress.finish();
    indexed.distinct = seen.len();
    if indexed.distinct < 2 {
        return Err(Error::invalid(format!(
            "{} of {} records have a text, {} distinct; an index needs at least two",
            indexed.records - indexed.without,
            indexed.records,
            indexed.distinct
        )));
    }
    let writer = Writer::open(&options.out, embedder.width(), 1, made_of)?;
    let mut writer = writer.shard_bytes(parts.shard_bytes);
    let (complete, done) = (writer.is_complete(), writer.records());
    if !complete {
        let progress = reporter.begin("embed", indexed.distinct, "texts");
        let (mut first, mut chunk) = (0, Vec::with_capacity(parts.chunk));
        // Texts of which the first occurrence was not met yet.
        for text in texts {
            if let Some(text) = text?
                .and_then(words)
                .filter(|text| seen.remove(&mark(text)))
            {
                chunk.push(text);
            }
            if chunk.len() < parts.chunk && !seen.is_empty() {
                continue;
            }
            // A whole chunk is done or its batches are computed again: in the released program texts of a batch share their padding.
            if done < first + chunk.len() {
                let own: Vec<&str> = chunk.iter().map(String::as_str).collect();
                let go = |count| {
                    progress.add(count);
                    go_on(reporter)
                };
                let (vectors, cut) = match options.compat {
                    Compat::Paper => embedder.each(&own, go)?,
                    Compat::Released => embedder.batched(&own, parts.batch, go)?,
                };
                indexed.cut += cut;
                let rows = vectors.chunks_exact(embedder.width());
                for (text, vector) in own.iter().zip(rows).skip(done.saturating_sub(first)) {
                    writer.add(text, vector)?;
                }
            } else {
                progress.resume(first + chunk.len());
            }
            first += chunk.len();
            chunk.clear();
            if seen.is_empty() {
                break;
            }
        }
        progress.finish();
    }
    let features = match complete {
        true => Features::open(&options.out)?,
        false => writer.finish()?,
    };
    if features.records() != indexed.distinct {
        return Err(Error::invalid(format!(
            "the index `{}` has {} texts, the source {} distinct ones; write the index to another folder",
            options.out.display(),
            features.records(),
            indexed.distinct
        )));
    }
    indexed.neighbours = options.neighbours.min(indexed.distinct - 1);
    if indexed.neighbours < options.neighbours {
        reporter.note(&format!(
            "{} distinct texts: the {} others are stored for each, not {}",
            indexed.distinct, indexed.neighbours, options.neighbours
        ));
    }
    compare(&features, indexed.neighbours, parts, options, reporter)?;
    Ok(indexed)
}

/// The text for an index, if it has words.
fn words(text: &str) -> Option<String> {
    Some(clean_for_index(text)).filter(|text| !text.is_empty())
}

/// What tells texts apart.
fn mark(text: &str) -> [u8; 16] {
    let mut mark = [0; 16];
    mark.copy_from_slice(&blake3::hash(text.as_bytes()).as_bytes()[..16]);
    mark
}

/// A text as indices hold it: cleaned in full, on one line.
pub fn clean_for_index(text: &str) -> String {
    let text = clean::d_beta(text);
    match text.contains(['\n', '\r']) {
        true => text.replace(['\n', '\r'], " ").trim().to_owned(),
        false => text.trim().to_owned(),
    }
}

/// Writes the table of least similar texts, or what is left of it.
fn compare(
    features: &Features,
    k: usize,
    parts: Parts,
    options: &IndexOptions,
    reporter: &dyn Reporter,
) -> Result<()> {
    let path = options.out.join(NEIGHBOURS);
    let (rows, width) = (features.records(), features.width());
    let bytes = rows as u64 * k as u64 * 4;
    let io = |error| Error::file("write", &path, error);
    if let Ok(found) = path.metadata() {
        return match found.len() == bytes {
            true => Ok(()),
            false => Err(Error::invalid(format!(
                "`{}` has {} bytes, expected {bytes} for {rows} texts with {k} neighbours each; remove the file to write it again",
                path.display(),
                found.len()
            ))),
        };
    }
    let part = options.out.join(format!("{NEIGHBOURS}.part-{k}"));
    let mut file = OpenOptions::new()
        .create(true)
        .append(true)
        .open(&part)
        .map_err(io)?;
    let row_bytes = k as u64 * 4;
    let done = file.metadata().map_err(io)?.len() / row_bytes;
    file.set_len(done * row_bytes).map_err(io)?;
    // A query is a vector and a list of `k` found, of 16 bytes each.
    let of_query = 4 * width + 16 * (k + 2);
    let block = 4096.min(rows);
    let [least, most] = parts.queries;
    let fit = options.memory.saturating_sub(8 * block * width) / of_query;
    let queries = fit.clamp(least, most);
    let progress = reporter.begin("compare texts", rows, "texts");
    progress.resume(done as usize);
    let mut first = done as usize;
    while first < rows {
        go_on(reporter)?;
        let last = rows.min(first + queries);
        let records: Vec<u32> = (first..last).map(|row| row as u32).collect();
        let mut vectors = Vec::new();
        features.read(&records, &mut vectors)?;
        // One more: a text itself may be among those least similar to it.
        let mut search = Search::new(&vectors, width, k + 1);
        features.blocks(block, |rows| {
            search.add(rows);
            Ok(())
        })?;
        let mut bytes = Vec::with_capacity((last - first) * k * 4);
        for (own, found) in (first..).zip(search.finish()) {
            let others = found
                .iter()
                .map(|found| found.row)
                .filter(|&row| row != own);
            bytes.extend(others.take(k).flat_map(|row| (row as u32).to_le_bytes()));
        }
        file.write_all(&bytes).map_err(io)?;
        progress.add(last - first);
        first = last;
    }
    progress.finish();
    file.sync_all().map_err(io)?;
    std::fs::rename(&part, &path).map_err(io)
}

/// An index, to be read.
#[derive(Debug)]
pub struct TextIndex {
    dir: PathBuf,
    features: Features,
    /// The texts, in order.
    pub texts: Vec<String>,
    /// Least similar texts stored for each.
    pub neighbours: usize,
}

impl TextIndex {
    /// Opens an index that [`build`] completed.
    ///
    /// # Errors
    /// When the folder holds none, or files contradict each other.
    pub fn open(dir: &Path) -> Result<Self> {
        if !dir.join(FEATURES).is_file() {
            return Err(Error::invalid(format!(
                "`{}` holds no index of reports; make one with `purkinje text index`",
                dir.display()
            )));
        }
        let features = Features::open(dir)?;
        let path = dir.join(NEIGHBOURS);
        let found = path.metadata().map_err(|error| {
            Error::file("read", &path, error)
                .with_help("repeat `purkinje text index`, which continues where it stopped")
        })?;
        let (rows, bytes) = (features.records() as u64, found.len());
        if rows == 0 || features.rows_per_record() != 1 || !bytes.is_multiple_of(4 * rows) {
            return Err(Error::invalid(format!(
                "the index `{}`: {bytes} bytes of neighbours do not fit {rows} texts",
                dir.display()
            )));
        }
        Ok(TextIndex {
            dir: dir.to_owned(),
            texts: features.names()?,
            neighbours: (bytes / (4 * rows)) as usize,
            features,
        })
    }

    /// The encoder that the index was made with, from where it was then or from `folder`.
    ///
    /// # Errors
    /// When it cannot be read, or is another one.
    pub fn embedder(&self, folder: Option<&Path>, device: &Device) -> Result<TextEncoder> {
        let stated = |key: &str| self.features.made_of()[key].as_str().unwrap_or_default();
        let folder = folder.unwrap_or(Path::new(stated("embedder")));
        let embedder = TextEncoder::open(folder, device)?;
        let found = embedder.hash()?;
        match found == stated("embedder_blake3") {
            true => Ok(embedder),
            false => Err(Error::invalid(format!(
                "the index `{}` was made with an encoder of BLAKE3 {}, that in `{}` has {found}",
                self.dir.display(),
                stated("embedder_blake3"),
                folder.display()
            ))
            .with_help("name the folder of the encoder it was made with, or make the index again")),
        }
    }

    /// The positions of the texts least similar to each, from the least on: `[texts, neighbours]`.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn least(&self) -> Result<Vec<u32>> {
        let path = self.dir.join(NEIGHBOURS);
        let bytes = std::fs::read(&path).map_err(|error| Error::file("read", &path, error))?;
        let least: Vec<u32> = bytes
            .as_chunks::<4>()
            .0
            .iter()
            .map(|b| u32::from_le_bytes(*b))
            .collect();
        match least.iter().find(|&&row| row as usize >= self.texts.len()) {
            None => Ok(least),
            Some(row) => Err(Error::invalid(format!(
                "`{}` names the text {row}, of {} texts; make the index again",
                path.display(),
                self.texts.len()
            ))),
        }
    }

    /// The places of texts by their cleaned words.
    pub fn places(&self) -> HashMap<&str, u32> {
        (0..)
            .zip(&self.texts)
            .map(|(place, text)| (text.as_str(), place))
            .collect()
    }

    /// The `k` texts least or most similar to `text`, with their cosines; a text that says the same is left out.
    ///
    /// # Errors
    /// When the text has no words, or vectors cannot be read.
    pub fn similar(
        &self,
        embedder: &TextEncoder,
        text: &str,
        k: usize,
        least: bool,
    ) -> Result<Vec<Found>> {
        let own = clean_for_index(text);
        if own.is_empty() {
            return Err(Error::invalid("the text has no words after cleaning"));
        }
        let query = embedder.vectors(&[&own], &Silent)?;
        let width = self.features.width();
        let mut all = Vec::with_capacity(self.texts.len() * width);
        self.features.blocks(4096, |rows| {
            all.extend_from_slice(rows);
            Ok(())
        })?;
        let mut found = match least {
            true => least_similar(&all, &query, width, k + 1),
            false => most_similar(&all, &query, width, k + 1),
        };
        let mut found = found.pop().unwrap_or_default();
        found.retain(|found| self.texts[found.row] != own);
        found.truncate(k);
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::text_encoder::tests::tiny_encoder;

    fn options(out: &Path, compat: Compat, memory: usize) -> IndexOptions {
        IndexOptions {
            out: out.to_owned(),
            neighbours: 3,
            compat,
            memory,
            source: "a test".to_owned(),
        }
    }

    fn texts() -> Vec<Option<String>> {
        let parts = ["sinus rhythm", "atrial fibrillation", "normal ecg", "block"];
        let text = |n: usize| match n % 7 {
            6 => None,
            5 => Some(" \t ".to_owned()),
            // Leading blanks make no other text.
            _ => Some(format!(
                "{}{}. {}",
                &"  "[..n % 3],
                parts[n % 4],
                parts[(n / 5) % 4]
            )),
        };
        (0..60).map(text).collect()
    }

    fn bytes(folder: &Path) -> Vec<(String, Vec<u8>)> {
        let files = std::fs::read_dir(folder).unwrap();
        let mut all: Vec<_> = files
            .map(|file| {
                let file = file.unwrap();
                let name = file.file_name().into_string().unwrap();
                (name, std::fs::read(file.path()).unwrap())
            })
            .collect();
        all.sort();
        all
    }

    /// Parts so small that an interruption falls into each.
    const SMALL: Parts = Parts {
        chunk: 6,
        batch: 3,
        shard_bytes: 2 * 16 * 4,
        queries: [3, 3],
    };

    struct Stops(AtomicUsize);

    impl Reporter for Stops {
        fn stop_requested(&self) -> bool {
            self.0.fetch_sub(1, Ordering::Relaxed) <= 1
        }
    }

    #[test]
    fn an_index_has_the_same_bytes_whatever_interrupts_it() {
        let folder = tempfile::tempdir().unwrap();
        let encoder = tiny_encoder(&folder.path().join("encoder"));
        let all = texts();
        for compat in [Compat::Paper, Compat::Released] {
            let of = || all.iter().map(|text| Ok(text.as_deref()));
            let make = |out: &Path, reporter: &dyn Reporter| {
                let options = options(out, compat, 0);
                build_in(SMALL, of(), &encoder, &options, reporter)
            };
            let whole = folder.path().join(format!("whole {compat:?}"));
            let found = make(&whole, &Silent).unwrap();
            assert_eq!((found.records, found.distinct, found.without), (60, 16, 16));
            let parts = folder.path().join(format!("parts {compat:?}"));
            // Each call may go one step further than that before, from the first text on.
            let (mut shards, mut tables, mut stopped) = (0, 0, 0);
            for after in 58.. {
                let stops = Stops(AtomicUsize::new(after));
                if make(&parts, &stops).is_ok() {
                    break;
                }
                stopped += 1;
                let names = match parts.is_dir() {
                    true => bytes(&parts),
                    false => Vec::new(),
                };
                let begun = |end: &str| {
                    names
                        .iter()
                        .any(|(name, own)| name.contains(end) && !own.is_empty())
                };
                let listed = parts.join(FEATURES).is_file() && Features::open(&parts).is_err();
                shards += usize::from(begun(".npy") && listed);
                tables += usize::from(begun(".part-"));
            }
            // Interruptions fell between shards and into the table.
            assert!(
                shards > 0 && tables > 0 && stopped > 4,
                "{shards} {tables} {stopped}"
            );
            assert_eq!(make(&parts, &Silent).unwrap().neighbours, 3);
            assert_eq!(bytes(&whole), bytes(&parts));
            let index = TextIndex::open(&whole).unwrap();
            let least = index.least().unwrap();
            for (own, text) in index.texts.iter().enumerate() {
                let found = index.similar(&encoder, text, 3, true).unwrap();
                let found: Vec<u32> = found.iter().map(|found| found.row as u32).collect();
                if compat == Compat::Paper {
                    assert_eq!(found, least[3 * own..3 * own + 3]);
                }
            }
        }
    }

    #[test]
    fn memory_does_not_change_an_index() {
        let folder = tempfile::tempdir().unwrap();
        let encoder = tiny_encoder(&folder.path().join("encoder"));
        let all = texts();
        let made = |name: &str, parts: Parts, memory: usize| {
            let out = folder.path().join(name);
            let of = all.iter().map(|text| Ok(text.as_deref()));
            build_in(
                parts,
                of,
                &encoder,
                &options(&out, Compat::Paper, memory),
                &Silent,
            )
            .unwrap();
            std::fs::read(out.join(NEIGHBOURS)).unwrap()
        };
        assert_eq!(made("little", SMALL, 0), made("much", PARTS, 1 << 29));
    }
}
