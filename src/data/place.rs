//! The folders where data sets are searched.

use std::path::{Path, PathBuf};

use super::walk;
use crate::base::hint::{Hint, Message, message};
use crate::{Error, Result};

/// Where Debian's `dataset-*` packages put their files.
const SYSTEM: &str = "/usr/share/datasets";

/// The folders to search.
pub struct Places {
    given: Option<PathBuf>,
    local: PathBuf,
    system: PathBuf,
}

impl Places {
    /// `given` is the user's `--data`, and then the only folder searched; otherwise these are
    /// `datasets/` and the system's folder.
    ///
    /// A `given` that is not a folder is an [`Error::Usage`]: a typing error must not silently load
    /// another data set.
    pub fn new(given: Option<&Path>) -> Result<Self> {
        Self::within(given, Path::new("datasets"), Path::new(SYSTEM))
    }

    /// Like [`Places::new`] with other default folders.
    pub fn within(given: Option<&Path>, local: &Path, system: &Path) -> Result<Self> {
        match given {
            Some(folder) if !folder.is_dir() => {
                let what = if folder.exists() { "not a folder" } else { "no such folder" };
                Err(Error::usage(message![
                    Hint::set("data", folder.display()),
                    format!(": {what}"),
                ]))
            }
            _ => Ok(Self {
                given: given.map(Path::to_owned),
                local: local.to_owned(),
                system: system.to_owned(),
            }),
        }
    }

    /// All folders where the data set `name` may be, in order of preference. `unpacked` are the
    /// folders that its archive unpacks to.
    fn folders(&self, name: &str, unpacked: &[&str]) -> Vec<PathBuf> {
        let own = |root: &Path| [root.to_owned(), root.join(name)];
        let outer: Vec<PathBuf> = match &self.given {
            Some(given) => own(given).into(),
            None => own(&self.local).into_iter().chain([self.system.join(name)]).collect(),
        };
        let inner = |folder: PathBuf| {
            let inner: Vec<_> = unpacked.iter().map(|unpacked| folder.join(unpacked)).collect();
            [folder].into_iter().chain(inner)
        };
        outer.into_iter().flat_map(inner).collect()
    }

    /// The path of each of `files`, all from the first folder that has any of them.
    ///
    /// `others` gives alternative paths of a file, in order of preference. Without such a file, a
    /// folder of that name is accepted. `advice` says how to get the files, and ends the message of
    /// the [`Error::MissingData`].
    pub fn find(
        &self,
        name: &str,
        unpacked: &[&str],
        files: &[&str],
        others: impl Fn(&str) -> Vec<String>,
        advice: impl Into<Message>,
    ) -> Result<Vec<PathBuf>> {
        let advice = self.advice(name, advice.into());
        let folders = self.folders(name, unpacked);
        let existing = |folder: &Path, file: &str| {
            let paths = [file.to_owned()].into_iter().chain(others(file));
            let paths: Vec<PathBuf> = paths.map(|path| folder.join(path)).collect();
            // A folder may have the name of the file in it.
            let found = paths.iter().find(|path| path.is_file());
            found.or(paths.first().filter(|path| path.exists())).cloned()
        };
        for folder in &folders {
            let paths: Vec<_> = files.iter().map(|file| existing(folder, file)).collect();
            let missing = files.iter().zip(&paths).find(|(_, path)| path.is_none());
            match missing {
                None => return Ok(paths.into_iter().flatten().collect()),
                Some(_) if paths.iter().all(Option::is_none) => {}
                Some((file, _)) => {
                    let shown = folder.display();
                    return Err(Error::MissingData(message![
                        format!("{name}: {shown} has no {file} though it has others of the set; "),
                        advice,
                    ]));
                }
            }
        }
        let searched: Vec<String> = folders.iter().map(|f| f.display().to_string()).collect();
        let (files, searched) = (files.join(", "), searched.join(", "));
        let packed = match packed(&folders, &[&[name], unpacked].concat()) {
            Some(path) => format!("{} is there, but not unpacked; ", path.display()),
            None => String::new(),
        };
        let missing = format!("{name}: no {files} in {searched}; {packed}");
        Err(Error::MissingData(message![missing, advice]))
    }

    /// What to do when the data set `name` is not there; `advice` is that where no folder was given.
    fn advice(&self, name: &str, advice: Message) -> Message {
        let Some(given) = &self.given else { return advice };
        let shown = given.display();
        let photos = match walk::has_picture(given, walk::OF_CLASSES) {
            true => {
                message!["for the pictures in it add ", Hint::set("dataset", "folder"), ", "]
            }
            false => Message::default(),
        };
        let to = vec![("to", shown.to_string())];
        let (local, system) = (self.local.display(), self.system.display());
        message![
            "with ",
            Hint::set("data", shown),
            " no other folder is searched: ",
            photos,
            Hint::Command(format!("data fetch {name}").into(), to),
            " puts the data set there, and without ",
            Hint::Option("data"),
            format!(" {local} and {system} are searched"),
        ]
    }
}

