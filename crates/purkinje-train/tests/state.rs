//! State that forward passes of training hand back: stored after each batch, in checkpoints and folders, untouched by the
//! optimizer.

use burn::tensor::{Device, Tensor};
use purkinje_models::checkpoint::{NamedTensor, StateDict, read_safetensors, write_safetensors};
use purkinje_models::layers::{
    Activation, BatchNorm, BatchNormWeights, Context, Convolution, Weights, conv1d_batch_norm,
};
use purkinje_models::random::Stream;
use purkinje_train::optimizer::OptimizerConfig;
use purkinje_train::schedule::{Schedule, Span};
use purkinje_train::{Losses, Objective, RunFolder, TrainConfig, TrainError, Trained, train};

const BATCH: usize = 2;
const LENGTH: usize = 40;
const LEADS: usize = 3;
const CHANNELS: usize = 5;
const STATE: [&str; 3] = [
    "bn.running_mean",
    "bn.running_var",
    "bn.num_batches_tracked",
];

/// Makes the output of a convolution with batch normalisation small.
struct Small {
    /// The batch before which the run is interrupted.
    killed_at: Option<usize>,
}

impl Objective for Small {
    type Batch = Vec<f32>;

    fn name(&self) -> &str {
        "small"
    }

    fn steps_per_epoch(&self) -> usize {
        3
    }

    fn batch_size(&self) -> usize {
        BATCH
    }

    fn batch(&self, step: usize) -> Result<Vec<f32>, TrainError> {
        if Some(step) == self.killed_at {
            return Err(TrainError::Data("killed".into()));
        }
        let mut noise = Stream::new(7, "signals").at(step as u64);
        let count = BATCH * LENGTH * LEADS;
        Ok((0..count).map(|_| 1.0 + noise.normal() as f32).collect())
    }

    fn losses(&self, weights: &Weights, batch: &Vec<f32>, ctx: &Context) -> Losses {
        let x = Tensor::<1>::from_floats(batch.as_slice(), ctx.device());
        let y = conv1d_batch_norm(
            x.reshape([BATCH, LENGTH, LEADS]),
            weights.get("conv.weight"),
            None,
            Convolution::valid(2),
            &BatchNormWeights::of(weights, "bn"),
            BatchNorm::default(),
            Activation::Gelu,
            ctx,
        );
        Losses::new("small", y.square().mean())
    }

    fn dropout(&self) -> f32 {
        0.0
    }
}

fn weights() -> Weights {
    let device = Device::flex();
    let mut weights = Weights::default();
    let mut noise = Stream::new(1, "weights");
    let kernels = (0..CHANNELS * LEADS * 3).map(|_| noise.normal() as f32);
    let shape = [CHANNELS, LEADS, 3];
    weights.insert("conv.weight", &shape, kernels.collect(), &device);
    BatchNormWeights::insert(&mut weights, "bn", CHANNELS, &device);
    weights
}

fn config(accumulate: usize) -> TrainConfig {
    TrainConfig {
        epochs: 4,
        schedule: Schedule::cosine(1e-2, 1e-5, Span::Epochs(1)),
        accumulate,
        // State would shrink if it were decayed.
        optimizer: OptimizerConfig {
            decay_all: true,
            weight_decay: 0.5,
            ..OptimizerConfig::pretrain()
        },
        // After every step.
        checkpoint_every_s: 0,
        ..TrainConfig::default()
    }
}

fn run(
    dir: &tempfile::TempDir,
    resume: bool,
    accumulate: usize,
    killed_at: Option<usize>,
) -> Result<Trained, TrainError> {
    let folder = RunFolder {
        path: Some(dir.path().to_owned()),
        resume,
    };
    let objective = Small { killed_at };
    let device = Device::flex();
    train(
        &objective,
        weights(),
        &config(accumulate),
        &folder,
        &device,
        &mut (),
    )
}

fn checkpoint(dir: &tempfile::TempDir) -> Vec<u8> {
    std::fs::read(dir.path().join("checkpoint.safetensors")).unwrap()
}

#[test]
fn resumed_runs_end_with_the_same_bytes() {
    for (accumulate, kills) in [(1, [1, 5, 11]), (3, [2, 4, 9])] {
        let whole_dir = tempfile::tempdir().unwrap();
        let whole = run(&whole_dir, false, accumulate, None).unwrap().weights;
        for at in kills {
            let dir = tempfile::tempdir().unwrap();
            assert!(run(&dir, false, accumulate, Some(at)).is_err());
            let resumed = run(&dir, true, accumulate, None).unwrap().weights;
            assert_eq!(resumed.to_host(), whole.to_host(), "interrupted at {at}");
            assert_eq!((resumed.count(), resumed.state_count()), (55, 11));
            assert!(
                checkpoint(&dir) == checkpoint(&whole_dir),
                "interrupted at {at}"
            );
        }
    }
}

/// With accumulation every batch moves the running statistics, in the order of the batches.
#[test]
fn each_batch_moves_the_state_and_the_optimizer_does_not() {
    let dir = tempfile::tempdir().unwrap();
    // A rate of 0 keeps the parameters as they are: the statistics of all batches can be recomputed.
    let still = TrainConfig {
        schedule: Schedule::cosine(0.0, 0.0, Span::Epochs(1)),
        ..config(3)
    };
    let folder = RunFolder {
        path: Some(dir.path().to_owned()),
        resume: false,
    };
    let objective = Small { killed_at: None };
    let device = Device::flex();
    let trained = train(&objective, weights(), &still, &folder, &device, &mut ()).unwrap();
    let mut expected = weights();
    for step in 0..12 {
        let ctx = Context::training(&device, 0.0, 0);
        objective.losses(&expected, &objective.batch(step).unwrap(), &ctx);
        expected.store(ctx.take_handed_back()).unwrap();
    }
    assert_eq!(trained.weights.to_host(), expected.to_host());
    let batches = trained.weights.flat(STATE[2]).into_data();
    assert_eq!(batches.try_to_vec::<f32>().unwrap(), [12.0]);

    let file = checkpoint(&dir);
    let file = safetensors::SafeTensors::deserialize(&file).unwrap();
    for name in STATE {
        assert!(file.tensor(&format!("weights.{name}")).is_ok());
        assert!(file.tensor(&format!("exp_avg.{name}")).is_err());
    }
    assert!(file.tensor("exp_avg.bn.weight").is_ok());
}

#[test]
fn files_hold_state_and_the_network_says_what_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let trained = run(&dir, false, 1, None).unwrap().weights;
    let tensors: StateDict = trained
        .to_host()
        .into_iter()
        .map(|(name, shape, data)| (name, NamedTensor { shape, data }))
        .collect();
    let path = dir.path().join("model.safetensors");
    write_safetensors(&path, &tensors, &Default::default()).unwrap();
    let mut read = Weights::default();
    for (name, tensor) in read_safetensors(&path).unwrap().0 {
        read.insert(name, &tensor.shape, tensor.data, &Device::flex());
    }
    read.require(&BatchNormWeights::entries("bn", CHANNELS))
        .unwrap();
    let state = BatchNormWeights::state("bn");
    read.declare_state(state.iter().map(String::as_str))
        .unwrap();
    assert_eq!(read.to_host(), trained.to_host());
    assert_eq!(read.state_count(), trained.state_count());
}
