//! Finding and opening a GPU; its pipelines.

mod pipelines;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

pub(crate) use pipelines::{Pipeline, shader_module};

use crate::kernel::{Choices, Variant};
use crate::plan::Limits;
use crate::{Error, Result, names};

/// An adapter as `sff devices` shows it.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Adapter {
    /// Position in the list; accepted by `--device`.
    pub index: usize,
    /// The device's own name; any part of it is accepted by `--device`.
    pub name: String,
    /// `vulkan`, `metal` or `dx12`.
    pub backend: String,
    /// `discrete`, `integrated`, `virtual`, `cpu` or `other`.
    pub kind: &'static str,
    /// Driver and its version.
    pub driver: String,
    /// Largest buffer, bytes.
    pub max_buffer_size: u64,
    /// Largest range of a buffer that a kernel can see, bytes.
    pub max_binding_size: u64,
    /// Bytes of workgroup memory.
    pub workgroup_memory: u32,
    /// Invocations per workgroup.
    pub max_invocations: u32,
    /// Invocations of a subgroup, if there are subgroups and all are alike.
    pub subgroup: Option<u32>,
    /// Side of the matrices that subgroups multiply, of float16 and with sums in float32; 8 or 16.
    pub matrices: Option<u32>,
    /// Optional features that matter here.
    pub features: Vec<&'static str>,
}

impl Adapter {
    /// What a plan for this device must respect.
    pub fn limits(&self) -> Limits {
        let bytes = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
        Limits {
            max_buffer: bytes(self.max_buffer_size),
            max_binding: bytes(self.max_binding_size),
        }
    }

    /// Notes what is offered, or what of it was asked for.
    fn take(&mut self, limits: &wgpu::Limits, features: wgpu::Features) {
        let known = [
            (wgpu::Features::SHADER_F16, "f16"),
            (wgpu::Features::SUBGROUP, "subgroups"),
            (wgpu::Features::TIMESTAMP_QUERY, "timestamps"),
            (wgpu::Features::PIPELINE_CACHE, "pipeline cache"),
            (wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX, "cooperative matrix"),
        ];
        self.max_buffer_size = limits.max_buffer_size;
        self.max_binding_size = limits.max_storage_buffer_binding_size;
        self.workgroup_memory = limits.max_compute_workgroup_storage_size;
        self.max_invocations = limits.max_compute_invocations_per_workgroup;
        self.subgroup = self.subgroup.filter(|_| features.contains(wgpu::Features::SUBGROUP));
        let cooperative = wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX;
        self.matrices = self.matrices.filter(|_| features.contains(cooperative));
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

/// Kinds of device, the best guess first.
const KINDS: [(wgpu::DeviceType, &str); 5] = [
    (wgpu::DeviceType::DiscreteGpu, "discrete"),
    (wgpu::DeviceType::IntegratedGpu, "integrated"),
    (wgpu::DeviceType::VirtualGpu, "virtual"),
    (wgpu::DeviceType::Other, "other"),
    (wgpu::DeviceType::Cpu, "cpu"),
];

fn enumerate() -> Vec<wgpu::Adapter> {
    let backends = wgpu::Backends::PRIMARY;
    let mut descriptor = wgpu::InstanceDescriptor::new_without_display_handle();
    descriptor.backends = backends;
    let instance = wgpu::Instance::new(descriptor);
    pollster::block_on(instance.enumerate_adapters(backends))
}

fn describe(index: usize, adapter: &wgpu::Adapter) -> Adapter {
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
        matrices: matrices(adapter),
        features: Vec::new(),
    };
    described.take(&adapter.limits(), adapter.features());
    described
}

/// The side of the largest cooperative matrices of the kind that kernels use.
fn matrices(adapter: &wgpu::Adapter) -> Option<u32> {
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

/// The adapter that `selector` names, by index or by a part of its name; without one, the first
/// of the best kind.
///
/// # Errors
/// [`Error::Adapter`] if there is none, with what to do about it.
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
            let hint = names::hint(selector, words);
            let listed = listed.join(", ");
            Error::Adapter(format!("no device matches `{selector}`{hint}; there are: {listed}"))
        })
}

/// How long to wait for what may be the reason for an error.
const ENOUGH: Duration = Duration::from_secs(10);

