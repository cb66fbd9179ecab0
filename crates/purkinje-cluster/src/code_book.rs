//! Code books: cluster centres, and assignment of rows to the nearest one.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use serde::{Deserialize, Serialize};

use crate::ClusterError;
use crate::error::{check_finite, check_shape, write_whole};
use crate::matmul::{BLOCK_ROWS, Nearest, Scratch};

/// Largest number of clusters of a code book.
pub const MAX_CLUSTERS: usize = 1 << 16;
/// Largest width of a row.
pub const MAX_WIDTH: usize = 1 << 16;
/// Largest number of code books of an ensemble.
pub const MAX_BOOKS: usize = 64;
/// Largest code book that is read, in bytes.
pub const MAX_BOOK_BYTES: u64 = 1 << 30;
/// Largest list of code books that is read, in bytes.
pub const MAX_LIST_BYTES: u64 = 1 << 20;

/// Version of the file format.
const VERSION: u32 = 1;
/// Key of what the file says about itself.
const ABOUT: &str = "purkinje_code_book";

/// Normalisation of a row before it is compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rows {
    /// Divided by its Euclidean norm; a row of zeros is unchanged.
    #[default]
    UnitNorm,
    /// None.
    Raw,
}

/// Divides every row of `[rows, width]` by its Euclidean norm; rows of zeros are unchanged.
pub fn normalise(rows: &mut [f32], width: usize) {
    for row in rows.chunks_exact_mut(width.max(1)) {
        // Independent sums can be computed in parallel.
        let mut squares = [0.0; 8];
        let (chunks, rest) = row.as_chunks::<8>();
        for chunk in chunks {
            for (sum, v) in squares.iter_mut().zip(chunk) {
                *sum += f64::from(*v) * f64::from(*v);
            }
        }
        for (sum, v) in squares.iter_mut().zip(rest) {
            *sum += f64::from(*v) * f64::from(*v);
        }
        let square: f64 = squares.iter().sum();
        if square > 0.0 {
            let factor = 1.0 / square.sqrt();
            row.iter_mut()
                .for_each(|v| *v = (f64::from(*v) * factor) as f32);
        }
    }
}

/// A code book: cluster centres `[clusters, width]`, and the normalisation of rows.
#[derive(Clone, Debug, PartialEq)]
pub struct CodeBook {
    pub(crate) width: usize,
    pub(crate) centers: Vec<f32>,
    pub(crate) counts: Vec<f64>,
    /// Normalisation of rows in the fit.
    pub fitted_on: Rows,
    /// Normalisation of rows in assignment. As `fitted_on`, unless the released program is followed, which fits on unit
    /// rows and assigns raw ones.
    pub assigned_on: Rows,
    /// Provenance: the features and the configuration of the fit.
    pub made_of: serde_json::Value,
}

/// Metadata in the file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct About {
    version: u32,
    fitted_on: Rows,
    assigned_on: Rows,
    made_of: serde_json::Value,
}

impl CodeBook {
    /// From centres `[clusters, width]`, with the same normalisation in fit and assignment.
    ///
    /// # Errors
    /// No centres, more or longer ones than a code book may have, or a number that is not finite.
    pub fn new(centers: Vec<f32>, width: usize, rows: Rows) -> Result<Self, ClusterError> {
        check_shape("centres", &centers, width)?;
        check_finite("centres", &centers, width)?;
        let clusters = centers.len() / width;
        for (setting, found, most) in [
            ("clusters", clusters, MAX_CLUSTERS),
            ("width", width, MAX_WIDTH),
        ] {
            if found == 0 || found > most {
                return Err(ClusterError::Setting {
                    setting,
                    found: found.to_string(),
                    expected: format!("1 to {most}"),
                });
            }
        }
        Ok(CodeBook {
            width,
            counts: vec![0.0; clusters],
            centers,
            fitted_on: rows,
            assigned_on: rows,
            made_of: serde_json::Value::Null,
        })
    }

    /// Number of clusters.
    pub fn clusters(&self) -> usize {
        self.counts.len()
    }

    /// Width of a row.
    pub fn width(&self) -> usize {
        self.width
    }

    /// The centres, `[clusters, width]`.
    pub fn centers(&self) -> &[f32] {
        &self.centers
    }

    /// Number of rows averaged in each centre.
    pub fn counts(&self) -> &[f64] {
        &self.counts
    }

