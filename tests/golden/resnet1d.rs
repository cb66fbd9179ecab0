//! A residual network of the layers, in evaluation and training: convolutions with batch normalisation, running
//! statistics, gradients.

use burn::tensor::{Device, Tensor};
use purkinje_models::checkpoint;
use purkinje_models::layers::{BatchNorm, Context, ResNetConfig, Trace, Weights};
use serde_json::Value;

use crate::Check;
use crate::batches;
use crate::compare::{Findings, Tolerance};
use crate::walk::{Case, Tensors};

/// The kinds checked here.
pub const CHECKS: &[(&str, Check)] = &[("resnet1d", resnet1d)];

/// Relative to the largest entry of each tensor. What is stored departs from double precision by up to 6e-6.
const ACTIVATIONS: Tolerance = Tolerance::relative(3e-5);
const GRADIENTS: Tolerance = Tolerance::relative(1e-4);
const STATISTICS: Tolerance = Tolerance::relative(1e-6);

/// A network of the case's sizes.
struct ResNet {
    config: ResNetConfig,
    norm: BatchNorm,
    weights: Weights,
}

impl ResNet {
    fn of_case(config: &Value, weights: Weights) -> Result<Self, String> {
        let bottleneck = match config["block"].as_str() {
            Some("BasicBlock") => false,
            Some("Bottleneck") => true,
            other => return Err(format!("config.json: `block` is {other:?}")),
        };
        let number = |key: &str| {
            let value = config["bn"][key].as_f64();
            value.ok_or_else(|| format!("config.json: no number `bn.{key}`"))
        };
        let norm = BatchNorm {
            eps: number("eps")? as f32,
            momentum: number("momentum")?,
            frozen: false,
        };
        let leads = config["in_leads"]
            .as_u64()
            .ok_or("config.json: no `in_leads`")?;
        let config = ResNetConfig {
            leads: leads as usize,
            widths: whole_numbers(&config["widths"], "widths")?,
            blocks: whole_numbers(&config["num_blocks"], "num_blocks")?,
            bottleneck,
        };
        Self::new(config, norm, weights)
    }

    fn new(config: ResNetConfig, norm: BatchNorm, mut weights: Weights) -> Result<Self, String> {
        config.require(&weights, "").map_err(|e| e.to_string())?;
        let state = config.state("");
        let state = weights.declare_state(state.iter().map(String::as_str));
        state.map_err(|e| e.to_string())?;
        Ok(ResNet {
            config,
            norm,
            weights,
        })
    }

    fn with_weights(&self, weights: Weights) -> Self {
        ResNet {
            config: self.config.clone(),
            weights,
            ..*self
        }
    }

    /// The output; `x` `[batch, time, leads]`.
    fn forward(&self, x: Tensor<3>, ctx: &Context) -> Tensor<3> {
        self.config.run(x, &self.weights, "", self.norm, ctx)
    }
}

/// Compares stem and stages, as a pass recorded them, and forgets them.
fn stages(
    findings: &mut Findings,
    io: &Tensors,
    prefix: &str,
    trace: &Trace,
) -> Result<(), String> {
    for (name, (shape, values)) in std::mem::take(&mut *trace.borrow_mut()) {
        let x = Tensor::<1>::from_floats(values.as_slice(), &Device::flex());
        let [batch, time, channels] = shape[..] else {
            return Err(format!("{name} has the shape {shape:?}"));
        };
        let x = x.reshape([batch, time, channels]);
        close(findings, io, &format!("{prefix}.{name}"), x, ACTIVATIONS)?;
    }
    Ok(())
}

fn resnet1d(case: &Case, findings: &mut Findings) -> Result<(), String> {
    let (config, io) = (case.json("config.json")?, case.tensors("io.safetensors")?);
    let network = ResNet::of_case(&config, weights(case, findings)?)?;
    let device = Device::flex();
    let [batch, leads, time] = io.shape("x")?[..] else {
        return Err("`x` has other than three dimensions".to_owned());
    };
    let x = Tensor::<1>::from_floats(io.f32("x")?, &device).reshape([batch, leads, time]);
    let x = x.swap_dims(1, 2);
    for fused in [true, false] {
        let with = |ctx: Context| if fused { ctx } else { ctx.composed() };
        let trace = Trace::default();
        let ctx = with(Context::inference(&device)).traced(&trace);
        let out = network.forward(x.clone(), &ctx);
        stages(findings, &io, "eval", &trace)?;
        close(findings, &io, "eval.out", out, ACTIVATIONS)?;
        train(findings, &io, &network, x.clone(), &with)?;
    }
    let host = |x: Tensor<3>| x.into_data().try_to_vec::<f32>().map_err(debug);
    let sequences = host(x)?;
    batches::agree(findings, "output", batch, |places| {
        let size = time * leads;
        let own = places.iter().flat_map(|r| &sequences[r * size..][..size]);
        let own: Vec<f32> = own.copied().collect();
        let x = Tensor::<1>::from_floats(own.as_slice(), &device);
        let x = x.reshape([places.len(), time, leads]);
        host(network.forward(x, &Context::inference(&device)))
    })
}

