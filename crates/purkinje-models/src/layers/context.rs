//! The context of a forward pass: device, kernels, dropout.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use burn::backend::DispatchDevice;
use burn::tensor::{DType, Device, Distribution, Tensor};

use super::dropout::{DropoutMask, Site};
use super::weights::HandedBack;
use crate::random::Stream;

/// The settings and state of one forward pass.
///
/// Dropout sites are numbered in the order of execution; with the seed of the step this gives every site
/// its own stream, so a resumed run repeats an uninterrupted one.
#[derive(Clone, Debug)]
pub struct Context {
    device: Device,
    fused: bool,
    half: bool,
    training: bool,
    dropout: Cell<f32>,
    seed: u64,
    site: Cell<u64>,
    regulated: Rc<[f64]>,
    /// Recorded masks not used so far.
    masks: Option<Rc<RefCell<VecDeque<DropoutMask>>>>,
    trace: Option<Trace>,
    handed_back: Rc<RefCell<HandedBack>>,
    /// In front of the names of what is handed back.
    within: RefCell<String>,
}

/// Named intermediate values of a forward pass, row-major with their shapes.
pub type Trace = Rc<RefCell<BTreeMap<String, (Vec<usize>, Vec<f32>)>>>;

impl Context {
    /// No dropout.
    pub fn inference(device: &Device) -> Self {
        let fused = matches!(
            device.clone().inner().as_dispatch(),
            DispatchDevice::Flex(_)
        );
        Context {
            device: device.clone(),
            fused,
            half: false,
            training: false,
            dropout: Cell::new(0.0),
            seed: 0,
            site: Cell::new(0),
            regulated: Rc::new([]),
            masks: None,
            trace: None,
            handed_back: Rc::default(),
            within: RefCell::default(),
        }
    }

    /// Dropout with probability `dropout` where a network does not set its own, with masks from the stream of `seed`.
    pub fn training(device: &Device, dropout: f32, seed: u64) -> Self {
        Context {
            training: true,
            dropout: Cell::new(dropout),
            seed,
            ..Self::inference(device)
        }
    }

    /// With dropout probabilities that change in training, in an order defined by the network.
    pub fn with_regulated(self, dropouts: &[f64]) -> Self {
        Context {
            regulated: dropouts.into(),
            ..self
        }
    }

    /// Recorded masks in place of random ones, in the order in which dropout is applied: sites with probability 0 take
    /// none. Everything else of the pass is unchanged. A part of the network that may be dropped takes a mask of one
    /// value.
    ///
    /// Layers panic when the masks are used up or do not have the shape of what is dropped.
    pub fn with_dropout_masks(self, masks: impl IntoIterator<Item = DropoutMask>) -> Self {
        Context {
            masks: Some(Rc::new(RefCell::new(masks.into_iter().collect()))),
            ..self
        }
    }

    /// Number of recorded masks not used so far.
    pub fn masks_left(&self) -> usize {
        self.masks.as_ref().map_or(0, |masks| masks.borrow().len())
    }

    /// Dropout probabilities that change in training; empty if there are none.
    pub fn regulated(&self) -> &[f64] {
        &self.regulated
    }

    /// Plain tensor operations even where fused kernels exist: the reference that other devices run.
    pub fn composed(self) -> Self {
        Context {
            fused: false,
            ..self
        }
    }

    /// Matrix products in bfloat16 with float32 parameters, sums, normalisation and softmax. Only on devices that
    /// support it; the CPU kernels use float32.
    pub fn mixed_precision(self, on: bool) -> Self {
        Context {
            half: on && !self.fused,
            ..self
        }
    }

    /// Copies named intermediate values into `trace`, for parity checks and inspection.
    pub fn traced(self, trace: &Trace) -> Self {
        Context {
            trace: Some(Rc::clone(trace)),
            ..self
        }
    }

    /// Whether intermediate values are copied.
    pub(crate) fn records(&self) -> bool {
        self.trace.is_some()
    }

    pub(crate) fn record<const D: usize>(&self, name: &str, value: &Tensor<D>) {
        if let Some(trace) = &self.trace {
            let values = value
                .to_data()
                .convert::<f32>()
                .try_to_vec::<f32>()
                .unwrap_or_default();
            trace
                .borrow_mut()
                .insert(name.to_owned(), (value.dims().to_vec(), values));
        }
    }

    /// The same without dropout: for a part that does not learn while others do.
    #[must_use]
    pub fn evaluating(&self) -> Self {
        Context {
            fused: self.fused,
            half: self.half,
            trace: self.trace.clone(),
            ..Context::inference(&self.device)
        }
    }

