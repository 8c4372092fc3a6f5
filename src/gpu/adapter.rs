//! GPU adapters: listing and choosing.

use std::fmt;

use crate::base::hint::{Hint, message};
use crate::base::shape::Layout;
use crate::base::suggest;
use crate::compiler::plan::Limits;
use crate::compiler::program::Program;
use crate::compiler::variants::Class;
use crate::{Error, Result};

/// An adapter, as `sff devices` prints it.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Adapter {
    /// Position in the list; `--device` accepts it.
    pub index: usize,
    /// The device's name; `--device` accepts any part of it.
    pub name: String,
    /// `vulkan`, `metal` or `dx12`.
    pub backend: String,
    /// `discrete`, `integrated`, `virtual`, `cpu` or `other`.
    pub kind: &'static str,
    /// Driver and its version.
    pub driver: String,
    /// Largest buffer, bytes.
    pub max_buffer_size: u64,
    /// Largest binding of a storage buffer, bytes.
    pub max_binding_size: u64,
    /// Bytes of workgroup memory.
    pub workgroup_memory: u32,
    /// Invocations per workgroup.
    pub max_invocations: u32,
    /// Invocations of a subgroup, if there are subgroups of one size.
    pub subgroup: Option<u32>,
    /// Side of the cooperative matrices of float16 with float32 accumulators: 8 or 16. Queried only
    /// for an opened device, because the query crashes one driver.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub matrices: Option<u32>,
    /// Optional features that kernels use.
    pub features: Vec<&'static str>,
}

impl Adapter {
    /// The class that decides the default tiles.
    pub fn class(&self) -> Class {
        match self.kind {
            // Its compiler takes minutes for register tiles.
            "cpu" if self.driver.starts_with("SwiftShader") => Class::SlowCompiler,
            "cpu" => Class::Cpu,
            "discrete" | "virtual" if self.backend != "metal" => Class::Discrete,
            _ => Class::Integrated,
        }
    }

    /// Checks that the device supports the number formats of a program.
    ///
    /// # Errors
    /// [`Error::Adapter`].
    pub fn can_compute(&self, program: &Program) -> Result<()> {
        let half = program.tensors().iter().any(|t| t.layout == Layout::Half);
        if half && !self.features.contains(&"f16") {
            return Err(Error::Adapter(message![
                format!("{} cannot compute with float16; use ", self.name),
                Hint::set("precision", "f32"),
                ", or another ",
                Hint::Option("device"),
            ]));
        }
        Ok(())
    }

    /// Total loop iterations of an invocation: Mesa's software driver silently ends loops after
    /// 65,535.
    pub fn max_steps(&self) -> usize {
        if self.driver.starts_with("llvmpipe") { 65_000 } else { usize::MAX }
    }

    /// The device's limits for a plan.
    pub fn limits(&self) -> Limits {
        let bytes = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
        Limits {
            max_buffer: bytes(self.max_buffer_size),
            max_binding: bytes(self.max_binding_size),
        }
    }

    /// Records limits and features.
    pub(super) fn take(&mut self, limits: &wgpu::Limits, features: wgpu::Features) {
        let known = [
            (wgpu::Features::SHADER_F16, "f16"),
            (wgpu::Features::SUBGROUP, "subgroups"),
            (wgpu::Features::TIMESTAMP_QUERY, "timestamps"),
            (wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX, "cooperative matrix"),
        ];
        self.max_buffer_size = limits.max_buffer_size;
        self.max_binding_size = limits.max_storage_buffer_binding_size;
        self.workgroup_memory = limits.max_compute_workgroup_storage_size;
        self.max_invocations = limits.max_compute_invocations_per_workgroup;
        self.subgroup = self.subgroup.filter(|_| features.contains(wgpu::Features::SUBGROUP));
        self.features =
            known.iter().filter(|(f, _)| features.contains(*f)).map(|(_, n)| *n).collect();
    }
}

impl fmt::Display for Adapter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mib = |bytes: u64| bytes >> 20;
        let Self { index, name, backend, kind, driver, .. } = self;
        writeln!(f, "[{index}] {name} ({kind}, {backend}, {driver})")?;
        writeln!(
            f,
            "    buffers up to {} MiB, bindings up to {} MiB, {} KiB workgroup memory, {} invocations",
            mib(self.max_buffer_size),
            mib(self.max_binding_size),
            self.workgroup_memory >> 10,
            self.max_invocations
        )?;
        let features =
            if self.features.is_empty() { "none".to_owned() } else { self.features.join(", ") };
        write!(f, "    optional features: {features}")
    }
}

/// Kinds of device, in order of preference.
const KINDS: [(wgpu::DeviceType, &str); 5] = [
    (wgpu::DeviceType::DiscreteGpu, "discrete"),
    (wgpu::DeviceType::IntegratedGpu, "integrated"),
    (wgpu::DeviceType::VirtualGpu, "virtual"),
    (wgpu::DeviceType::Other, "other"),
    (wgpu::DeviceType::Cpu, "cpu"),
];

