//! Drawing: ECG paper, explanations, charts, HTML reports.
//!
//! Every picture is an [`Svg`] in true millimetres; [`raster::png`] renders it to PNG, and [`page::Page`] collects
//! pictures and tables in one HTML file.
//!
//! ```
//! use purkinje_figures::{paper, raster};
//! use purkinje_record::{LeadSet, Recording};
//!
//! let recording = Recording::new("demo", LeadSet::standard_12(), 500.0, vec![0.0; 12 * 5000])?;
//! let picture = paper::draw(&recording, &paper::PaperOptions::default(), &paper::Marks::default());
//! assert!(picture.to_string().contains("width=\"282mm\""));
//! let png = raster::png(&picture, raster::CRISP_DPI)?;
//! # assert!(png.starts_with(b"\x89PNG"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![deny(missing_docs)]

pub mod chart;
mod color;
pub mod explain;
pub mod page;
pub mod paper;
pub mod raster;
pub mod svg;
pub mod terminal;
mod text;
pub mod timeline;

pub use svg::Svg;
