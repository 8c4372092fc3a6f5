//! The one error type: every variant names what was wrong and what to do about it.

use std::path::{Path, PathBuf};

/// Result with the crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Everything that can go wrong, as values; each prints as one line (but for [`Error::Weights`]).
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No usable GPU, or the one asked for is not there.
    #[error("{0}")]
    Adapter(String),
    /// The GPU refused a request, ran out of memory or was lost.
    #[error("GPU error: {0}")]
    Gpu(String),
    /// A tensor or dispatch is larger than the device allows.
    #[error("{what} needs {needed} but the device allows {available}; {advice}")]
    Limit {
        /// What was too large.
        what: String,
        /// The requirement.
        needed: String,
        /// The device's limit.
        available: String,
        /// What the user can change.
        advice: String,
    },
    /// A shader does not compile or does not match its Rust side.
    #[error("shader {name}: {problem}")]
    Shader {
        /// The kernel's name.
        name: String,
        /// What the compiler or the check said.
        problem: String,
    },
    /// A network, shape or program that cannot work.
    #[error("{0}")]
    Model(String),
    /// A command-line option or recipe value that cannot work.
    #[error("{0}")]
    Usage(String),
    /// A data set that is not there; the message says how to get it.
    #[error("{0}")]
    MissingData(String),
    /// A download that failed.
    #[error("cannot fetch {url}: {problem}")]
    Fetch {
        /// What was to be fetched.
        url: String,
        /// Why, and what to do about it.
        problem: String,
    },
    /// A file whose content is not what it should be.
    #[error("{}: {problem}", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What was found, at which offset, and what was expected.
        problem: String,
    },
    /// Weights that do not fit. The one error of several lines: which tensors, after what is wrong.
    #[error("{}: {problem}:\n  {}", path.display(), tensors.join("\n  "))]
    Weights {
        /// The file.
        path: PathBuf,
        /// What is wrong with the tensors.
        problem: String,
        /// What is wrong with each.
        tensors: Vec<String>,
    },
    /// A file that could not be read or written.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// `read`, `write`, `create`, …
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The operating system's reason.
        source: std::io::Error,
    },
    /// Training produced a number that is not finite.
    #[error("{what} became {value} at step {step} (epoch {epoch}): try a lower --lr")]
    NotFinite {
        /// The loss of which block, or which weight.
        what: String,
        /// `NaN` or `inf`.
        value: f32,
        /// Optimiser step, counted from 1.
        step: u64,
        /// Epoch, counted from 1.
        epoch: u32,
    },
    /// A run that stopped, and where its last good checkpoint is.
    #[error("{source}; {kept}")]
    Stopped {
        /// Why.
        source: Box<Error>,
        /// What is left, and how to go on.
        kept: String,
    },
}

impl Error {
    /// A [`Error::Corrupt`] for `path`.
    pub fn corrupt(path: &Path, problem: impl Into<String>) -> Self {
        Self::Corrupt { path: path.to_owned(), problem: problem.into() }
    }

    /// Wraps an [`std::io::Error`]; use with `map_err`.
    pub fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }
}