    /// The nearest centre of every row of `[rows, width]`, the first among equals.
    ///
    /// # Errors
    /// When `rows` are not whole rows, or a number is not finite.
    pub fn assign(&self, rows: &[f32]) -> Result<Vec<u32>, ClusterError> {
        self.assign_on(rows, self.assigned_on)
    }

    /// As [`CodeBook::assign`], with another normalisation of rows.
    ///
    /// # Errors
    /// As [`CodeBook::assign`].
    pub fn assign_on(&self, rows: &[f32], on: Rows) -> Result<Vec<u32>, ClusterError> {
        check_shape("rows to assign", rows, self.width)?;
        let nearest = Nearest::new(&self.centers, self.width);
        let mut labels = vec![0; rows.len() / self.width];
        labels
            .par_chunks_mut(BLOCK_ROWS)
            .zip(rows.par_chunks(BLOCK_ROWS * self.width))
            .try_for_each_init(
                || (Scratch::default(), Vec::new()),
                |(scratch, unit), (labels, rows)| {
                    check_finite("rows to assign", rows, self.width)?;
                    if on == Rows::UnitNorm {
                        unit.clear();
                        unit.extend_from_slice(rows);
                        normalise(unit, self.width);
                        nearest.block(unit, labels, scratch);
                    } else {
                        nearest.block(rows, labels, scratch);
                    }
                    Ok(())
                },
            )?;
        Ok(labels)
    }

    /// Writes the book as a safetensors file (`centers`, `counts`, and metadata in its header), with the metadata also
    /// in a `.json` file beside it. The file is written atomically.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), ClusterError> {
        let about = About {
            version: VERSION,
            fitted_on: self.fitted_on,
            assigned_on: self.assigned_on,
            made_of: self.made_of.clone(),
        };
        let problem = |e: &dyn std::fmt::Display| ClusterError::damaged(path, e.to_string());
        let text = serde_json::to_string(&about).map_err(|e| problem(&e))?;
        let centers: Vec<u8> = self.centers.iter().flat_map(|v| v.to_le_bytes()).collect();
        let counts: Vec<u8> = self.counts.iter().flat_map(|v| v.to_le_bytes()).collect();
        let shape = vec![self.clusters(), self.width];
        let tensors = [
            (
                "centers",
                TensorView::new(Dtype::F32, shape, &centers).map_err(|e| problem(&e))?,
            ),
            (
                "counts",
                TensorView::new(Dtype::F64, vec![self.clusters()], &counts)
                    .map_err(|e| problem(&e))?,
            ),
        ];
        let metadata = HashMap::from([(ABOUT.to_owned(), text)]);
        let bytes = safetensors::serialize(tensors, Some(metadata)).map_err(|e| problem(&e))?;
        let words = serde_json::to_vec_pretty(&about).map_err(|e| problem(&e))?;
        write_whole(&path.with_extension("json"), &words)?;
        write_whole(path, &bytes)
    }

    /// Reads what [`CodeBook::save`] wrote; the `.json` beside it is not needed.
    ///
    /// # Errors
    /// A file that cannot be read or is not a code book.
    pub fn load(path: &Path) -> Result<Self, ClusterError> {
        let damaged = |problem: String| {
            ClusterError::damaged(path, format!("it is not a code book: {problem}"))
        };
        let file = File::open(path).map_err(ClusterError::io(path))?;
        let mut bytes = Vec::new();
        file.take(MAX_BOOK_BYTES)
            .read_to_end(&mut bytes)
            .map_err(ClusterError::io(path))?;
        let (_, header) = SafeTensors::read_metadata(&bytes).map_err(|e| damaged(e.to_string()))?;
        let about = header.metadata().as_ref().and_then(|m| m.get(ABOUT));
        let about = about.ok_or_else(|| damaged(format!("its header has no `{ABOUT}`")))?;
        let about: About = serde_json::from_str(about).map_err(|e| damaged(e.to_string()))?;
        if about.version != VERSION {
            return Err(damaged(format!(
                "version {}, expected {VERSION}",
                about.version
            )));
        }
        let stored = SafeTensors::deserialize(&bytes).map_err(|e| damaged(e.to_string()))?;
        let tensor = |name: &str, dtype: Dtype| {
            let view = stored.tensor(name).map_err(|e| damaged(e.to_string()))?;
            match view.dtype() == dtype {
                true => Ok(view),
                false => Err(damaged(format!(
                    "`{name}` is {:?}, expected {dtype:?}",
                    view.dtype()
                ))),
            }
        };
        let centers = tensor("centers", Dtype::F32)?;
        let &[clusters, width] = centers.shape() else {
            return Err(damaged("`centers` is not a matrix".to_owned()));
        };
        let values = |bytes: &[u8]| -> Vec<f32> {
            let values = bytes.as_chunks::<4>().0.iter();
            values.map(|b| f32::from_le_bytes(*b)).collect()
        };
        let counts: Vec<f64> = tensor("counts", Dtype::F64)?
            .data()
            .as_chunks::<8>()
            .0
            .iter()
            .map(|b| f64::from_le_bytes(*b))
            .collect();
        if counts.len() != clusters || counts.iter().any(|c| !(*c >= 0.0 && c.is_finite())) {
            return Err(damaged(format!(
                "`counts` are not {clusters} numbers of at least 0"
            )));
        }
        let book = CodeBook::new(values(centers.data()), width, about.fitted_on)
            .map_err(|e| damaged(e.to_string()))?;
        Ok(CodeBook {
            counts,
            assigned_on: about.assigned_on,
            made_of: about.made_of,
            ..book
        })
    }
}

