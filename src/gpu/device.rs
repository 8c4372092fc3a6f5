//! An open GPU: its errors, and its cache of pipelines.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::adapter::{Adapter, choose, describe, enumerate, matrices};
use crate::compiler::kernel::Kernel;
use crate::compiler::plan::Limits;
use crate::compiler::variants::{Choices, Variants};
use crate::compiler::wgsl::Reflection;
use crate::{Error, Result};

/// How long to wait for the report of a lost device after another error.
const LOSS_TIMEOUT: Duration = Duration::from_secs(10);

/// An open GPU.
#[derive(Clone)]
pub struct Gpu {
    pub(crate) device: wgpu::Device,
    pub(crate) queue: wgpu::Queue,
    /// The adapter that was opened.
    pub adapter: Adapter,
    access: Access,
    reported: Arc<Mutex<Reported>>,
    objects: Arc<AtomicU64>,
    pub(super) pipelines: Arc<Mutex<Pipelines>>,
    choices: Arc<Choices>,
}

/// A kernel compiled for a device.
#[derive(Clone)]
pub(crate) struct Pipeline {
    pub pipeline: wgpu::ComputePipeline,
    pub layout: wgpu::BindGroupLayout,
    pub reflection: Reflection,
}

/// Compiled pipelines, by kernel and whether it has runtime checks.
pub(super) type Pipelines = BTreeMap<(Kernel, bool), Pipeline>;

/// What the device reported since it was opened.
#[derive(Default)]
struct Reported {
    /// Why it was lost.
    lost: Option<String>,
    /// The first error, because later ones may follow from it.
    error: Option<wgpu::Error>,
}

/// Which limits and features to request from an adapter.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Access {
    /// The adapter's own limits, and the optional features that kernels can use.
    #[default]
    Full,
    /// WebGPU's default limits, without optional features.
    Portable,
}

/// Optional features that kernels or the profiler can use.
const OPTIONAL: wgpu::Features = wgpu::Features::SHADER_F16
    .union(wgpu::Features::SUBGROUP)
    .union(wgpu::Features::TIMESTAMP_QUERY)
    .union(wgpu::Features::TIMESTAMP_QUERY_INSIDE_PASSES)
    .union(wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX);

impl Gpu {
    /// Opens the adapter that `selector` names (see [`choose`]), with full access.
    ///
    /// # Errors
    /// [`Error::Adapter`] if there is none or it cannot be opened.
    pub fn open(selector: Option<&str>) -> Result<Self> {
        Self::open_with(selector, Access::Full)
    }

    /// The same with a given access.
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
                // SAFETY: only kernels of this project use it, and tests compare them with the
                // reference on a device that has it.
                unsafe { wgpu::ExperimentalFeatures::enabled() }
            } else {
                wgpu::ExperimentalFeatures::disabled()
            },
            ..Default::default()
        };
        let (device, queue) = pollster::block_on(adapters[index].request_device(&descriptor))
            .map_err(|e| {
                Error::Adapter(format!("cannot open {}: {e}", described[index].name).into())
            })?;
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
        let uses = wgpu::Features::SHADER_F16.union(wgpu::Features::SUBGROUP).union(experimental);
        if device.features().contains(uses) && adapter.subgroup.is_some() {
            adapter.matrices = matrices(&adapters[index]);
        }
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

    /// Number of buffers, bind groups, layouts, shader modules and pipelines created so far. A
    /// training step creates none.
    pub fn objects(&self) -> u64 {
        self.objects.load(Ordering::Relaxed)
    }

    /// Counts created objects.
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

    /// The same GPU with tuned `choices` for sessions.
    pub fn with_choices(&self, choices: Choices) -> Self {
        Self { choices: Arc::new(choices), ..self.clone() }
    }

    /// The tuned choices that sessions use.
    pub fn choices(&self) -> &Choices {
        &self.choices
    }

    /// The kernel variants that the device can use.
    pub fn variants(&self) -> Variants {
        let Adapter { subgroup, matrices, .. } = self.adapter;
        Variants::of(self.adapter.class(), subgroup, matrices)
    }

    /// The most floating-point operations in one submit.
    pub fn max_flops(&self) -> u64 {
        self.adapter.class().max_flops()
    }

    /// The first error that the device reported since it was opened, if any.
    ///
    /// # Errors
    /// [`Error::Lost`], [`Error::OutOfMemory`], [`Error::Gpu`].
    pub fn check(&self) -> Result<()> {
        let odd = self.reported.lock().is_ok_and(|r| r.error.is_some() && r.lost.is_none());
        if odd {
            // It may follow from a loss, which is reported only when the device is idle.
            let _ = self.wait(None, LOSS_TIMEOUT);
        }
        let Ok(reported) = self.reported.lock() else { return Ok(()) };
        match &*reported {
            // Some drivers lose the device when a submit runs out of memory.
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

    /// Waits for a submission, or for all of them. The error is `None` if wgpu panicked because the
    /// device was lost meanwhile.
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

    /// Waits until all submitted work is done.
    pub(crate) fn idle(&self, patience: Duration) -> Result<()> {
        let waited = self.wait(None, patience);
        self.check()?;
        waited.map_err(|e| match e {
            Some(wgpu::PollError::Timeout) => Error::TimedOut(patience),
            Some(e) => Error::Gpu(e.to_string()),
            None => Error::Gpu("the device cannot be waited for".into()),
        })
    }

    /// Whether the device was lost.
    pub fn is_lost(&self) -> bool {
        self.reported.lock().is_ok_and(|reported| reported.lost.is_some())
    }

    /// Destroys the device: later use fails as if it was removed.
    pub fn destroy(&self) {
        self.device.destroy();
    }

    /// The device's limits for a plan.
    pub fn limits(&self) -> Limits {
        self.adapter.limits()
    }
}

fn one_line(text: &str) -> String {
    text.lines().collect::<Vec<_>>().join(" ")
}
