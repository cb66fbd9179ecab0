//! Vectors of recordings, leads, beats, lead groups or tokens.

pub mod journal;
pub mod table;

use std::sync::Arc;

use purkinje_eval::crops::Aggregation;
use purkinje_models::compat::Compat;
use purkinje_record::Recording;
use serde::Serialize;

use crate::inputs::{Input, ReadOptions, StoredRow};
use crate::model::Model;
use crate::network::Seen;
use crate::stream::{Stream, Whole};
use crate::system::{Level, Place};
use crate::windows::{Used, vectors_together};
use crate::{Error, Result};

/// The vectors of one recording at one level.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Embedded {
    /// The name of the recording.
    pub id: String,
    /// Path of its file as given, or the source that its store records.
    pub source: String,
    /// BLAKE3 of its files, or of the shard that holds it, in hex; empty for recordings in memory.
    pub source_blake3: String,
    /// What each vector stands for.
    pub places: Vec<Place>,
    /// Numbers in one vector.
    pub width: usize,
    /// `[places, width]`.
    pub values: Vec<f32>,
    /// How much of the recording was used.
    #[serde(flatten)]
    pub used: Used,
    /// What its store knows of it, if it is a row of one.
    #[serde(flatten)]
    pub row: Option<StoredRow>,
}

impl Embedded {
    /// Each vector with the place it stands for.
    pub fn vectors(&self) -> impl ExactSizeIterator<Item = (&Place, &[f32])> {
        self.places.iter().zip(self.values.chunks_exact(self.width))
    }
}

/// The vectors of several recordings at one level.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Vectors {
    /// The level.
    pub level: Level,
    /// Those of each recording, in order.
    pub records: Vec<Embedded>,
}

impl Vectors {
    /// `[recordings, vectors, width]`; `None` where recordings have different numbers of vectors.
    pub fn shape(&self) -> Option<[usize; 3]> {
        let first = self.records.first()?;
        let count = first.places.len();
        let same = self.records.iter().all(|r| r.places.len() == count);
        same.then_some([self.records.len(), count, first.width])
    }

    /// All values, recording by recording.
    pub fn values(&self) -> Vec<f32> {
        self.records
            .iter()
            .flat_map(|r| &r.values)
            .copied()
            .collect()
    }
}

impl Model {
    /// The vectors of recordings at a level.
    ///
    /// # Errors
    /// When the model has no vectors at this level, or for the first recording that cannot be used.
    pub fn embed<'r>(
        &self,
        recordings: impl IntoIterator<Item = &'r Recording>,
        level: Level,
    ) -> Result<Vectors> {
        let recordings = recordings
            .into_iter()
            .map(|r| Input::Recording(Arc::new(r.clone())));
        let records = self.embed_all(recordings, level, ReadOptions::new())?;
        Ok(Vectors {
            level,
            records: records.collect::<Result<_>>()?,
        })
    }

    /// The vectors of any number of recordings, one by one, in bounded memory.
    ///
    /// # Errors
    /// When the model has no vectors at this level; recordings that cannot be used are items of the iterator.
    pub fn embed_all<'a>(
        &self,
        inputs: impl IntoIterator<Item = Input<'a>>,
        level: Level,
        options: ReadOptions,
    ) -> Result<impl Iterator<Item = Result<Embedded>>> {
        self.check_level(level)?;
        let plan = options.windows.plan(self, Compat::Paper)?;
        let how = plan.aggregation;
        let each = options.windows.each;
        let work = move |seen: &[&Seen]| window_vectors(self, seen, level, how);
        let finish = move |whole| embedded(whole, self.width(), level, each, how);
        let inputs = inputs.into_iter();
        Ok(Stream::new(self, options, plan, inputs, work, finish))
    }
}

/// The vectors of a window.
struct WindowVectors {
    /// What each stands for, in seconds from the start of the window.
    places: Vec<Place>,
    values: Vec<f32>,
}

