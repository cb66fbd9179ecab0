//! Learning rates and updates of D-BETA and DERI: kinds `optim`, `schedules`; of `linear_probe` the updates of
//! the head from given gradients.

use burn::tensor::{Device, Tensor};
use purkinje_models::layers::Weights;
use purkinje_train::optimizer::{Epsilon, Optimizer, OptimizerConfig, WeightDecay};
use purkinje_train::{Decay, Learning, Schedule, Span};
use serde_json::Value;

use crate::Check;
use crate::compare::{Findings, Tolerance};
use crate::io::Io;
use crate::walk::{Case, Tensors};

/// The kinds of D-BETA checked here.
pub const D_BETA: &[(&str, Check)] = &[("optim", optim)];
/// Those of DERI.
pub const DERI: &[(&str, Check)] = &[("schedules", schedules)];

/// Rates are computed in double precision.
const RATES: Tolerance = Tolerance::relative(1e-12);
/// Single precision of values around 2, over six updates.
const AROUND_TWO: Tolerance = Tolerance::absolute(1e-6);
/// Single precision of values below 1, over four updates: decoupled decay is eight times as far away.
const BELOW_ONE: Tolerance = Tolerance::absolute(5e-7);
/// What DERI's rates fall to, which no case says.
const FLOOR: f64 = 1e-8;

fn number(value: &Value, key: &str) -> Result<f64, String> {
    let found = value[key].as_f64();
    found.ok_or_else(|| format!("config.json: no number `{key}`"))
}

fn numbers(value: &Value, key: &str) -> Result<Vec<f64>, String> {
    let list = value[key].as_array();
    let list = list.ok_or_else(|| format!("config.json: no list `{key}`"))?;
    let each = list.iter().map(Value::as_f64);
    each.collect::<Option<_>>()
        .ok_or_else(|| format!("config.json: `{key}` holds more than numbers"))
}

/// Parameters under an optimizer that is given gradients.
struct Updates {
    device: Device,
    weights: Weights,
    optimizer: Optimizer,
}

impl Updates {
    fn new(
        stored: &Tensors,
        names: &[(&str, &str)],
        config: OptimizerConfig,
    ) -> Result<Self, String> {
        let device = Device::flex();
        let mut weights = Weights::default();
        for (name, tensor) in names {
            let values = stored.f32(tensor)?.to_vec();
            weights.insert(*name, stored.shape(tensor)?, values, &device);
        }
        let optimizer = Optimizer::new(&weights, |_| Some(Learning::default()), config);
        Ok(Updates {
            device,
            weights,
            optimizer,
        })
    }

    /// One update from the gradients that `gradient` names for each parameter.
    fn update(
        &mut self,
        stored: &Tensors,
        gradient: impl Fn(&str) -> String,
        lr: f64,
    ) -> Result<(), String> {
        let graph = self.device.clone().autodiff();
        let tracked = self.weights.tracked(|_| true);
        let mut sum: Option<Tensor<1>> = None;
        for parameter in tracked.iter() {
            // The gradient of a product is the other factor.
            let factor = stored.f32(&gradient(&parameter.name))?;
            let factor = Tensor::<1>::from_floats(factor, &graph);
            let product = (parameter.value.clone() * factor).sum();
            sum = Some(match sum {
                None => product,
                Some(sum) => sum + product,
            });
        }
        let sum = sum.ok_or("no parameters")?;
        let gradients = sum.backward();
        self.optimizer
            .step(&mut self.weights, &tracked, gradients, lr);
        Ok(())
    }

    fn compare(
        &self,
        findings: &mut Findings,
        stored: &Tensors,
        expected: impl Fn(&str) -> String,
        tolerance: Tolerance,
    ) -> Result<(), String> {
        for (name, _, values) in self.weights.to_host() {
            let label = expected(&name);
            let found: Vec<f64> = values.iter().map(|v| f64::from(*v)).collect();
            findings.close_all(&label, &found, &stored.f64(&label)?, tolerance);
        }
        Ok(())
    }
}

/// Three stages, and the framework's Adam.
fn optim(case: &Case, findings: &mut Findings) -> Result<(), String> {
    let config = case.json("config.json")?;
    let stored = case.tensors("io.safetensors")?;
    let phases = numbers(&config, "phase_ratio")?;
    let [warmup, hold, fall] = phases[..] else {
        return Err(format!("config.json: {} phases", phases.len()));
    };
    let schedule = Schedule {
        lr: number(&config, "peak_lr")?,
        warmup: Span::Fraction(warmup),
        decay: Decay::ThreeStage {
            hold: Span::Fraction(hold),
            fall: Span::Fraction(fall),
            start_scale: number(&config, "init_lr_scale")?,
            end_scale: number(&config, "final_lr_scale")?,
        },
    };
    let updates = number(&config, "max_update")? as usize;
    let rates = schedule.rates(updates, 1).map_err(|e| e.to_string())?;
    let expected = stored.f64("lr_per_update")?;
    let found: Vec<f64> = (0..expected.len()).map(|update| rates.at(update)).collect();
    findings.close_all("lr_per_update", &found, &expected, RATES);

    let betas = numbers(&config, "betas")?;
    let [beta1, beta2] = betas[..] else {
        return Err(format!("config.json: {} betas", betas.len()));
    };
    let optimizer = OptimizerConfig {
        beta1,
        beta2,
        eps: number(&config, "eps")?,
        epsilon: Epsilon::BeforeCorrection,
        weight_decay: number(&config, "weight_decay")?,
        decay: WeightDecay::Decoupled,
        clip_norm: None,
        decay_all: true,
    };
    let mut run = Updates::new(&stored, &[("p", "p0"), ("q", "q0")], optimizer)?;
    for update in (0..).take_while(|k| stored.has(&format!("grad_p_{k}"))) {
        run.update(
            &stored,
            |name| format!("grad_{name}_{update}"),
            rates.at(update),
        )?;
        let after = |name: &str| format!("{name}_after_{update}");
        run.compare(findings, &stored, after, AROUND_TWO)?;
    }
    Ok(())
}