/// Several code books on the same features.
#[derive(Clone, Debug, PartialEq)]
pub struct Ensemble {
    books: Vec<CodeBook>,
}

impl Ensemble {
    /// From one book or more, all of one width.
    ///
    /// # Errors
    /// No books, too many, or books of different widths.
    pub fn new(books: Vec<CodeBook>) -> Result<Self, ClusterError> {
        let width = books.first().map(|book| book.width);
        let same = books.iter().all(|book| Some(book.width) == width);
        if books.is_empty() || books.len() > MAX_BOOKS || !same {
            let widths: Vec<usize> = books.iter().take(MAX_BOOKS).map(|b| b.width).collect();
            return Err(ClusterError::Setting {
                setting: "ensemble",
                found: format!("{} code books of widths {widths:?}", books.len()),
                expected: format!("1 to {MAX_BOOKS} of one width"),
            });
        }
        Ok(Ensemble { books })
    }

    /// The code books listed in a text file, one per line, relative to its folder; lines that begin with `#` are
    /// comments.
    ///
    /// # Errors
    /// A file or code book that cannot be read; see [`Ensemble::new`].
    pub fn read_list(path: &Path) -> Result<Self, ClusterError> {
        let size = fs::metadata(path).map_err(ClusterError::io(path))?.len();
        if size > MAX_LIST_BYTES {
            return Err(ClusterError::damaged(
                path,
                format!("it has {size} bytes, too many for a list of code books"),
            ));
        }
        let text = fs::read_to_string(path).map_err(ClusterError::io(path))?;
        let dir = path.parent().map_or_else(PathBuf::new, Path::to_path_buf);
        let books = text
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
            .take(MAX_BOOKS + 1)
            .map(|line| CodeBook::load(&dir.join(line)))
            .collect::<Result<_, _>>()?;
        Ensemble::new(books)
    }

    /// The code books.
    pub fn books(&self) -> &[CodeBook] {
        &self.books
    }

    /// Clusters of each book: a network's vocabulary sizes.
    pub fn vocab_sizes(&self) -> Vec<usize> {
        self.books.iter().map(CodeBook::clusters).collect()
    }

    /// Fails unless a network's vocabulary sizes are those of the books.
    ///
    /// # Errors
    /// [`ClusterError::Setting`] with both.
    pub fn check_vocab_sizes(&self, sizes: &[usize]) -> Result<(), ClusterError> {
        if sizes == self.vocab_sizes() {
            return Ok(());
        }
        Err(ClusterError::Setting {
            setting: "vocab_sizes",
            found: format!("{sizes:?}"),
            expected: format!("{:?}, the clusters of the code books", self.vocab_sizes()),
        })
    }

