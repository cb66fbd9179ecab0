//! Streams of recordings through a model: read in parallel, batched, in bounded memory, with results in the order of
//! the inputs.

use std::collections::VecDeque;
use std::iter::Fuse;

use rayon::prelude::*;

use crate::inputs::{Input, ReadOptions, Ready};
use crate::model::Model;
use crate::{Error, Result};

/// Recordings per batch.
const BATCH: usize = 32;
/// Recordings read at a time: as many inputs may have been taken beyond those whose results were given.
pub const READ_AHEAD: usize = 4 * BATCH;

/// An iterator of results: one item for each input, in order. A recording that cannot be used gives an error item; the
/// iterator continues. Work happens only within calls of `next`, so dropping the iterator ends it; inputs that have ended
/// are not asked again.
pub struct Stream<'m, I, T, F> {
    model: &'m Model,
    options: ReadOptions,
    inputs: Fuse<I>,
    work: F,
    ready: VecDeque<Result<Ready>>,
    done: VecDeque<Result<T>>,
}

impl<'m, 'a, I, T, F> Stream<'m, I, T, F>
where
    I: Iterator<Item = Input<'a>>,
    F: FnMut(Vec<Ready>) -> Result<Vec<T>>,
{
    /// `work` takes recordings that fit into one batch and returns one result for each.
    pub(crate) fn new(model: &'m Model, options: ReadOptions, inputs: I, work: F) -> Self {
        Stream {
            model,
            options,
            inputs: inputs.fuse(),
            work,
            ready: VecDeque::new(),
            done: VecDeque::new(),
        }
    }

    fn read_more(&mut self) {
        let chunk: Vec<Input<'a>> = self.inputs.by_ref().take(READ_AHEAD).collect();
        let (model, options) = (self.model, &self.options);
        let read: Vec<Result<Ready>> = chunk
            .into_par_iter()
            .map(|input| input.read(model, options))
            .collect();
        self.ready.extend(read);
    }

    /// The next recordings that fit into one batch; neighbours nearly always have the same leads.
    fn next_batch(&mut self) -> Vec<Ready> {
        let mut batch: Vec<Ready> = Vec::new();
        while batch.len() < BATCH {
            let fits = match (self.ready.front(), batch.first()) {
                (Some(Ok(next)), Some(first)) => {
                    self.model.network().alike(&first.seen, &next.seen)
                }
                (Some(Ok(_)), None) => true,
                _ => false,
            };
            match self.ready.pop_front_if(|_| fits) {
                Some(Ok(next)) => batch.push(next),
                _ => break,
            }
        }
        batch
    }
}

impl<'a, I, T, F> Iterator for Stream<'_, I, T, F>
where
    I: Iterator<Item = Input<'a>>,
    F: FnMut(Vec<Ready>) -> Result<Vec<T>>,
{
    type Item = Result<T>;

    fn next(&mut self) -> Option<Result<T>> {
        if let Some(done) = self.done.pop_front() {
            return Some(done);
        }
        if self.ready.is_empty() {
            self.read_more();
        }
        if let Some(Err(error)) = self.ready.pop_front_if(|next| next.is_err()) {
            return Some(Err(error));
        }
        let batch = self.next_batch();
        let (first, records) = (batch.first()?.source.clone(), batch.len());
        match (self.work)(batch) {
            Ok(results) => self.done.extend(results.into_iter().map(Ok)),
            Err(error) => self.done.extend(failed(&first, records, &error)),
        }
        self.done.pop_front()
    }
}

/// The errors of a batch that failed as a whole: one for each recording.
fn failed<T>(first: &str, records: usize, error: &Error) -> Vec<Result<T>> {
    let text = format!("the batch that begins with `{first}` failed: {error}");
    (0..records)
        .map(|_| Err(Error::invalid(text.clone())))
        .collect()
}
