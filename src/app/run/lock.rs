//! One process at a time in a run folder.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use crate::{Error, Result};

/// A lock on a run folder, held until it is dropped; the system also releases it when the process
/// crashes. On drop, a folder that was created by it and is still empty is removed.
pub struct Lock {
    folder: PathBuf,
    created: bool,
    _file: File,
}

impl Lock {
    /// Creates the folder if it is not there, and locks it.
    ///
    /// # Errors
    /// [`Error::Usage`] if another process holds it, [`Error::Io`].
    pub fn take(folder: &Path) -> Result<Self> {
        let created = !folder.exists();
        fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
        match lock(folder).map_err(Error::io("lock", folder))? {
            Some(file) => Ok(Self { folder: folder.to_owned(), created, _file: file }),
            None => Err(Error::usage(format!(
                "{} is in use by another process: wait until it ends, or choose another --out",
                folder.display()
            ))),
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        if self.created {
            // Fails if the folder is not empty, and then it stays.
            let _ = fs::remove_dir(&self.folder);
        }
    }
}

/// Locks the folder itself: no file is left behind. `None` if another process holds it.
#[cfg(not(windows))]
fn lock(folder: &Path) -> io::Result<Option<File>> {
    let file = File::open(folder)?;
    match file.try_lock() {
        Err(fs::TryLockError::WouldBlock) => Ok(None),
        // Some network file systems have no locks. Training goes on without one.
        Ok(()) | Err(fs::TryLockError::Error(_)) => Ok(Some(file)),
    }
}

/// Opens a file that no other process can open meanwhile, and that is deleted when it is closed.
#[cfg(windows)]
fn lock(folder: &Path) -> io::Result<Option<File>> {
    use std::os::windows::fs::OpenOptionsExt;
    const GENERIC_WRITE_AND_DELETE: u32 = 0x4001_0000;
    const DELETE_ON_CLOSE: u32 = 0x0400_0000;
    const SHARING_VIOLATION: i32 = 32;
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).access_mode(GENERIC_WRITE_AND_DELETE).share_mode(0);
    match options.custom_flags(DELETE_ON_CLOSE).open(folder.join("lock")) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.raw_os_error() == Some(SHARING_VIOLATION) => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_lock_on_a_folder_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/run");
        let lock = Lock::take(&path).unwrap();
        let message = Lock::take(&path).err().unwrap().to_string();
        assert!(message.contains("run is in use by another process"), "{message}");
        drop(lock);
        assert!(!path.exists(), "an empty folder that the lock created is removed");
        drop(Lock::take(&path).unwrap());
        // A folder that was there before, or that is not empty, stays.
        fs::create_dir_all(&path).unwrap();
        drop(Lock::take(&path).unwrap());
        assert!(path.exists());
        fs::remove_dir(&path).unwrap();
        let lock = Lock::take(&path).unwrap();
        fs::write(path.join("file"), "").unwrap();
        drop(lock);
        assert!(path.join("file").exists());
    }
}