    /// Cluster indices of rows: `[book, row]`.
    ///
    /// # Errors
    /// As [`CodeBook::assign`].
    pub fn assign(&self, rows: &[f32]) -> Result<Vec<Vec<u32>>, ClusterError> {
        self.books.iter().map(|book| book.assign(rows)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::init::squared_distance;

    /// Numbers that look random.
    fn noise(n: usize, shift: f64) -> Vec<f32> {
        (0..n)
            .map(|k| ((k as f64 + shift) * 12.9898).sin() * 43758.5453)
            .map(|v| (v - v.floor() - 0.5) as f32)
            .collect()
    }

    #[test]
    fn the_nearest_centre_is_found_for_any_size() {
        for (rows, width, clusters) in [(1, 1, 1), (255, 3, 7), (257, 16, 100), (1000, 39, 33)] {
            let book = CodeBook::new(noise(clusters * width, 0.5), width, Rows::Raw).unwrap();
            let rows = noise(rows * width, 0.0);
            let found = book.assign(&rows).unwrap();
            for (row, label) in rows.chunks(width).zip(found) {
                let distance =
                    |k: usize| squared_distance(row, &book.centers[k * width..][..width]);
                let least = (0..clusters).map(distance).fold(f64::INFINITY, f64::min);
                assert!(distance(label as usize) <= least + 1e-5);
            }
        }
        let book = CodeBook::new(vec![1.0, 0.0, 0.0, 1.0], 2, Rows::Raw).unwrap();
        assert_eq!(book.assign(&[0.5, 0.5, 0.0, 0.0]).unwrap(), [0, 0]);
        assert!(book.assign(&[]).unwrap().is_empty());
        assert!(book.assign(&[1.0; 3]).is_err());
        assert!(book.assign(&[1.0, f32::INFINITY]).is_err());
    }

    #[test]
    fn raw_and_unit_rows_may_have_different_centres() {
        let mut book = CodeBook::new(vec![0.6, 0.8, 1.4, 0.2], 2, Rows::UnitNorm).unwrap();
        let far = [3.0, 4.0];
        assert_eq!(book.assign(&far).unwrap(), [0]);
        book.assigned_on = Rows::Raw;
        assert_eq!(book.assign(&[2.0, 1.0]).unwrap(), [1]);
        assert_eq!(book.assign_on(&[2.0, 1.0], Rows::UnitNorm).unwrap(), [0]);
        let mut rows = vec![0.0, 0.0, 3.0, 4.0];
        normalise(&mut rows, 2);
        assert_eq!(rows, [0.0, 0.0, 0.6, 0.8]);
    }

    #[test]
    fn books_are_written_and_read_and_listed() {
        let dir = tempfile::tempdir().unwrap();
        let mut book = CodeBook::new(noise(12, 0.0), 3, Rows::UnitNorm).unwrap();
        book.assigned_on = Rows::Raw;
        book.counts = vec![1.0, 0.0, 7.0, 2.0];
        book.made_of = serde_json::json!({"kind": "cepstra"});
        let path = dir.path().join("a.safetensors");
        book.save(&path).unwrap();
        assert_eq!(CodeBook::load(&path).unwrap(), book);
        assert!(dir.path().join("a.json").exists());
        let other = CodeBook::new(noise(6, 1.0), 3, Rows::Raw).unwrap();
        other.save(&dir.path().join("b.safetensors")).unwrap();
        let list = dir.path().join("books.txt");
        fs::write(&list, "# first\na.safetensors\n\nb.safetensors\n#c\n").unwrap();
        let ensemble = Ensemble::read_list(&list).unwrap();
        assert_eq!(ensemble.vocab_sizes(), [4, 2]);
        assert!(ensemble.check_vocab_sizes(&[4, 2]).is_ok());
        assert!(ensemble.check_vocab_sizes(&[4]).is_err());
        assert_eq!(ensemble.assign(&noise(9, 2.0)).unwrap()[1].len(), 3);
        let narrow = CodeBook::new(noise(4, 1.0), 2, Rows::Raw).unwrap();
        assert!(Ensemble::new(vec![book, narrow]).is_err());
        fs::write(&list, "# none\n").unwrap();
        assert!(Ensemble::read_list(&list).is_err());

        let whole = fs::read(&path).unwrap();
        for end in [0, 7, 8, 50, whole.len() - 1] {
            fs::write(&path, &whole[..end]).unwrap();
            assert!(CodeBook::load(&path).is_err());
        }
        assert!(CodeBook::new(vec![], 3, Rows::Raw).is_err());
        assert!(CodeBook::new(vec![f32::NAN], 1, Rows::Raw).is_err());
    }
}
