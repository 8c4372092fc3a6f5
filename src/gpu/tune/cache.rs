//! The tuning cache: a file for each device.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::PathBuf;

use etcetera::base_strategy::{BaseStrategy, choose_native_strategy};
use md5::{Digest, Md5};
use serde::{Deserialize, Serialize};

use super::{Refusal, Tuning};
use crate::base::files::{hex, write_whole};
use crate::compiler::variants::Choices;
use crate::compiler::wgsl;
use crate::gpu::device::Gpu;
use crate::{Error, Result};

/// Where choices are stored. A file's name is a digest of the device, its driver and all kernels:
/// another version of any of them starts a new file.
#[derive(Clone, Debug, Default)]
pub struct Cache(Option<PathBuf>);

/// The content of a file.
#[derive(Default, Serialize, Deserialize)]
pub(super) struct Remembered {
    /// Informative, like the driver.
    device: String,
    driver: String,
    pub choices: Choices,
    /// Ops that use the default because there was no time or memory to time them.
    #[serde(default)]
    pub left: Vec<String>,
    /// Informative: variants whose result differs from the default's.
    #[serde(default)]
    refused: Vec<String>,
}

impl Cache {
    /// No cache: nothing is stored.
    pub fn none() -> Self {
        Self(None)
    }

    /// In a folder, which is created when needed.
    pub fn at(folder: PathBuf) -> Self {
        Self(Some(folder))
    }

    /// In the folder in the environment variable `SFF_CACHE_DIR`, otherwise in the user's cache
    /// folder; no cache if the system has none.
    pub fn of_user() -> Self {
        let named = std::env::var_os("SFF_CACHE_DIR").filter(|name| !name.is_empty());
        let own = || Some(choose_native_strategy().ok()?.cache_dir().join("sff"));
        Self(named.map(PathBuf::from).or_else(own))
    }

    /// The file for a device.
    fn path(&self, gpu: &Gpu) -> Option<PathBuf> {
        let mut digest = Md5::new();
        let adapter = &gpu.adapter;
        for part in [&adapter.name, &adapter.backend, &adapter.driver] {
            digest.update(part);
            digest.update([0]);
        }
        digest.update(format!("{:?}", gpu.variants()));
        wgsl::SOURCES.iter().for_each(|source| digest.update(source.text));
        Some(self.0.as_ref()?.join(format!("kernels-{}.json", hex(&digest.finalize()))))
    }

    /// The stored choices for a device. An unreadable file is ignored.
    pub(super) fn read(&self, gpu: &Gpu) -> Remembered {
        let text = self.path(gpu).and_then(|path| fs::read(path).ok());
        text.and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default()
    }

    /// Merges new choices and tuning results into the file of a device.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn remember(&self, gpu: &Gpu, choices: &Choices, tuning: &Tuning) -> Result<()> {
        let Some(path) = self.path(gpu) else { return Ok(()) };
        let folder = path.parent().unwrap_or(&path);
        fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
        // Other processes may write it too. The lock is released when the file is dropped.
        let lock = folder.join("lock");
        let lock = File::create(&lock).map_err(Error::io("create", &lock))?;
        if let Err(error) = lock.lock()
            && error.kind() != ErrorKind::Unsupported
        {
            return Err(Error::io("lock", folder)(error));
        }
        let mut all = self.read(gpu);
        let mut choices = choices.clone();
        // An op that was left out this time keeps what an earlier timing chose.
        let before = |key: &String| all.choices.has(key) && !all.left.contains(key);
        let (timed_before, left): (Vec<_>, Vec<_>) = tuning.left.iter().cloned().partition(before);
        timed_before.iter().for_each(|key| choices.forget(key));
        choices.fill(all.choices);
        all.left.retain(|key| tuning.ops.iter().all(|timed| timed.op != *key));
        all.left.extend(left);
        all.refused.extend(tuning.refused.iter().map(Refusal::to_string));
        for list in [&mut all.left, &mut all.refused] {
            list.sort();
            list.dedup();
        }
        let (device, driver) = (gpu.adapter.name.clone(), gpu.adapter.driver.clone());
        let text = serde_json::to_string_pretty(&Remembered { device, driver, choices, ..all })
            .map_err(|e| Error::corrupt(&path, e.to_string()))?;
        write_whole(&path, |file| file.write_all(text.as_bytes()))
    }
}
