//! Where to compute.

use std::fmt;
use std::str::FromStr;

use burn::tensor::Device;
use miette::{Result, miette};

/// A device by name: `cpu`, `cuda`, `cuda:1`, `vulkan`, `metal`, `webgpu`, `rocm`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceName {
    kind: String,
    index: usize,
}

impl Default for DeviceName {
    fn default() -> Self {
        DeviceName {
            kind: "cpu".into(),
            index: 0,
        }
    }
}

const KINDS: [&str; 6] = ["cpu", "cuda", "rocm", "vulkan", "metal", "webgpu"];

impl FromStr for DeviceName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (kind, index) = text.split_once(':').unwrap_or((text, "0"));
        if !KINDS.contains(&kind) {
            return Err(format!("expected one of {}", KINDS.join(", ")));
        }
        let index = index
            .parse()
            .map_err(|_| format!("`{index}` is no device number"))?;
        Ok(DeviceName {
            kind: kind.into(),
            index,
        })
    }
}

impl fmt::Display for DeviceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.index {
            0 => f.write_str(&self.kind),
            index => write!(f, "{}:{index}", self.kind),
        }
    }
}

impl DeviceName {
    /// The device, where this program was built with it.
    pub fn open(&self) -> Result<Device> {
        match self.kind.as_str() {
            "cpu" => Ok(Device::flex()),
            #[cfg(feature = "cuda")]
            "cuda" => Ok(Device::cuda(self.index)),
            #[cfg(feature = "rocm")]
            "rocm" => Ok(Device::rocm(self.index)),
            #[cfg(feature = "vulkan")]
            "vulkan" => Ok(Device::vulkan(burn::tensor::DeviceKind::default())),
            #[cfg(feature = "metal")]
            "metal" => Ok(Device::metal(burn::tensor::DeviceKind::default())),
            #[cfg(feature = "webgpu")]
            "webgpu" => Ok(Device::webgpu(burn::tensor::DeviceKind::default())),
            kind => Err(miette!(
                help =
                    "build with `cargo build --release --features <device>`; see docs/devices.md",
                "--device {self}: this program was built without `{kind}`"
            )),
        }
    }
}