/// One pass of training with its gradients, the running statistics after it, and what they make of an evaluation.
fn train(
    findings: &mut Findings,
    io: &Tensors,
    network: &ResNet,
    x: Tensor<3>,
    with: &impl Fn(Context) -> Context,
) -> Result<(), String> {
    let device = Device::flex();
    let graph = device.clone().autodiff();
    let tracked = network.weights.tracked(|_| true);
    let input = Tensor::from_inner(x.clone()).require_grad();
    let trace = Trace::default();
    let ctx = with(Context::training(&graph, 0.0, 0)).traced(&trace);
    let out = network
        .with_weights(tracked.clone())
        .forward(input.clone(), &ctx);
    stages(findings, io, "train", &trace)?;
    close(findings, io, "train.out", out.clone(), ACTIVATIONS)?;
    let [batch, time, channels] = out.dims();
    let along = Tensor::<1>::from_floats(io.f32("train.grad_out")?, &graph);
    let along = along.reshape([batch, channels, time]).swap_dims(1, 2);
    let gradients = (out * along).sum().backward();
    let found = input.grad(&gradients).ok_or("no gradient of the input")?;
    close(findings, io, "train.grad.x", found, GRADIENTS)?;
    for p in tracked.iter() {
        let (name, found) = (format!("train.grad.{}", p.name), p.value.grad(&gradients));
        match (io.has(&name), found) {
            (true, Some(found)) => flat(findings, io, &name, found, GRADIENTS)?,
            (false, None) => {}
            (stored, _) => findings.fail(format!("{name}: stored {stored}, found {}", !stored)),
        }
    }
    let mut after = network.weights.clone();
    after
        .store(ctx.take_handed_back())
        .map_err(|e| e.to_string())?;
    for p in after.iter().filter(|p| p.state) {
        let name = format!("train.after.{}", p.name);
        if p.name.ends_with("num_batches_tracked") {
            let found = p.value.to_data().try_to_vec::<f32>().map_err(debug)?;
            let found: Vec<i64> = found.iter().map(|n| *n as i64).collect();
            findings.exact_all(&name, &found, &io.i64(&name)?);
        } else {
            flat(findings, io, &name, p.value.clone(), STATISTICS)?;
        }
    }
    let ctx = with(Context::inference(&device));
    let out = network.with_weights(after).forward(x, &ctx);
    close(findings, io, "eval_after.out", out, ACTIVATIONS)
}

fn whole_numbers(list: &Value, name: &str) -> Result<Vec<usize>, String> {
    let list = list.as_array().map(|list| list.iter());
    let list = list.ok_or_else(|| format!("config.json: no list `{name}`"))?;
    let numbers: Option<_> = list.map(|n| n.as_u64().map(|n| n as usize)).collect();
    numbers.ok_or_else(|| format!("config.json: `{name}` holds other than whole numbers"))
}

/// The stored weights; those of the checkpoint are the same to the bit.
fn weights(case: &Case, findings: &mut Findings) -> Result<Weights, String> {
    let stored = case.tensors("weights.safetensors")?;
    let names: Vec<String> = stored.names().map(str::to_owned).collect();
    let numbers = |name: &str| match stored.f32(name) {
        Ok(values) => Ok(values.to_vec()),
        Err(_) => stored
            .i64(name)
            .map(|all| all.iter().map(|v| *v as f32).collect()),
    };
    let mut weights = Weights::default();
    for name in &names {
        weights.insert(
            name.as_str(),
            stored.shape(name)?,
            numbers(name)?,
            &Device::flex(),
        );
    }
    if case.has("encoder.pth") {
        let read = checkpoint::read_pth(&case.path("encoder.pth")).map_err(|e| e.to_string())?;
        let mut found: Vec<&str> = read.model.names().collect();
        found.sort_unstable();
        findings.exact_all(
            "names in encoder.pth",
            &found,
            &names.iter().map(String::as_str).collect::<Vec<_>>(),
        );
        for (name, tensor) in read.model.iter().filter(|(name, _)| stored.has(name)) {
            findings.exact_all(
                &format!("shape of {name}"),
                &tensor.shape,
                stored.shape(name)?,
            );
            findings.exact_all(name, &tensor.data, &numbers(name)?);
        }
    }
    Ok(weights)
}

/// Compares `[batch, time, channels]` with a stored `[batch, channels, time]`, if the case has it.
fn close(
    findings: &mut Findings,
    io: &Tensors,
    name: &str,
    found: Tensor<3>,
    tolerance: Tolerance,
) -> Result<(), String> {
    if !io.has(name) {
        return Ok(());
    }
    let found = found.swap_dims(1, 2);
    findings.exact_all(&format!("shape of {name}"), &found.dims(), io.shape(name)?);
    flat(findings, io, name, found.flatten(0, 2), tolerance)
}

fn flat(
    findings: &mut Findings,
    io: &Tensors,
    name: &str,
    found: Tensor<1>,
    tolerance: Tolerance,
) -> Result<(), String> {
    let found = found
        .inner()
        .into_data()
        .try_to_vec::<f32>()
        .map_err(debug)?;
    let found: Vec<f64> = found.iter().map(|v| f64::from(*v)).collect();
    findings.close_all(name, &found, &io.f64(name)?, tolerance);
    Ok(())
}

fn debug(problem: impl std::fmt::Debug) -> String {
    format!("{problem:?}")
}
