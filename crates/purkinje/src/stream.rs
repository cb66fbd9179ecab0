//! Streams of recordings through a model: opened and seen in parallel, window by window, batched, in bounded memory, with
//! results in the order of the inputs.
//!
//! All that gives recordings to a network goes through here: embedding, predicting, probing and evaluating use the same
//! windows of a recording in the same way.

use std::collections::VecDeque;
use std::iter::Fuse;

use purkinje_record::LeadSet;
use rayon::prelude::*;

use crate::inputs::{Input, Opened, ReadOptions};
use crate::model::Model;
use crate::network::Seen;
use crate::windows::{LeftOut, Plan, Used, Window};
use crate::{Error, Result};

/// Windows per batch.
const BATCH: usize = 32;
/// Windows read at a time: as many inputs may have been taken beyond those whose results were given.
pub const READ_AHEAD: usize = 4 * BATCH;

/// What all windows of a recording gave.
pub struct Whole<'a, W> {
    pub(crate) record: Opened<'a>,
    /// The windows that could be used, at least one, in order of time.
    pub(crate) windows: Vec<Window<W>>,
    pub(crate) used: Used,
    /// The leads the network was given.
    pub(crate) leads: LeadSet,
}

/// An iterator of results: one item for each input, in order. A recording that cannot be used gives an error item; the
/// iterator continues. A window that cannot be used is left out and listed in [`Used`], unless it is the only one. Work happens
/// only within calls of `next`, so dropping the iterator ends it; inputs that have ended are not asked again.
pub struct Stream<'m, 'a, I, W, T, F, G> {
    model: &'m Model,
    options: ReadOptions,
    plan: Plan,
    inputs: Fuse<I>,
    work: F,
    finish: G,
    /// Recordings without a result yet, in order.
    open: VecDeque<Open<'a, W>>,
    /// How many recordings had a result before those.
    before: usize,
    /// Windows that were seen, each with the number of its recording.
    ready: VecDeque<(usize, Window<Seen>)>,
    _result: std::marker::PhantomData<T>,
}

/// A recording on its way.
struct Open<'a, W> {
    record: Result<Opened<'a>>,
    /// Windows that were seen or could not be.
    taken: usize,
    /// Windows whose result is awaited.
    awaited: usize,
    windows: Vec<Window<W>>,
    left_out: Vec<LeftOut>,
    /// Why there is no result.
    failed: Option<Error>,
}

impl<W> Open<'_, W> {
    fn count(&self) -> usize {
        self.record
            .as_ref()
            .map_or(0, |record| record.windows.len())
    }

    fn complete(&self) -> bool {
        self.failed.is_some() || (self.taken == self.count() && self.awaited == 0)
    }
}