pub(super) fn enumerate() -> Vec<wgpu::Adapter> {
    let backends = wgpu::Backends::PRIMARY;
    let mut descriptor = wgpu::InstanceDescriptor::new_without_display_handle();
    descriptor.backends = backends;
    let instance = wgpu::Instance::new(descriptor);
    pollster::block_on(instance.enumerate_adapters(backends))
}

pub(super) fn describe(index: usize, adapter: &wgpu::Adapter) -> Adapter {
    let info = adapter.get_info();
    let mut described = Adapter {
        index,
        name: info.name,
        backend: info.backend.to_str().to_owned(),
        kind: KINDS.iter().find(|(k, _)| *k == info.device_type).map_or("other", |(_, n)| n),
        driver: format!("{} {}", info.driver, info.driver_info).trim().to_owned(),
        max_buffer_size: 0,
        max_binding_size: 0,
        workgroup_memory: 0,
        max_invocations: 0,
        subgroup: Some(info.subgroup_min_size).filter(|size| *size == info.subgroup_max_size),
        matrices: None,
        features: Vec::new(),
    };
    described.take(&adapter.limits(), adapter.features());
    described
}

/// The side of the largest cooperative matrices that kernels can use.
pub(super) fn matrices(adapter: &wgpu::Adapter) -> Option<u32> {
    use wgpu::CooperativeScalarType::{F16, F32};
    let all = adapter.cooperative_matrix_properties().into_iter();
    let fit = all.filter(|p| p.m_size == p.n_size && p.m_size == p.k_size);
    let fit = fit.filter(|p| p.ab_type == F16 && p.cr_type == F32 && !p.saturating_accumulation);
    fit.map(|p| p.m_size).filter(|side| matches!(side, 8 | 16)).max()
}

/// All adapters, in the order of their indices.
pub fn list() -> Vec<Adapter> {
    enumerate().iter().enumerate().map(|(i, a)| describe(i, a)).collect()
}

/// The adapter that `selector` names, by index or by a part of its name; without a selector, the
/// first of the preferred kind.
///
/// # Errors
/// [`Error::Adapter`] if there is none, with advice.
pub fn choose(adapters: &[Adapter], selector: Option<&str>) -> Result<usize> {
    if adapters.is_empty() {
        return Err(Error::Adapter(
            "no GPU found: install a driver for it, or a software one (Debian and Ubuntu: apt-get install mesa-vulkan-drivers)".into(),
        ));
    }
    let Some(selector) = selector else {
        let place = |a: &&Adapter| KINDS.iter().position(|(_, name)| *name == a.kind);
        return Ok(adapters.iter().min_by_key(place).map_or(0, |a| a.index));
    };
    let wanted = selector.to_lowercase();
    adapters
        .iter()
        .find(|a| a.index.to_string() == wanted)
        .or_else(|| adapters.iter().find(|a| a.name.to_lowercase().contains(&wanted)))
        .map(|a| a.index)
        .ok_or_else(|| {
            let listed: Vec<_> =
                adapters.iter().map(|a| format!("{} ({})", a.index, a.name)).collect();
            let words = adapters.iter().flat_map(|a| a.name.split_whitespace());
            let hint = suggest::hint(selector, words);
            let listed = listed.join(", ");
            Error::Adapter(
                format!("no device matches `{selector}`{hint}; there are: {listed}").into(),
            )
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn adapter(index: usize, name: &str, kind: &'static str) -> Adapter {
        Adapter {
            index,
            name: name.into(),
            backend: "vulkan".into(),
            kind,
            driver: String::new(),
            max_buffer_size: 1 << 28,
            max_binding_size: 1 << 27,
            workgroup_memory: 16384,
            max_invocations: 256,
            subgroup: None,
            matrices: None,
            features: vec![],
        }
    }

    #[test]
    fn the_best_or_the_named_adapter_is_chosen() {
        let all = [adapter(0, "llvmpipe", "cpu"), adapter(1, "Radeon RX", "discrete")];
        assert_eq!(choose(&all, None).unwrap(), 1);
        assert_eq!(choose(&all, Some("0")).unwrap(), 0);
        assert_eq!(choose(&all, Some("LLVM")).unwrap(), 0);
        let message = choose(&all, Some("GeForce")).unwrap_err().to_string();
        assert!(
            message.ends_with("`GeForce`; there are: 0 (llvmpipe), 1 (Radeon RX)"),
            "{message}"
        );
        let message = choose(&all, Some("raedon")).unwrap_err().to_string();
        assert!(message.contains(" (did you mean `Radeon`?); there are: 0 ("), "{message}");
        assert!(choose(&[], None).unwrap_err().to_string().contains("mesa-vulkan-drivers"));
    }
}