/// An open GPU.
#[derive(Clone)]
pub struct Gpu {
    pub(crate) device: wgpu::Device,
    pub(crate) queue: wgpu::Queue,
    /// What was opened.
    pub adapter: Adapter,
    access: Access,
    reported: Arc<Mutex<Reported>>,
    objects: Arc<AtomicU64>,
    pipelines: Arc<Mutex<pipelines::Made>>,
    choices: Arc<Choices>,
}

/// What the device said since it was opened.
#[derive(Default)]
struct Reported {
    /// Why it is gone.
    lost: Option<String>,
    /// The first error, which is the cause of later ones.
    error: Option<wgpu::Error>,
}

/// How much of an adapter to ask for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Access {
    /// Its own limits, and the optional features that kernels know how to use.
    #[default]
    Full,
    /// What every WebGPU device has: default limits, no optional feature.
    Portable,
}

/// Optional features that kernels or the profiler know how to use.
const OPTIONAL: wgpu::Features = wgpu::Features::SHADER_F16
    .union(wgpu::Features::SUBGROUP)
    .union(wgpu::Features::TIMESTAMP_QUERY)
    .union(wgpu::Features::TIMESTAMP_QUERY_INSIDE_PASSES)
    .union(wgpu::Features::PIPELINE_CACHE)
    .union(wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX);

impl Gpu {
    /// Opens the adapter that `selector` names (see [`choose`]), with all that it offers.
    ///
    /// # Errors
    /// [`Error::Adapter`] if there is none or it cannot be opened.
    pub fn open(selector: Option<&str>) -> Result<Self> {
        Self::open_with(selector, Access::Full)
    }

    /// The same with a choice of what to ask for.
    ///
    /// # Errors
    /// As [`Gpu::open`].
    pub fn open_with(selector: Option<&str>, access: Access) -> Result<Self> {
        let adapters = enumerate();
        let mut described: Vec<_> =
            adapters.iter().enumerate().map(|(i, a)| describe(i, a)).collect();
        let index = choose(&described, selector)?;
        let offered = adapters[index].limits();
        let (required_features, required_limits) = match access {
            Access::Portable => (wgpu::Features::empty(), wgpu::Limits::default()),
            Access::Full => (
                adapters[index].features() & OPTIONAL,
                wgpu::Limits {
                    max_buffer_size: offered.max_buffer_size,
                    max_storage_buffer_binding_size: offered.max_storage_buffer_binding_size,
                    max_compute_workgroup_storage_size: offered.max_compute_workgroup_storage_size,
                    max_compute_invocations_per_workgroup: offered
                        .max_compute_invocations_per_workgroup,
                    max_compute_workgroup_size_x: offered.max_compute_workgroup_size_x,
                    ..wgpu::Limits::default()
                },
            ),
        };
        let experimental = wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX;
        let descriptor = wgpu::DeviceDescriptor {
            label: Some("sff"),
            required_features,
            required_limits,
            memory_hints: wgpu::MemoryHints::Performance,
            experimental_features: if required_features.contains(experimental) {
                // SAFETY: only kernels that the project ships use it, and tests hold them
                // against the reference on a device that has it.
                unsafe { wgpu::ExperimentalFeatures::enabled() }
            } else {
                wgpu::ExperimentalFeatures::disabled()
            },
            ..Default::default()
        };
        let (device, queue) = pollster::block_on(adapters[index].request_device(&descriptor))
            .map_err(|e| Error::Adapter(format!("cannot open {}: {e}", described[index].name)))?;
        let reported = Arc::new(Mutex::new(Reported::default()));
        let slot = Arc::clone(&reported);
        device.on_uncaptured_error(Arc::new(move |error| {
            if let Ok(mut reported) = slot.lock() {
                reported.error.get_or_insert(error);
            }
        }));
        let slot = Arc::clone(&reported);
        device.set_device_lost_callback(move |reason, message| {
            if let Ok(mut reported) = slot.lock() {
                let destroyed = reason == wgpu::DeviceLostReason::Destroyed;
                let said = if destroyed { "it was destroyed".into() } else { one_line(&message) };
                reported.lost.get_or_insert(said);
            }
        });
        let mut adapter = described.swap_remove(index);
        adapter.take(&device.limits(), device.features());
        Ok(Self {
            device,
            queue,
            adapter,
            access,
            reported,
            objects: Arc::default(),
            pipelines: Arc::default(),
            choices: Arc::default(),
        })
    }