/// Warm restarts, and milestones that count the ends of epochs.
fn schedules(case: &Case, findings: &mut Findings) -> Result<(), String> {
    let config = case.json("config.json")?;
    let mut io = Io::open(case)?;
    for name in io.between("", ".step") {
        let (steps, label) = (io.i64(&format!("{name}.step"))?, format!("{name}.lr_f64"));
        let expected = io.f64(&label)?;
        let (first, last) = (expected.first(), steps.last());
        let (Some(&lr), Some(&last)) = (first, last) else {
            return Err(format!("`{name}` has no steps"));
        };
        // The rate is highest again where it restarts.
        let mut later = steps.iter().zip(&expected).skip(1);
        let period = later.find(|(_, rate)| **rate == lr).map(|(step, _)| *step);
        let schedule = Schedule {
            decay: Decay::Restarts {
                end: FLOOR,
                period: Span::Updates(period.ok_or("no restart")? as usize),
            },
            ..Schedule::constant(lr)
        };
        let rates = schedule.rates(last as usize + 1, 1);
        let rates = rates.map_err(|e| e.to_string())?;
        let found: Vec<f64> = steps.iter().map(|step| rates.at(*step as usize)).collect();
        findings.close_all(&label, &found, &expected, RATES);
    }
    if io.has("probe.lr_f64") {
        let probe = &config["probe"];
        let expected = io.f64("probe.lr_f64")?;
        let (Some(&lr), Some(&last)) = (expected.first(), expected.last()) else {
            return Err("`probe.lr_f64` is empty".into());
        };
        let schedule = Schedule {
            decay: Decay::Milestones {
                at: vec![Span::Updates(number(probe, "milestone")? as usize)],
                factor: last / lr,
                epoch_ends_count: true,
            },
            ..Schedule::constant(lr)
        };
        let per_epoch = number(probe, "steps_per_epoch")? as usize;
        let rates = schedule.rates(expected.len(), per_epoch);
        let rates = rates.map_err(|e| e.to_string())?;
        let found: Vec<f64> = (0..expected.len()).map(|step| rates.at(step)).collect();
        findings.close_all("probe.lr_f64", &found, &expected, RATES);
    }
    io.finish(findings);
    Ok(())
}

/// Adam with L2 decay on the head, at rates of a milestone.
pub fn linear_probe(case: &Case, findings: &mut Findings) -> Result<(), String> {
    let config = case.json("config.json")?;
    let (stored, start) = (
        case.tensors("io.safetensors")?,
        case.tensors("weights.safetensors")?,
    );
    let (optimizer, scheduler) = (&config["optimizer"], &config["scheduler"]);
    let lr = number(optimizer, "lr")?;
    let milestones = numbers(scheduler, "milestones_in_steps")?;
    let schedule = Schedule {
        decay: Decay::Milestones {
            at: milestones
                .iter()
                .map(|m| Span::Updates(*m as usize))
                .collect(),
            factor: number(scheduler, "gamma")?,
            epoch_ends_count: false,
        },
        ..Schedule::constant(lr)
    };
    let expected = stored.f64("lr_used_f64")?;
    let rates = schedule.rates(expected.len(), 1);
    let rates = rates.map_err(|e| e.to_string())?;
    let found: Vec<f64> = (0..expected.len()).map(|step| rates.at(step)).collect();
    findings.close_all("lr_used_f64", &found, &expected, RATES);

    let betas = numbers(optimizer, "betas")?;
    let [beta1, beta2] = betas[..] else {
        return Err(format!("config.json: {} betas", betas.len()));
    };
    let adam = OptimizerConfig {
        beta1,
        beta2,
        eps: number(optimizer, "eps")?,
        epsilon: Epsilon::AfterCorrection,
        weight_decay: number(optimizer, "weight_decay")?,
        decay: WeightDecay::L2,
        clip_norm: None,
        decay_all: true,
    };
    let names = ["head.weight", "head.bias"].map(|name| (name, name));
    let mut run = Updates::new(&start, &names, adam)?;
    for step in 0..expected.len() {
        run.update(
            &stored,
            |name| format!("step{step}.grad.{name}"),
            rates.at(step),
        )?;
        let after = |name: &str| format!("step{step}.{name}");
        run.compare(findings, &stored, after, BELOW_ONE)?;
    }
    Ok(())
}
