//! Vectors of recordings, leads, beats, lead groups or tokens.

pub mod table;

use std::sync::Arc;

use purkinje_record::Recording;
use serde::Serialize;

use crate::inputs::{Input, ReadOptions, Ready};
use crate::model::Model;
use crate::stream::Stream;
use crate::system::{Level, Place};
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
        let work = move |batch: Vec<Ready>| embedded(self, batch, level);
        Ok(Stream::new(self, options, inputs.into_iter(), work))
    }
}

fn embedded(model: &Model, batch: Vec<Ready>, level: Level) -> Result<Vec<Embedded>> {
    let width = model.width();
    let seen: Vec<_> = batch.iter().map(|ready| &ready.seen).collect();
    let found = model.network().embed(&seen, level, model.device())?;
    let mut values = found.values.chunks_exact(width);
    let records = batch.into_iter().zip(found.places);
    let records = records.map(|(ready, all)| {
        let mut record = Embedded {
            id: ready.id,
            source: ready.source,
            source_blake3: ready.blake3,
            places: Vec::new(),
            width,
            values: Vec::new(),
        };
        for place in all {
            let vector = values
                .next()
                .ok_or_else(|| Error::invalid("the network gave fewer vectors than places"))?;
            if let Some(place) = place {
                record.places.push(place);
                record.values.extend_from_slice(vector);
            }
        }
        Ok(record)
    });
    records.collect()
}