/// Whether the crops and windows of a recording have places of their own at a level, which lie one after another.
fn in_time(level: Level) -> bool {
    matches!(level, Level::Beat | Level::Token)
}

/// The vectors of windows that fit into one batch, without padding.
fn window_vectors(
    model: &Model,
    seen: &[&Seen],
    level: Level,
    how: Aggregation,
) -> Result<Vec<WindowVectors>> {
    let width = model.width();
    let crops = seen.first().map_or(0, |seen| seen.crops_s.len());
    let mut parts: Vec<Vec<WindowVectors>> = seen.iter().map(|_| Vec::new()).collect();
    for crop in 0..crops {
        let found = model.network().embed(seen, crop, level, model.device())?;
        let mut vectors = found.values.chunks_exact(width);
        for ((all, seen), parts) in found.places.into_iter().zip(seen).zip(&mut parts) {
            let mut part = WindowVectors {
                places: Vec::new(),
                values: Vec::new(),
            };
            for place in all {
                let vector = vectors
                    .next()
                    .ok_or_else(|| Error::invalid("the network gave fewer vectors than places"))?;
                if let Some(place) = place {
                    part.places.push(later(place, seen.crops_s[crop], 0));
                    part.values.extend_from_slice(vector);
                }
            }
            parts.push(part);
        }
    }
    let windows = parts.into_iter();
    windows
        .map(|parts| joined(parts.into_iter(), level, how))
        .collect()
}

/// A place in a stretch that begins `start_s` later and follows `before` other places.
fn later(place: Place, start_s: f64, before: usize) -> Place {
    Place {
        time_s: place.time_s.map(|time_s| time_s + start_s),
        number: place.number.map(|number| number + before),
        ..place
    }
}

/// The vectors of crops or windows as one: aggregated place by place, or one after another at levels that lie in time.
fn joined(
    parts: impl Iterator<Item = WindowVectors>,
    level: Level,
    how: Aggregation,
) -> Result<WindowVectors> {
    let mut parts: Vec<WindowVectors> = parts.collect();
    if !in_time(level) {
        let values: Vec<&[f32]> = parts.iter().map(|part| &*part.values).collect();
        let values = vectors_together(&values, how)?;
        let places = parts.pop().map(|part| part.places).unwrap_or_default();
        return Ok(WindowVectors { places, values });
    }
    let mut all = WindowVectors {
        places: Vec::new(),
        values: Vec::new(),
    };
    let mut before = 0;
    for part in parts {
        let count = part.places.iter().filter_map(|place| place.number).max();
        let places = part.places.into_iter();
        all.places
            .extend(places.map(|place| later(place, 0.0, before)));
        all.values.extend(part.values);
        before += count.map_or(0, |last| last + 1);
    }
    Ok(all)
}

fn embedded(
    whole: Whole<'_, WindowVectors>,
    width: usize,
    level: Level,
    each: bool,
    how: Aggregation,
) -> Result<Embedded> {
    let windows = whole.windows.into_iter().map(|window| {
        let start_s = window.start_s;
        let places = window.value.places.into_iter();
        let places = places.map(|place| Place {
            window_s: each.then_some(start_s),
            ..later(place, start_s, 0)
        });
        WindowVectors {
            places: places.collect(),
            values: window.value.values,
        }
    });
    let WindowVectors { places, values } = match each {
        true if !in_time(level) => {
            let all: Vec<WindowVectors> = windows.collect();
            WindowVectors {
                values: all.iter().flat_map(|own| &own.values).copied().collect(),
                places: all.into_iter().flat_map(|own| own.places).collect(),
            }
        }
        _ => joined(windows, level, how)?,
    };
    Ok(Embedded {
        id: whole.record.id,
        source: whole.record.source,
        source_blake3: whole.record.blake3,
        row: whole.record.row,
        places,
        width,
        values,
        used: whole.used,
    })
}
