//! The registry of published systems, with one line for each.

use std::marker::PhantomData;
use std::sync::Arc;

use purkinje_models::checkpoint::StateDict;
use purkinje_models::compat::Compat;
use purkinje_models::layers::Weights;
use purkinje_signal::Preprocess;
use serde_json::Value;

use crate::finetune::Finetunes;
use crate::import::{AnyImports, Imports};
use crate::learns::LearnsAny;
use crate::network::{Loaded, Network};
use crate::pretrain::{AnyPretrains, Pretrains};
use crate::system::{About, System};
use crate::systems::{Clear, Dbeta, Deri, Hubert, Merl};
use crate::{Device, Error, Result};

/// A system that implements all traits.
pub trait Complete: System + Finetunes + Pretrains + Imports {}

impl<S: System + Finetunes + Pretrains + Imports> Complete for S {}

/// A system as a trait object.
pub trait AnySystem: LearnsAny + AnyPretrains + AnyImports + Send + Sync {
    /// Its description.
    fn about(&self) -> &'static About;

    /// The preprocessing that its networks expect.
    ///
    /// # Errors
    /// When the system names an unknown preset.
    fn preprocess(&self) -> Result<Preprocess> {
        let preset = self.about().preset;
        Preprocess::preset(preset).map_err(|error| Error::invalid(error.to_string()))
    }

    /// A network with these weights: `config` and `head` as in `config.json`, the head with `outputs` outputs.
    ///
    /// # Errors
    /// When the configuration is invalid or weights are missing or have another shape.
    fn open(
        &self,
        config: Value,
        head: Option<Value>,
        outputs: usize,
        weights: Weights,
    ) -> Result<Arc<dyn Network>>;

    /// An encoder of a size, given by name, with random weights.
    ///
    /// # Errors
    /// When there is no such size.
    fn random(
        &self,
        size: &str,
        compat: Compat,
        seed: u64,
        device: &Device,
    ) -> Result<Arc<dyn Network>>;
}

/// A system's entry in a registry.
pub(crate) struct Entry<S>(PhantomData<fn() -> S>);

impl<S: Complete> AnySystem for Entry<S> {
    fn about(&self) -> &'static About {
        &S::ABOUT
    }

    fn open(
        &self,
        config: Value,
        head: Option<Value>,
        outputs: usize,
        weights: Weights,
    ) -> Result<Arc<dyn Network>> {
        let name = S::ABOUT.name;
        let wrong = |what: &str, problem: String| {
            Error::invalid(format!("`config.json`, field `{what}`: {problem}"))
        };
        let config: S::Config =
            serde_json::from_value(config).map_err(|error| wrong(name, error.to_string()))?;
        S::validate(&config).map_err(|problem| wrong(name, problem))?;
        let head: Option<S::Head> = head
            .map(serde_json::from_value)
            .transpose()
            .map_err(|error| wrong("head", error.to_string()))?;
        let encoder = S::encoder(config, weights)?;
        if let Some(head) = head {
            // The error names the missing parameter.
            S::classifier(encoder.clone(), head, outputs)?;
        }
        Ok(Arc::new(Loaded::<S> {
            encoder,
            head: head.map(|head| (head, outputs)),
        }))
    }

    fn random(
        &self,
        size: &str,
        compat: Compat,
        seed: u64,
        device: &Device,
    ) -> Result<Arc<dyn Network>> {
        let config = S::with_compat(sized::<S>(size)?, compat);
        Ok(Arc::new(Loaded::<S> {
            encoder: S::random(config, seed, device.inner()),
            head: None,
        }))
    }
}

/// The configuration of a size, given by name.
///
/// # Errors
/// When there is no such size; the message names those that exist.
pub fn sized<S: System>(size: &str) -> Result<S::Config> {
    S::size(size).ok_or_else(|| {
        let names: Vec<&str> = S::ABOUT.sizes.iter().map(|size| size.name).collect();
        Error::invalid(format!(
            "`--size` is {size}, expected one of {}",
            names.join(", ")
        ))
    })
}

/// The systems that a program knows.
#[derive(Clone)]
pub struct Registry {
    systems: Vec<Arc<dyn AnySystem>>,
}

impl Default for Registry {
    /// The published systems.
    fn default() -> Self {
        Registry::empty()
            .with::<Clear>()
            .with::<Hubert>()
            .with::<Dbeta>()
            .with::<Deri>()
            .with::<Merl>()
    }
}

impl Registry {
    /// A registry without systems.
    pub fn empty() -> Self {
        Registry {
            systems: Vec::new(),
        }
    }

    /// Adds a system.
    #[must_use]
    pub fn with<S: Complete>(mut self) -> Self {
        self.systems.push(Arc::new(Entry::<S>(PhantomData)));
        self
    }

    /// All systems.
    pub fn systems(&self) -> impl ExactSizeIterator<Item = &dyn AnySystem> {
        self.systems.iter().map(|system| &**system)
    }

    /// The system of this name.
    pub fn named(&self, name: &str) -> Option<&dyn AnySystem> {
        self.systems().find(|system| system.about().name == name)
    }

    /// The system of this name.
    ///
    /// # Errors
    /// When there is none; the message names those that exist.
    pub fn get(&self, name: &str) -> Result<&dyn AnySystem> {
        self.named(name).ok_or_else(|| {
            let known = self.names().join(", ");
            Error::invalid(format!("unknown system `{name}`: expected one of {known}"))
        })
    }

    /// The names of all systems.
    pub fn names(&self) -> Vec<&'static str> {
        self.systems().map(|system| system.about().name).collect()
    }

    /// The error for a capability that a system does not have; names the systems for which `can` holds.
    pub fn unsupported(
        &self,
        capability: impl Into<String>,
        system: &About,
        can: impl Fn(&About) -> bool,
    ) -> Error {
        Error::Unsupported {
            capability: capability.into(),
            system: system.title.to_owned(),
            able: self
                .systems()
                .map(|system| system.about())
                .filter(|about| can(about))
                .map(|about| about.title.to_owned())
                .collect(),
        }
    }

    /// The system that these tensors of an encoder belong to.
    ///
    /// # Errors
    /// When no system knows one of their names.
    pub fn recognise(&self, found: &StateDict) -> Result<&dyn AnySystem> {
        let known = |system: &&dyn AnySystem| found.names().any(|name| system.recognises(name));
        self.systems().find(known).ok_or_else(|| {
            Error::invalid(format!(
                "found {} tensors (the first is `{}`), none of which belongs to an encoder of {}",
                found.len(),
                found.names().next().unwrap_or_default(),
                self.names().join(" or ")
            ))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use purkinje_models::checkpoint::NamedTensor;

    #[test]
    fn systems_are_known_by_name_and_by_their_tensors() {
        let registry = Registry::default();
        let device = Device::cpu();
        for system in registry.systems() {
            let name = system.about().name;
            assert!(registry.named(name).is_some());
            let size = system.about().sizes[0].name;
            let network = system.random(size, Compat::Paper, 0, &device).unwrap();
            let known = registry.recognise(&network.published()).unwrap();
            assert_eq!(known.about().name, name);
        }
        let tensor = NamedTensor {
            shape: vec![],
            data: vec![0.0],
        };
        let other = [("conv1.weight".to_owned(), tensor)].into_iter().collect();
        let error = registry.recognise(&other).err().map(|e| e.to_string());
        assert!(error.is_some_and(|e| e.contains("conv1.weight")));
    }
}
