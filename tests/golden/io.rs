//! The tensors of a case's one file, with an eye on those that no check looks at.

use std::collections::BTreeSet;

use crate::compare::{Findings, Tolerance};
use crate::walk::{Case, Tensors};

/// The tensors of a case, and which of them were looked at.
pub struct Io {
    stored: Tensors,
    seen: BTreeSet<String>,
}

impl Io {
    /// Reads `io.safetensors` of a case.
    pub fn open(case: &Case) -> Result<Self, String> {
        Ok(Io {
            stored: case.tensors("io.safetensors")?,
            seen: BTreeSet::new(),
        })
    }

    /// Whether there is a tensor of this name.
    pub fn has(&self, name: &str) -> bool {
        self.stored.has(name)
    }

    /// Its dimensions.
    pub fn shape(&self, name: &str) -> Result<Vec<usize>, String> {
        Ok(self.stored.shape(name)?.to_vec())
    }

    /// A float tensor, noted as looked at.
    pub fn f64(&mut self, name: &str) -> Result<Vec<f64>, String> {
        self.seen.insert(name.to_owned());
        self.stored.f64(name)
    }

    /// An integer tensor, noted as looked at.
    pub fn i64(&mut self, name: &str) -> Result<Vec<i64>, String> {
        self.seen.insert(name.to_owned());
        self.stored.i64(name)
    }

    /// Compares with a float tensor.
    pub fn close(
        &mut self,
        findings: &mut Findings,
        name: &str,
        found: &[f64],
        tolerance: Tolerance,
    ) -> Result<(), String> {
        let expected = self.f64(name)?;
        findings.close_all(name, found, &expected, tolerance);
        Ok(())
    }

    /// Names `prefix.x.suffix`, the `x` of each.
    pub fn between(&self, prefix: &str, suffix: &str) -> Vec<String> {
        self.stored
            .names()
            .filter_map(|name| name.strip_prefix(prefix)?.strip_suffix(suffix))
            .map(str::to_owned)
            .collect()
    }

    /// A tensor nobody looked at would be a check that silently does not happen.
    pub fn finish(self, findings: &mut Findings) {
        for name in self
            .stored
            .names()
            .filter(|name| !self.seen.contains(*name))
        {
            findings.fail(format!(
                "tensor `{name}` is not known, so nothing checked it"
            ));
        }
    }
}
