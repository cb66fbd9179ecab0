//! How CLEAR-HUG prepares recordings of its data sets: kind `preprocess`.

use purkinje_record::{Lead, LeadSet, Recording};
use purkinje_signal::preprocess::{Preparer, Preprocess, Window};
use purkinje_signal::repair;
use serde_json::Value;

use crate::Check;
use crate::compare::{Findings, Tolerance};
use crate::entry::{index, number, text};
use crate::walk::{Case, Tensors};

/// The kinds checked here.
pub const CHECKS: &[(&str, Check)] = &[("preprocess", preprocess)];

/// Double precision, relative to the largest value.
const DOUBLE: Tolerance = Tolerance::relative(1e-9);
/// Where the reference transforms in single precision.
const SINGLE: Tolerance = Tolerance::absolute(2e-6);
/// Converter units per millivolt, where the case does not say.
const UNITS_PER_MV: f64 = 1000.0;

fn preprocess(case: &Case, findings: &mut Findings) -> Result<(), String> {
    let config = case.json("config.json")?;
    for file in case.files(".safetensors")? {
        let name = file.trim_end_matches(".safetensors");
        let mut recipe = Recipe {
            name,
            stored: case.tensors(&file)?,
            config: &config[name],
            findings: &mut *findings,
        };
        // `csn` and, of another recording, `csn_b`.
        let result = match name.split(['_', '-']).next().unwrap_or(name) {
            "mimic" => recipe.mimic(),
            "csn" => recipe.csn(),
            "cpsc" => recipe.cpsc(),
            _ => Err("no such recipe".to_owned()),
        };
        result.map_err(|e| format!("{name}: {e}"))?;
    }
    Ok(())
}

/// A recording of one data set, and what became of it.
struct Recipe<'a> {
    name: &'a str,
    stored: Tensors,
    config: &'a Value,
    findings: &'a mut Findings,
}

