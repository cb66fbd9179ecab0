//! Compute devices.

use std::fmt;
use std::str::FromStr;

/// A compute device: `cpu`, and `cuda`, `cuda:1`, `rocm`, `vulkan`, `metal` or `webgpu` where the library was built
/// with them.
#[derive(Clone, Debug)]
pub struct Device {
    kind: &'static str,
    index: usize,
    inner: burn::tensor::Device,
}

const KINDS: [&str; 6] = ["cpu", "cuda", "rocm", "vulkan", "metal", "webgpu"];

impl Device {
    /// The CPU.
    pub fn cpu() -> Self {
        Device {
            kind: "cpu",
            index: 0,
            inner: burn::tensor::Device::flex(),
        }
    }

    /// The device of the tensor library.
    pub fn inner(&self) -> &burn::tensor::Device {
        &self.inner
    }
}

impl Default for Device {
    fn default() -> Self {
        Device::cpu()
    }
}

impl PartialEq for Device {
    fn eq(&self, other: &Self) -> bool {
        (self.kind, self.index) == (other.kind, other.index)
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.index {
            0 => f.write_str(self.kind),
            index => write!(f, "{}:{index}", self.kind),
        }
    }
}

/// Why a device cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeviceError {
    /// An unknown name.
    #[error(
        "unknown device `{0}`: expected cpu, cuda, rocm, vulkan, metal or webgpu, with a number after a colon to choose one of several (`cuda:1`)"
    )]
    Unknown(String),
    /// A kind of device that this build does not include.
    #[error(
        "this build has no support for `{0}`; build again with the feature of that name, see docs/devices.md"
    )]
    NotBuilt(&'static str),
}

impl FromStr for Device {
    type Err = DeviceError;

    fn from_str(text: &str) -> Result<Self, DeviceError> {
        let unknown = || DeviceError::Unknown(text.to_owned());
        let (kind, index) = text.split_once(':').unwrap_or((text, "0"));
        let kind = KINDS.into_iter().find(|known| *known == kind);
        let kind = kind.ok_or_else(unknown)?;
        let index: usize = index.parse().map_err(|_| unknown())?;
        let inner = match kind {
            "cpu" => burn::tensor::Device::flex(),
            #[cfg(feature = "cuda")]
            "cuda" => burn::tensor::Device::cuda(index),
            #[cfg(feature = "rocm")]
            "rocm" => burn::tensor::Device::rocm(index),
            #[cfg(feature = "vulkan")]
            "vulkan" => burn::tensor::Device::vulkan(burn::tensor::DeviceKind::default()),
            #[cfg(feature = "metal")]
            "metal" => burn::tensor::Device::metal(burn::tensor::DeviceKind::default()),
            #[cfg(feature = "webgpu")]
            "webgpu" => burn::tensor::Device::webgpu(burn::tensor::DeviceKind::default()),
            kind => return Err(DeviceError::NotBuilt(kind)),
        };
        Ok(Device { kind, index, inner })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back() {
        let cpu: Device = "cpu".parse().unwrap();
        assert_eq!((cpu.to_string().as_str(), &cpu), ("cpu", &Device::cpu()));
        assert!(
            "tpu"
                .parse::<Device>()
                .unwrap_err()
                .to_string()
                .contains("cuda")
        );
        assert!("cpu:x".parse::<Device>().is_err());
        #[cfg(not(feature = "cuda"))]
        assert_eq!(
            "cuda:1".parse::<Device>(),
            Err(DeviceError::NotBuilt("cuda"))
        );
    }
}
