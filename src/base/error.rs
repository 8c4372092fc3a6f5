//! The one error type: every variant names what was wrong and what to do about it.
//!
//! The exit codes of the command, see [`Error::exit_code`]:
//!
//! | code | meaning |
//! |---|---|
//! | 0 | success |
//! | 2 | bad options, bad files, and everything else |
//! | 3 | the device was lost, has no memory left, or does not answer |
//! | 4 | a number is not finite, or not what the reference computes |
//! | 130 | interrupted by SIGINT (Ctrl-C) |
//! | 143 | interrupted by SIGTERM |

use std::path::{Path, PathBuf};
use std::time::Duration;

/// Result with the crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Everything that can go wrong, as values; each prints as one line (but for [`Error::Weights`]).
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No usable GPU, or the one asked for is not there.
    #[error("{0}")]
    Adapter(String),
    /// The GPU refused a request.
    #[error("GPU error: {0}")]
    Gpu(String),
    /// The device is gone: pulled out, or reset by its driver.
    #[error("the device was lost ({0})")]
    Lost(String),
    /// The device has no memory left.
    #[error("the device has no memory left for {0}")]
    OutOfMemory(String),
    /// The device does not answer.
    #[error("the device did not finish its work within {} s", .0.as_secs_f64())]
    TimedOut(Duration),
    /// Somebody asked the run to end.
    #[error("interrupted by {}", crate::base::interrupt::name(*.0))]
    Interrupted(i32),
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
    #[error("{}: {problem}:\n  {}", path.display(), listed(tensors))]
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
    /// An op that did not compute what it should have.
    #[error("step {step} (epoch {epoch}): {problem}")]
    Numerics {
        /// Which op, which tensor, and by how much.
        problem: String,
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

/// Lines that are listed with an error; more are only counted.
const LISTED: usize = 10;

fn listed(lines: &[String]) -> String {
    let mut all = lines.iter().take(LISTED).cloned().collect::<Vec<_>>();
    if lines.len() > LISTED {
        all.push(format!("… and {} more", lines.len() - LISTED));
    }
    all.join("\n  ")
}

impl Error {
    /// Exit code of errors that leave the device in a state that nobody knows.
    pub const DEVICE_EXIT: u8 = 3;

    /// What the process says of this error to whoever started it.
    pub fn exit_code(&self) -> u8 {
        match self.root() {
            Self::Lost(_) | Self::OutOfMemory(_) | Self::TimedOut(_) => Self::DEVICE_EXIT,
            Self::NotFinite { .. } | Self::Numerics { .. } => 4,
            // As a shell says it of a process that the signal ended.
            Self::Interrupted(signal) => 128 + u8::try_from(*signal).unwrap_or_default(),
            _ => 2,
        }
    }

    /// What stopped a run, where it is that which this error tells.
    pub fn root(&self) -> &Self {
        match self {
            Self::Stopped { source, .. } => source.root(),
            error => error,
        }
    }

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