impl Recipe<'_> {
    fn mimic(&mut self) -> Result<(), String> {
        let (rows, len) = self.shape()?;
        let mut samples = self.millivolts()?;
        let places: Vec<usize> = match self.stored.has("nan_positions") {
            true => self.stored.i64("nan_positions")?,
            false => Vec::new(),
        }
        .chunks_exact(2)
        .map(|place| place[0] as usize * len + place[1] as usize)
        .collect();
        places.iter().for_each(|place| samples[*place] = f64::NAN);

        let leads = self.leads("lead_order_in", rows)?;
        let contract = Preprocess::clear_mimic().with_leads(self.leads("lead_order_out", rows)?);
        let mut repaired = samples.clone();
        for row in repaired.chunks_exact_mut(len) {
            repair::repair(row, contract.missing());
        }
        let filled: Vec<f64> = places.iter().map(|place| repaired[*place]).collect();
        self.close("after_nan_fill_at_positions", &filled, DOUBLE)?;

        let rate_hz = number(self.config, "fs")?;
        let prepare = |contract: &Preprocess| {
            Preparer::new(contract)
                .and_then(|preparer| preparer.apply_samples("mimic", &leads, rate_hz, &samples))
                .map_err(|e| e.to_string())
        };
        let unfiltered = prepare(&contract.clone().without("filter"))?;
        self.begins("resampled_reordered", &unfiltered.rows, DOUBLE)?;
        let prepared = prepare(&contract)?;
        self.close("output", &prepared.rows, DOUBLE)?;
        let count: usize = prepared.repairs.iter().map(|repair| repair.samples).sum();
        self.findings
            .exact("mimic: repaired samples", count, places.len());

        // The way a user's recording goes: single precision in, the rest alike.
        let narrow = samples.iter().map(|value| *value as f32).collect();
        let recording =
            Recording::new("mimic", leads.clone(), rate_hz, narrow).map_err(|e| e.to_string())?;
        let prepared = contract.apply(&recording).map_err(|e| e.to_string())?;
        self.close("output", &prepared.rows, Tolerance::relative(1e-6))
    }

    fn csn(&mut self) -> Result<(), String> {
        let (rows, len) = self.shape()?;
        let leads = self.leads("lead_order_in", rows)?;
        let contract = Preprocess::clear_csn().with_leads(leads.clone());
        let rate_hz = match self.config.get("fs") {
            Some(_) => number(self.config, "fs")?,
            None => contract.rate_hz * len as f64 / self.stored.shape("output")?[1] as f64,
        };
        let samples = self.millivolts()?;
        let prepare = |contract: Preprocess| {
            Preparer::new(&contract)
                .and_then(|preparer| preparer.apply_samples("csn", &leads, rate_hz, &samples))
                .map(|prepared| prepared.rows)
                .map_err(|e| e.to_string())
        };
        let unfiltered = contract.clone().without("filter");
        let normalized = prepare(unfiltered.clone().at_rate(rate_hz))?;
        self.begins("normalized_first_lead", &normalized, SINGLE)?;
        self.close("resampled", &prepare(unfiltered)?, SINGLE)?;
        self.close("output", &prepare(contract)?, SINGLE)
    }

    fn cpsc(&mut self) -> Result<(), String> {
        let (rows, len) = self.shape()?;
        let leads = self.leads("lead_order_in", rows)?;
        let float = Preprocess::clear_cpsc2018().with_leads(leads.clone());
        let int16 = Preprocess::clear_cpsc2018_int16().with_leads(leads.clone());
        let Some(Window { keep_s, .. }) = float.window() else {
            return Err("the contract has no window".to_owned());
        };
        let rate_hz = match self.config.get("fs") {
            Some(_) => number(self.config, "fs")?,
            None => len as f64 / keep_s,
        };
        let samples = self.millivolts()?;
        let prepare = |contract: &Preprocess| {
            Preparer::new(contract)
                .and_then(|preparer| preparer.apply_samples("cpsc", &leads, rate_hz, &samples))
                .map(|prepared| prepared.rows)
                .map_err(|e| e.to_string())
        };
        let (float_rows, int16_rows) = (prepare(&float)?, prepare(&int16)?);
        self.close("output_float_arithmetic", &float_rows, DOUBLE)?;
        self.close("output_int16_arithmetic", &int16_rows, DOUBLE)?;
        let normalized = prepare(&int16.at_rate(rate_hz))?;
        let one = normalized.len() / rows;
        for row in 0..rows {
            let name = format!("normalized_int16_lead{row}");
            self.begins(&name, &normalized[row * one..], DOUBLE)?;
        }
        if self.config.get("max_abs_difference").is_some() {
            let pairs = float_rows.iter().zip(&int16_rows);
            let found = pairs.map(|(f, i)| (f - i).abs()).fold(0.0, f64::max);
            let expected = number(self.config, "max_abs_difference")?;
            let label = format!("{}, max_abs_difference", self.name);
            self.findings.close(&label, found, expected, DOUBLE);
        }
        Ok(())
    }

    /// Rows and samples of the input, which are as the case says.
    fn shape(&mut self) -> Result<(usize, usize), String> {
        let &[rows, len] = self.stored.shape("adc")? else {
            return Err("`adc`: expected [lead, time]".to_owned());
        };
        for (key, found) in [("leads", rows), ("n", len)] {
            if self.config.get(key).is_some() {
                let expected = index(self.config, key)?;
                self.findings
                    .exact(&format!("{}, {key}", self.name), found, expected);
            }
        }
        Ok((rows, len))
    }

    /// The input in millivolts; the case may say `ADC/1000 = mV`.
    fn millivolts(&self) -> Result<Vec<f64>, String> {
        let units = match self.config.get("gain") {
            None => UNITS_PER_MV,
            Some(_) => {
                let gain = text(self.config, "gain")?;
                let units = gain
                    .strip_prefix("ADC/")
                    .and_then(|rest| rest.split(' ').next());
                let units = units.and_then(|units| units.parse().ok());
                units.ok_or_else(|| format!("`gain` is `{gain}`: expected `ADC/N = mV`"))?
            }
        };
        let adc = self.stored.i64("adc")?;
        Ok(adc.into_iter().map(|value| value as f64 / units).collect())
    }

    /// The leads in the order that the case states as `I II III aVR aVF aVL V1..V6 (a remark)`, by default the first
    /// `count` in the usual order.
    fn leads(&self, key: &str, count: usize) -> Result<LeadSet, String> {
        if self.config.get(key).is_none() {
            let leads = Lead::STANDARD_12.get(..count);
            return Ok(LeadSet::new(leads.ok_or("more than twelve rows")?.to_vec()));
        }
        let stated = text(self.config, key)?;
        let names = stated.split('(').next().unwrap_or(stated).trim();
        names
            .replace("V1..V6", "V1 V2 V3 V4 V5 V6")
            .parse()
            .map_err(|e| format!("lead order `{stated}`: {e}"))
    }

    /// Compares with a tensor, if it is stored.
    fn close(&mut self, name: &str, found: &[f64], tolerance: Tolerance) -> Result<(), String> {
        if self.stored.has(name) {
            let expected = self.stored.f64(name)?;
            let label = format!("{}, {name}", self.name);
            self.findings.close_all(&label, found, &expected, tolerance);
        }
        Ok(())
    }

    /// The same with a tensor that holds the first values only.
    fn begins(&mut self, name: &str, found: &[f64], tolerance: Tolerance) -> Result<(), String> {
        if !self.stored.has(name) {
            return Ok(());
        }
        let len: usize = self.stored.shape(name)?.iter().product();
        self.close(name, found.get(..len).unwrap_or_default(), tolerance)
    }
}