    /// Runs `part` without recording operations for gradients.
    pub(crate) fn untracked<T>(&self, part: impl FnOnce(&Context) -> T) -> T {
        let inner = Context {
            device: self.device.clone().inner(),
            ..self.clone()
        };
        let result = part(&inner);
        self.site.set(inner.site.get());
        result
    }

    /// Runs `part`, a network whose names have `prefix` in front in the weights of the one it belongs to: so have those of what it
    /// hands back.
    pub(crate) fn naming<T>(&self, prefix: &str, part: impl FnOnce() -> T) -> T {
        let own = self.within.borrow().clone() + prefix;
        let outside = self.within.replace(own);
        let result = part();
        self.within.replace(outside);
        result
    }

    /// The device of the pass.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Whether operations are recorded for gradients.
    pub(crate) fn tracks(&self) -> bool {
        !matches!(self.device.as_dispatch(), DispatchDevice::Flex(_))
    }

    pub(crate) fn fused(&self) -> bool {
        self.fused
    }

    /// Whether this is a forward pass of training.
    pub fn trains(&self) -> bool {
        self.training
    }

    /// Returns the new value of the state `name` after this layer, outside of the graph. A layer that runs again in the
    /// same pass starts from its last value ([`Context::latest`]) and replaces it. Outside of training this does
    /// nothing.
    pub fn hand_back(&self, name: &str, value: Tensor<1>) {
        if !self.training {
            return;
        }
        let value = value.inner();
        let name = self.within.borrow().clone() + name;
        let mut all = self.handed_back.borrow_mut();
        match all.iter_mut().find(|(other, _)| *other == name) {
            Some((_, own)) => *own = value,
            None => all.push((name, value)),
        }
    }

    /// The value handed back under this name in this pass, if any.
    pub fn latest(&self, name: &str) -> Option<Tensor<1>> {
        let name = self.within.borrow().clone() + name;
        let all = self.handed_back.borrow();
        let own = all.iter().find(|(other, _)| *other == name);
        own.map(|(_, value)| value.clone())
    }

    /// Takes the values handed back by this pass, for [`Weights::store`](super::Weights::store).
    pub fn take_handed_back(&self) -> HandedBack {
        self.handed_back.take()
    }

    /// The next dropout site.
    pub(crate) fn next_dropout(&self) -> Site {
        let p = self.dropout.get();
        self.next_site(p)
    }

    fn next_site(&self, p: f32) -> Site {
        let site = self.site.get();
        self.site.set(site + 1);
        let recorded = self.masks.as_ref().filter(|_| p > 0.0).map(|masks| {
            let mask = masks.borrow_mut().pop_front();
            mask.unwrap_or_else(|| panic!("dropout is applied more often than masks were recorded"))
        });
        Site {
            p,
            key: self
                .seed
                .wrapping_add(site.wrapping_mul(0xd134_2543_de82_ef95)),
            recorded,
        }
    }

    /// Runs `part` with this dropout probability in training, without dropout otherwise.
    pub(crate) fn dropping<T>(&self, p: f32, part: impl FnOnce() -> T) -> T {
        let outside = self.dropout.replace(if self.training { p } else { 0.0 });
        let result = part();
        self.dropout.set(outside);
        result
    }

    /// Whether a part of the network is dropped in this pass, with probability `p` in training.
    pub(crate) fn skips(&self, p: f32) -> bool {
        if !self.training || p == 0.0 {
            return false;
        }
        let site = self.next_site(p);
        match site.recorded {
            Some(mask) => !mask.keep.iter().all(|keep| *keep),
            None => Stream::new(site.key, "skipped part").uniform() < f64::from(p),
        }
    }

    /// The composed form of a dropout site.
    pub(crate) fn drop_composed<const D: usize>(&self, x: Tensor<D>, site: &Site) -> Tensor<D> {
        if site.p == 0.0 {
            return x;
        }
        if site.recorded.is_some() {
            return site.drop_recorded(x, self);
        }
        let keep = f64::from(1.0 - site.p);
        self.device.seed(site.key);
        let mask = Tensor::<D>::random(x.shape(), Distribution::Bernoulli(keep), &self.device);
        x * mask.div_scalar(keep)
    }

    /// A matrix product in the precision of the pass.
    pub(crate) fn matmul<const D: usize>(&self, a: Tensor<D>, b: Tensor<D>) -> Tensor<D> {
        if self.half {
            a.cast(DType::BF16)
                .matmul(b.cast(DType::BF16))
                .cast(DType::F32)
        } else {
            a.matmul(b)
        }
    }
}