    /// How many buffers, bind groups, layouts, shader modules and pipelines were made on it so
    /// far. A training step makes none.
    pub fn objects(&self) -> u64 {
        self.objects.load(Ordering::Relaxed)
    }

    /// Counts objects that were made.
    pub(crate) fn made(&self, objects: u64) {
        self.objects.fetch_add(objects, Ordering::Relaxed);
    }

    /// Opens the same device again, after it was lost.
    ///
    /// # Errors
    /// As [`Gpu::open`].
    pub fn reopen(&self) -> Result<Self> {
        let gpu = Self::open_with(Some(&self.adapter.index.to_string()), self.access)?;
        Ok(Self { choices: Arc::clone(&self.choices), ..gpu })
    }

    /// The same GPU, on which sessions compute ops as `choices` say.
    pub fn with_choices(&self, choices: Choices) -> Self {
        Self { choices: Arc::new(choices), ..self.clone() }
    }

    /// How sessions compute ops.
    pub fn choices(&self) -> &Choices {
        &self.choices
    }

    /// Ways to compute an op that suit the device; the first is the usual one.
    pub fn variants(&self) -> Vec<Variant> {
        if self.compiles_slowly() {
            return vec![Variant::SMALL];
        }
        Variant::all(self.adapter.kind == "cpu", self.adapter.subgroup, self.adapter.matrices)
    }

    /// The first error that the device reported since it was opened, if any.
    ///
    /// # Errors
    /// [`Error::Lost`], [`Error::OutOfMemory`], [`Error::Gpu`].
    pub fn check(&self) -> Result<()> {
        let odd = self.reported.lock().is_ok_and(|r| r.error.is_some() && r.lost.is_none());
        if odd {
            // It may be a consequence of a loss, which is told once nothing is under way.
            let _ = self.wait(None, ENOUGH);
        }
        let Ok(reported) = self.reported.lock() else { return Ok(()) };
        match &*reported {
            // A driver that has no memory for a submit takes the device away.
            Reported { lost: Some(why), .. } if why.to_lowercase().contains("memory") => {
                Err(Error::OutOfMemory("a step".into()))
            }
            Reported { lost: Some(why), .. } => Err(Error::Lost(why.clone())),
            Reported { error: Some(wgpu::Error::OutOfMemory { .. }), .. } => {
                Err(Error::OutOfMemory("a step".into()))
            }
            Reported { error: Some(error), .. } => Err(Error::Gpu(one_line(&error.to_string()))),
            Reported { lost: None, error: None } => Ok(()),
        }
    }

    /// Waits for a submission, or for all of them; `None` is wgpu's panic over a device that is
    /// lost meanwhile.
    pub(crate) fn wait(
        &self,
        submission_index: Option<wgpu::SubmissionIndex>,
        timeout: Duration,
    ) -> Result<(), Option<wgpu::PollError>> {
        let wait = wgpu::PollType::Wait { submission_index, timeout: Some(timeout) };
        match catch_unwind(AssertUnwindSafe(|| self.device.poll(wait))) {
            Ok(polled) => polled.map(drop).map_err(Some),
            Err(_) => Err(None),
        }
    }

    /// Waits until the device has done all that was submitted.
    pub(crate) fn idle(&self, patience: Duration) -> Result<()> {
        let waited = self.wait(None, patience);
        self.check()?;
        waited.map_err(|e| match e {
            Some(wgpu::PollError::Timeout) => Error::TimedOut(patience),
            Some(e) => Error::Gpu(e.to_string()),
            None => Error::Gpu("the device cannot be waited for".into()),
        })
    }

    /// Whether the device is gone.
    pub fn is_lost(&self) -> bool {
        self.reported.lock().is_ok_and(|reported| reported.lost.is_some())
    }

    /// Destroys the device: what is left of it fails as if it had been pulled out.
    pub fn destroy(&self) {
        self.device.destroy();
    }

    /// What a plan for this device must respect.
    pub fn limits(&self) -> Limits {
        self.adapter.limits()
    }

    /// Whether the driver takes minutes to compile register tiles, as SwiftShader does.
    pub fn compiles_slowly(&self) -> bool {
        self.adapter.driver.starts_with("SwiftShader")
    }
}

fn one_line(text: &str) -> String {
    text.lines().collect::<Vec<_>>().join(" ")
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
