//! From features of tokens to cluster indices, without holding all features in memory.
//!
//! The steps:
//!
//! ```text
//! rows of a recording --Writer--> shards on disk --Features--> batches --fit--> CodeBook --assign--> cluster indices
//!                                                                                   quality
//! ```
//!
//! - [`features`] keeps `[row, width]` float32 tables as `.npy` shards with an index: written atomically, continued
//!   after an interruption, read in shuffled batches by random access;
//! - [`fit`] runs mini-batch k-means over them and saves its state, [`curve`] does so for several numbers of clusters;
//! - [`CodeBook`] assigns rows to their nearest centre, [`Ensemble`] does so for several books;
//! - [`quality`] computes metrics of a clustering: SSE, Davies-Bouldin, Calinski-Harabasz, silhouette.
//!
//! Matrices are row-major slices, `[rows, width]`.

#![deny(missing_docs)]

mod code_book;
mod error;
pub mod features;
mod fit;
mod init;
mod matmul;
pub mod quality;

pub use code_book::{CodeBook, Ensemble, MAX_BOOKS, MAX_CLUSTERS, MAX_WIDTH, Rows, normalise};
pub use error::ClusterError;
pub use fit::{
    BatchReport, CurvePoint, FitConfig, Fitted, MiniBatch, Observer, book_file, curve, fit,
};
pub use init::plus_plus;