/// An archive in one of the folders that is called nearly like one of `names`.
fn packed(folders: &[PathBuf], names: &[&str]) -> Option<PathBuf> {
    let plain = |name: &str| name.to_lowercase().replace(['-', '_', '.'], "");
    let is = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
        let archive = [".tar.gz", ".tgz", ".tar", ".zip", ".tar.xz"];
        archive.iter().any(|end| name.ends_with(end))
            && names.iter().any(|own| plain(&name).starts_with(&plain(own)))
    };
    let files = folders.iter().filter_map(|folder| std::fs::read_dir(folder).ok()).flatten();
    let mut files: Vec<PathBuf> = files.flatten().map(|entry| entry.path()).filter(is).collect();
    files.sort_unstable();
    files.into_iter().next()
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

    fn gz(file: &str) -> Vec<String> {
        vec![format!("{file}.gz"), format!("{file}/{file}")]
    }

    #[test]
    fn searches_in_order() {
        let temp = tempfile::tempdir().unwrap();
        let [given, local, system] = ["given", "local", "system"].map(|d| temp.path().join(d));
        fs::create_dir(&given).unwrap();
        let find = |given: Option<&Path>| {
            let places = Places::within(given, &local, &system).unwrap();
            places.find("set", &["un", "other/raw"], &["f"], gz, "get it")
        };
        let message = find(None).unwrap_err().to_string();
        assert!(message.contains("no f in ") && message.ends_with("; get it"), "{message}");
        assert!(message.contains("local/set/un") && message.contains("system/set"), "{message}");
        // Each file, made from last to first in the order of the search, hides the one before.
        for (root, file) in [
            (&system, "set/un/f"),
            (&system, "set/f"),
            (&local, "set/other/raw/f"),
            (&local, "set/un/f"),
            (&local, "set/f"),
            (&local, "un/f"),
            (&local, "f.gz"),
        ] {
            let path = put(root.join(file));
            assert_eq!(find(None).unwrap(), [path]);
        }
        // A folder that is given is the only one.
        let message = find(Some(&given)).unwrap_err().to_string();
        assert!(message.contains("given/set/un") && !message.contains("system/set"), "{message}");
        for part in ["no other folder is searched", "`data fetch set`", "(to /", "without `data`"] {
            assert!(message.contains(part), "{message}");
        }
        for file in ["set/un/f", "set/f/f", "set/f.gz", "un/f", "f"] {
            let path = put(given.join(file));
            assert_eq!(find(Some(&given)).unwrap(), [path]);
            if file == "set/f/f" {
                fs::remove_dir_all(given.join("set/f")).unwrap();
            }
        }
    }

    #[test]
    fn archives_that_are_not_unpacked_are_named() {
        let temp = tempfile::tempdir().unwrap();
        for (name, file) in [
            ("cifar10", "cifar-10-python.tar.gz"),
            ("cifar100", "cifar-100-binary.tar.gz"),
            ("imagenette-160", "imagenette2-160.tgz"),
        ] {
            let path = put(temp.path().join(file));
            let places = Places::within(None, temp.path(), Path::new("/nowhere")).unwrap();
            let find = |name: &str, unpacked: &str| {
                let found = places.find(name, &[unpacked], &["f"], |_| Vec::new(), "get it");
                found.unwrap_err().to_string()
            };
            let message = find(name, "imagenette2-160");
            assert!(message.contains(&format!("{file} is there, but not unpacked")), "{message}");
            assert!(!find("mnist", "raw").contains("unpacked"));
            fs::remove_file(path).unwrap();
        }
    }

    #[test]
    fn half_a_set_is_named() {
        let temp = tempfile::tempdir().unwrap();
        put(temp.path().join("set/a"));
        put(temp.path().join("set/b.gz"));
        let places = Places::within(None, temp.path(), Path::new("/nowhere")).unwrap();
        let find = |files: &[&str]| places.find("set", &[], files, |_| Vec::new(), "");
        let message = find(&["a", "b"]).unwrap_err().to_string();
        assert!(message.contains("set has no b though"), "{message}");
    }

    #[test]
    fn a_given_folder_must_exist() {
        let file = tempfile::NamedTempFile::new().unwrap();
        for (path, why) in
            [(Path::new("/no/such/folder"), "no such folder"), (file.path(), "not a folder")]
        {
            let error = Places::new(Some(path)).err().unwrap();
            assert!(matches!(&error, Error::Usage(m) if m.to_string().contains(why)), "{error}");
            assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
        }
    }
}
