//! Where the files of a data set are searched.

use std::path::{Path, PathBuf};

use crate::{Error, Result};

/// Where Debian's `dataset-*` packages put their files.
const SYSTEM: &str = "/usr/share/datasets";

/// The folders to search, most particular first.
pub struct Places {
    given: Option<PathBuf>,
    local: PathBuf,
    system: PathBuf,
}

impl Places {
    /// `given` is the user's `--data`; then come `datasets/` and the system's folder.
    ///
    /// A `given` that is no folder is an [`Error::Usage`]: a typing error must not silently
    /// become another data set.
    pub fn new(given: Option<&Path>) -> Result<Self> {
        Self::within(given, Path::new("datasets"), Path::new(SYSTEM))
    }

    /// As [`Places::new`], with other folders in place of the usual two.
    pub fn within(given: Option<&Path>, local: &Path, system: &Path) -> Result<Self> {
        match given {
            Some(folder) if !folder.is_dir() => {
                Err(Error::Usage(format!("--data {}: no such folder", folder.display())))
            }
            _ => Ok(Self {
                given: given.map(Path::to_owned),
                local: local.to_owned(),
                system: system.to_owned(),
            }),
        }
    }

    /// All folders in which the data set `name` may be, in order of preference.
    ///
    /// `unpacked` is the folder that the data set's own archive unpacks to, if it has one.
    fn folders(&self, name: &str, unpacked: Option<&str>) -> Vec<PathBuf> {
        let roots = self.given.iter().chain([&self.local]);
        roots
            .flat_map(|root| [root.clone(), root.join(name)])
            .chain([self.system.join(name)])
            .flat_map(|folder| {
                let inner = unpacked.map(|unpacked| folder.join(unpacked));
                [Some(folder), inner].into_iter().flatten()
            })
            .collect()
    }

    /// The path of each of `files`, all from one folder: the first that has any of them.
    ///
    /// Each may also be there as `.gz` if `gz` says so; the plain file is preferred. They may be
    /// folders too. `advice` says how to get the files and ends the message of the
    /// [`Error::MissingData`].
    pub fn find(
        &self,
        name: &str,
        unpacked: Option<&str>,
        files: &[&str],
        gz: bool,
        advice: &str,
    ) -> Result<Vec<PathBuf>> {
        let folders = self.folders(name, unpacked);
        let suffix = if gz { "[.gz]" } else { "" };
        for folder in &folders {
            let missing = |file: &&&str| existing(folder, file, gz).is_none();
            let paths: Vec<PathBuf> =
                files.iter().filter_map(|file| existing(folder, file, gz)).collect();
            if paths.is_empty() {
                continue;
            }
            if let Some(file) = files.iter().find(missing) {
                return Err(Error::MissingData(format!(
                    "{name}: {} has no {file}{suffix} though it has others of the set; {advice}",
                    folder.display()
                )));
            }
            return Ok(paths);
        }
        let searched: Vec<String> = folders.iter().map(|f| f.display().to_string()).collect();
        Err(Error::MissingData(format!(
            "{name}: no {} in {}; {advice}",
            files.iter().map(|file| format!("{file}{suffix}")).collect::<Vec<_>>().join(", "),
            searched.join(", ")
        )))
    }
}

/// `file`, or `file.gz` if allowed, when it is in `folder`.
fn existing(folder: &Path, file: &str, gz: bool) -> Option<PathBuf> {
    let plain = folder.join(file);
    let packed = gz.then(|| folder.join(format!("{file}.gz")));
    [Some(plain), packed].into_iter().flatten().find(|path| path.exists())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// Makes `path` with its folders, and returns it.
    fn put(path: PathBuf) -> PathBuf {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, "x").unwrap();
        path
    }

    #[test]
    fn searches_in_order() {
        let temp = tempfile::tempdir().unwrap();
        let [given, local, system] = ["given", "local", "system"].map(|d| temp.path().join(d));
        fs::create_dir(&given).unwrap();
        let places = Places::within(Some(&given), &local, &system).unwrap();
        let find = || places.find("set", Some("un"), &["f"], true, "get it");
        let message = find().unwrap_err().to_string();
        assert!(message.contains("f[.gz]") && message.ends_with("; get it"), "{message}");
        assert!(message.contains("given/set/un") && message.contains("system/set"), "{message}");
        // Each file, made from last to first in the order of the search, hides the one before.
        for (root, file) in [
            (&system, "set/un/f"),
            (&system, "set/f"),
            (&local, "set/un/f"),
            (&local, "set/f"),
            (&local, "un/f"),
            (&local, "f"),
            (&given, "set/un/f"),
            (&given, "set/f"),
            (&given, "un/f"),
            (&given, "f.gz"),
            (&given, "f"),
        ] {
            let path = put(root.join(file));
            assert_eq!(find().unwrap(), [path]);
        }
        let without = Places::within(None, &local, &system).unwrap();
        assert_eq!(without.find("set", None, &["f"], true, "").unwrap(), [local.join("f")]);
    }

    #[test]
    fn half_a_set_is_named() {
        let temp = tempfile::tempdir().unwrap();
        put(temp.path().join("set/a"));
        put(temp.path().join("set/b.gz"));
        let places = Places::within(None, temp.path(), Path::new("/nowhere")).unwrap();
        let message = places.find("set", None, &["a", "b"], false, "").unwrap_err().to_string();
        assert!(message.contains("set has no b though"), "{message}");
    }

    #[test]
    fn a_given_folder_must_exist() {
        let error = Places::new(Some(Path::new("/no/such/folder"))).err().unwrap();
        assert!(matches!(&error, Error::Usage(m) if m.contains("/no/such/folder")), "{error}");
    }
}
