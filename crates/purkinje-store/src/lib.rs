//! The store of prepared recordings.
//!
//! A store is a folder: `store.json` ([`StoreInfo`]) describes its contents and how it was made, `shard-00000.arrow`,
//! ... hold the records ([`arrow_schema()`]), `outcomes.csv` lists the outcome of every record of the source. Shards
//! are uncompressed Arrow IPC files: this library maps them into memory, and pyarrow, polars, DuckDB and Hugging Face
//! datasets can read them.
//!
//! - [`prepare`] writes a store from a source of records ([`source`]); it can be interrupted at any time and continued, and gives the same bytes for any number of threads.
//! - [`Store`] gives random access to rows without copying samples.
//! - [`StoreWriter`] writes rows from any other source.
//!
//! ```no_run
//! use purkinje_signal::Preprocess;
//! use purkinje_datasets::import::PtbXl;
//! use purkinje_store::{PrepareOptions, Split, Store, prepare};
//!
//! # fn main() -> Result<(), purkinje_store::StoreError> {
//! let source = PtbXl::new("physionet.org/files/ptb-xl/1.0.3");
//! let contract = Preprocess::clear_ptbxl();
//! prepare(&source, &contract, "ptbxl-store".as_ref(), &PrepareOptions::default(), &())?;
//!
//! let store = Store::open("ptbxl-store")?;
//! let labels = store.label_matrix_of("superdiagnostic", Split::Train)?;
//! let mut signal_mv = Vec::new(); // [lead, time]
//! for (row, &index) in labels.rows.iter().enumerate() {
//!     store.row(index)?.signal_mv_into(&mut signal_mv);
//!     let target = labels.row(row);
//! #   let _ = target;
//! }
//! # Ok(())
//! # }
//! ```

#![deny(missing_docs, unsafe_code)]

mod columns;
mod error;
pub mod files;
mod ids;
mod labels;
pub mod leakage;
mod map;
mod outcome;
mod parts;
mod prepare;
mod quality_filter;
mod quantise;
mod redetect;
mod schema;
mod shard;
mod signal_hash;
pub mod source;
mod split;
mod store;
mod writer;

pub use columns::{Mark, NewRow};
pub use error::StoreError;
pub use ids::Ids;
pub use labels::Labels;
pub use outcome::{Outcome, Status, read_outcomes};
pub use parts::{MAX_PARTS, Part, merge};
pub use prepare::{FailureLimit, PrepareOptions, Progress, Summary, prepare};
pub use quality_filter::{BelowQuality, LimbLimit, QualityFilter, WrongQualityFilter};
pub use quantise::{Quantised, quantise};
pub use redetect::{RedetectOptions, Redetected, redetect};
pub use schema::{
    DESCRIPTION_FILE, LABEL_PREFIX, LabelClass, LabelSet, MadeBy, OUTCOMES_FILE, OutcomeCounts,
    RedetectedBeats, SCHEMA_VERSION, SIGNAL_HASH_DIGITS, ShardInfo, Split, StoreInfo, TEXT_PREFIX,
    UnknownSplit, VALUE_PREFIX, arrow_schema,
};
pub use signal_hash::signal_hash;
pub use split::{PatientSplit, SplitRule};
pub use store::{Row, Store};
pub use writer::{Begin, MAX_RECORD_VALUES, StoreSpec, StoreWriter};