impl<'m, 'a, I, W, T, F, G> Stream<'m, 'a, I, W, T, F, G>
where
    I: Iterator<Item = Input<'a>>,
    F: FnMut(&[&Seen]) -> Result<Vec<W>>,
    G: FnMut(Whole<'a, W>) -> Result<T>,
{
    /// `work` takes windows that fit into one batch and returns one result for each; `finish` makes those of a recording
    /// its result.
    pub(crate) fn new(
        model: &'m Model,
        options: ReadOptions,
        plan: Plan,
        inputs: I,
        work: F,
        finish: G,
    ) -> Self {
        Stream {
            model,
            options,
            plan,
            inputs: inputs.fuse(),
            work,
            finish,
            open: VecDeque::new(),
            before: 0,
            ready: VecDeque::new(),
            _result: std::marker::PhantomData,
        }
    }

    /// The next windows to be seen, as places in `open` with the window's number; opens recordings as needed.
    fn next_windows(&mut self) -> Vec<(usize, usize)> {
        let mut wanted = Vec::new();
        loop {
            for (place, open) in self.open.iter_mut().enumerate() {
                if open.failed.is_some() {
                    continue;
                }
                let last = open.count().min(open.taken + READ_AHEAD - wanted.len());
                wanted.extend((open.taken..last).map(|window| (place, window)));
                open.taken = last;
            }
            // A few at a time: a long recording has many windows.
            let free = (READ_AHEAD - wanted.len()).min(2 * rayon::current_num_threads());
            let inputs: Vec<Input<'a>> = self.inputs.by_ref().take(free).collect();
            if inputs.is_empty() {
                return wanted;
            }
            let (model, options, plan) = (self.model, &self.options, &self.plan);
            let opened: Vec<Result<Opened<'a>>> = inputs
                .into_par_iter()
                .map(|input| input.open(model, options, plan))
                .collect();
            self.open.extend(opened.into_iter().map(|record| Open {
                record,
                taken: 0,
                awaited: 0,
                windows: Vec::new(),
                left_out: Vec::new(),
                failed: None,
            }));
        }
    }

    /// Sees more windows.
    fn see_more(&mut self) {
        let wanted = self.next_windows();
        let (model, plan) = (self.model, &self.plan);
        let open = self.open.iter();
        let records: Vec<_> = open.map(|open| open.record.as_ref().ok()).collect();
        let seen: Vec<_> = wanted
            .into_par_iter()
            .filter_map(|(place, window)| {
                let record = records[place]?;
                Some((place, window, record.see(model, window, plan)))
            })
            .collect();
        for (place, window, seen) in seen {
            let open = &mut self.open[place];
            match seen {
                Ok(seen) => {
                    open.awaited += 1;
                    self.ready.push_back((self.before + place, seen));
                }
                Err(error) if open.count() == 1 => open.failed = Some(error),
                Err(error) => {
                    let start_s = match &open.record {
                        Ok(record) => record.start_s(window),
                        Err(_) => 0.0,
                    };
                    let reason = error.to_string();
                    open.left_out.push(LeftOut { start_s, reason });
                }
            }
        }
    }

    /// The next windows that fit into one batch; neighbours nearly always have the same leads.
    fn next_batch(&mut self) -> Vec<(usize, Window<Seen>)> {
        let mut batch: Vec<(usize, Window<Seen>)> = Vec::new();
        while batch.len() < BATCH {
            let network = self.model.network();
            let fits = match (self.ready.front(), batch.first()) {
                (Some((_, next)), Some((_, first))) => network.alike(&first.value, &next.value),
                (Some(_), None) => true,
                (None, _) => false,
            };
            match self.ready.pop_front_if(|_| fits) {
                Some(next) => batch.push(next),
                None => break,
            }
        }
        batch
    }

    /// Gives one batch to `work`.
    fn work(&mut self) {
        let batch = self.next_batch();
        let seen: Vec<&Seen> = batch.iter().map(|(_, window)| &window.value).collect();
        let results = (self.work)(&seen);
        let first = batch.first().map_or(0, |(number, _)| *number);
        let mut values = match results {
            Ok(values) => values.into_iter().map(Ok).collect::<Vec<_>>(),
            Err(error) => {
                let name = match &self.open[first - self.before].record {
                    Ok(record) => record.source.clone(),
                    Err(_) => String::new(),
                };
                let text = format!("the batch that begins with `{name}` failed: {error}");
                batch.iter().map(|_| Err(text.clone())).collect()
            }
        }
        .into_iter();
        for (number, window) in batch {
            let open = &mut self.open[number - self.before];
            open.awaited -= 1;
            match values.next() {
                Some(Ok(value)) => open.windows.push(window.map(|_| value)),
                Some(Err(text)) => open.failed = Some(Error::invalid(text)),
                None => {
                    let text = "the network gave fewer results than it was given windows";
                    open.failed = Some(Error::invalid(text));
                }
            }
        }
    }

    /// The result of a recording whose windows are all done.
    fn result(&mut self, open: Open<'a, W>) -> Result<T> {
        let count = open.count();
        let record = open.record?;
        if let Some(error) = open.failed {
            return Err(error);
        }
        if open.windows.is_empty() {
            return Err(Error::invalid(match open.left_out.first() {
                Some(LeftOut { start_s, reason }) => format!(
                    "none of its {count} windows can be used; that at {start_s:.1} s: {reason}"
                ),
                None => format!("`{}`: it has no samples", record.source),
            }));
        }
        let leads = record.leads.clone();
        let used = Used::of(&open.windows, count, record.seconds, open.left_out);
        let used = used.judged(record.unusable.clone());
        (self.finish)(Whole {
            record,
            windows: open.windows,
            used,
            leads,
        })
    }
}

impl<'a, I, W, T, F, G> Iterator for Stream<'_, 'a, I, W, T, F, G>
where
    I: Iterator<Item = Input<'a>>,
    F: FnMut(&[&Seen]) -> Result<Vec<W>>,
    G: FnMut(Whole<'a, W>) -> Result<T>,
{
    type Item = Result<T>;

    fn next(&mut self) -> Option<Result<T>> {
        loop {
            if let Some(open) = self.open.pop_front_if(|open| open.complete()) {
                self.before += 1;
                // Windows of a recording that failed are not worked on.
                let done = self.before;
                while self
                    .ready
                    .pop_front_if(|(number, _)| *number < done)
                    .is_some()
                {}
                return Some(self.result(open));
            }
            if self.ready.is_empty() {
                self.see_more();
            }
            match self.ready.is_empty() {
                false => self.work(),
                true if self.open.is_empty() => return None,
                // All that was seen failed.
                true => {}
            }
        }
    }
}
