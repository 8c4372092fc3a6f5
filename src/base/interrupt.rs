//! Interrupts: a run that is asked to stop finishes its step, saves, and exits.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::{Error, Result};

/// The interrupt of a terminal (Ctrl-C), by its POSIX number.
pub const SIGINT: i32 = 2;
/// The request to terminate, by its POSIX number.
pub const SIGTERM: i32 = 15;

/// Whether an interrupt was requested, and by which signal. Clones share the request.
#[derive(Clone, Debug, Default)]
pub struct Interrupt(Arc<AtomicUsize>);

impl Interrupt {
    /// Requests an interrupt, as `signal` would; returns whether it is the first request. Safe to
    /// call in a signal handler.
    pub fn request(&self, signal: i32) -> bool {
        // Atomic: the other signal may be handled by another thread at the same time.
        self.0.swap(signal as usize, Ordering::SeqCst) == 0
    }

    /// Whether an interrupt was requested.
    pub fn requested(&self) -> bool {
        self.check().is_err()
    }

    /// To be called where work can stop.
    ///
    /// # Errors
    /// [`Error::Interrupted`] if an interrupt was requested.
    pub fn check(&self) -> Result<()> {
        match self.0.load(Ordering::SeqCst) {
            0 => Ok(()),
            signal => Err(Error::Interrupted(signal as i32)),
        }
    }
}

/// The name of a signal.
pub(crate) fn name(signal: i32) -> String {
    match signal {
        SIGINT => "SIGINT".into(),
        SIGTERM => "SIGTERM".into(),
        other => format!("signal {other}"),
    }
}
