//! The one error type: every variant names what was wrong and what to do about it.
//!
//! `Display` words options as fields of the library; [`Error::worded`] lets a command line say what
//! to type instead.
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

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::base::hint::{Hint, Message};
use crate::base::interrupt;

/// Result with the crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Everything that can go wrong, as values; each prints as one line (but for [`Error::Weights`]).
#[derive(Debug)]
pub enum Error {
    /// No usable GPU, or the one asked for is not there.
    Adapter(Message),
    /// The GPU refused a request.
    Gpu(String),
    /// The device was lost: removed, or reset by its driver.
    Lost(String),
    /// The device has no memory left.
    OutOfMemory(String),
    /// The device does not answer.
    TimedOut(Duration),
    /// A signal interrupted the run.
    Interrupted(i32),
    /// A tensor or dispatch is larger than the device allows.
    Limit {
        /// What was too large.
        what: String,
        /// The requirement.
        needed: String,
        /// The device's limit.
        available: String,
        /// What the user can change.
        advice: Message,
    },
    /// A shader does not compile or does not match its Rust side.
    Shader {
        /// The kernel's name.
        name: String,
        /// What the compiler or the check said.
        problem: String,
    },
    /// A network, shape or program that cannot work.
    Model(String),
    /// A command-line option or recipe value that cannot work.
    Usage(Message),
    /// A data set that is not there; the message says how to get it.
    MissingData(Message),
    /// A download that failed.
    Fetch {
        /// What was to be fetched.
        url: String,
        /// Why, and what to do about it.
        problem: String,
    },
    /// A file whose content is not what it should be.
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What was found, at which offset, and what was expected.
        problem: Message,
    },
    /// Weights that do not fit the network. The only error of several lines: it lists the tensors.
    Weights {
        /// The file.
        path: PathBuf,
        /// What is wrong with the tensors.
        problem: String,
        /// What is wrong with each.
        tensors: Vec<String>,
    },
    /// A file that could not be read or written.
    Io {
        /// `read`, `write`, `create`, …
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The operating system's reason.
        source: std::io::Error,
    },
    /// Training produced a number that is not finite.
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
    /// An op whose result differs from the reference.
    Numerics {
        /// Which op, which tensor, and by how much.
        problem: String,
        /// Optimiser step, counted from 1.
        step: u64,
        /// Epoch, counted from 1.
        epoch: u32,
    },
    /// A run that stopped, and where its last good checkpoint is.
    Stopped {
        /// Why.
        source: Box<Error>,
        /// What is left, and how to go on.
        kept: String,
    },
}

/// As the library words it.
impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.worded(&Hint::to_string))
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            Self::Stopped { source, .. } => Some(source),
            _ => None,
        }
    }
}

/// Lines that are listed with an error; the rest are counted.
const LISTED: usize = 10;

fn listed(lines: &[String]) -> String {
    let mut all = lines.iter().take(LISTED).cloned().collect::<Vec<_>>();
    if lines.len() > LISTED {
        all.push(format!("… and {} more", lines.len() - LISTED));
    }
    all.join("\n  ")
}

impl Error {
    /// The message, with its hints in the words of `say`: one line, but for [`Error::Weights`].
    pub fn worded(&self, say: &dyn Fn(&Hint) -> String) -> String {
        match self {
            Self::Adapter(message) | Self::Usage(message) | Self::MissingData(message) => {
                message.worded(say)
            }
            Self::Model(message) => message.clone(),
            Self::Gpu(problem) => format!("GPU error: {problem}"),
            Self::Lost(why) => format!("the device was lost ({why})"),
            Self::OutOfMemory(what) => format!("the device has no memory left for {what}"),
            Self::TimedOut(after) => {
                format!("the device did not finish its work within {} s", after.as_secs_f64())
            }
            Self::Interrupted(signal) => format!("interrupted by {}", interrupt::name(*signal)),
            Self::Limit { what, needed, available, advice } => {
                let advice = advice.worded(say);
                format!("{what} needs {needed} but the device allows {available}; {advice}")
            }
            Self::Shader { name, problem } => format!("shader {name}: {problem}"),
            Self::Fetch { url, problem } => format!("cannot fetch {url}: {problem}"),
            Self::Corrupt { path, problem } => {
                format!("{}: {}", path.display(), problem.worded(say))
            }
            Self::Weights { path, problem, tensors } => {
                format!("{}: {problem}:\n  {}", path.display(), listed(tensors))
            }
            Self::Io { action, path, source } => {
                format!("cannot {action} {}: {source}", path.display())
            }
            Self::NotFinite { what, value, step, epoch } => {
                let lr = say(&Hint::Option("lr"));
                format!("{what} became {value} at step {step} (epoch {epoch}): try a lower {lr}")
            }
            Self::Numerics { problem, step, epoch } => {
                format!("step {step} (epoch {epoch}): {problem}")
            }
            Self::Stopped { source, kept } => format!("{}; {kept}", source.worded(say)),
        }
    }

    /// Exit code of errors that leave the device in an unknown state.
    pub const DEVICE_EXIT: u8 = 3;

    /// The exit code of the process for this error.
    pub fn exit_code(&self) -> u8 {
        match self.root() {
            Self::Lost(_) | Self::OutOfMemory(_) | Self::TimedOut(_) => Self::DEVICE_EXIT,
            Self::NotFinite { .. } | Self::Numerics { .. } => 4,
            // As shells report a process that a signal ended.
            Self::Interrupted(signal) => 128 + u8::try_from(*signal).unwrap_or_default(),
            _ => 2,
        }
    }

    /// The cause of [`Error::Stopped`], or the error itself.
    pub fn root(&self) -> &Self {
        match self {
            Self::Stopped { source, .. } => source.root(),
            error => error,
        }
    }

    /// An [`Error::Usage`].
    pub fn usage(message: impl Into<Message>) -> Self {
        Self::Usage(message.into())
    }

    /// A [`Error::Corrupt`] for `path`.
    pub fn corrupt(path: &Path, problem: impl Into<Message>) -> Self {
        Self::Corrupt { path: path.to_owned(), problem: problem.into() }
    }

    /// Wraps an [`std::io::Error`]; use with `map_err`.
    pub fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }
}
