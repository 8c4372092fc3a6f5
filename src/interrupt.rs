//! Signals that ask a run to end: it finishes a step, saves, and says so.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::low_level;

use crate::{Error, Result};

/// Whether somebody asked. The default one is never asked by a signal.
#[derive(Clone, Debug, Default)]
pub struct Interrupt(Arc<AtomicUsize>);

impl Interrupt {
    /// From now on, the first SIGINT (Ctrl-C) or SIGTERM asks, and a second one ends the process
    /// at once.
    ///
    /// # Errors
    /// [`Error::Usage`] if the system refuses.
    pub fn on_signals() -> Result<Self> {
        let asked = Self::default();
        for signal in [SIGINT, SIGTERM] {
            let seen = asked.0.clone();
            // In one step, because the other signal may be handled by another thread meanwhile.
            let handle = move || {
                if seen.swap(signal as usize, Ordering::SeqCst) != 0 {
                    low_level::exit(128 + signal);
                }
            };
            // SAFETY: to swap an atomic and to end the process at once are allowed in a handler.
            unsafe { low_level::register(signal, handle) }
                .map_err(|e| Error::Usage(format!("signals cannot be handled: {e}")))?;
        }
        Ok(asked)
    }

    /// Asks, as `signal` would.
    pub fn ask(&self, signal: i32) {
        self.0.store(signal as usize, Ordering::SeqCst);
    }

    /// Whether somebody asked.
    pub fn asked(&self) -> bool {
        self.check().is_err()
    }

    /// For where work can end.
    ///
    /// # Errors
    /// [`Error::Interrupted`] if somebody asked.
    pub fn check(&self) -> Result<()> {
        match self.0.load(Ordering::SeqCst) {
            0 => Ok(()),
            signal => Err(Error::Interrupted(signal as i32)),
        }
    }
}

/// What a signal is called.
pub(crate) fn name(signal: i32) -> String {
    match signal {
        SIGINT => "SIGINT".into(),
        SIGTERM => "SIGTERM".into(),
        other => format!("signal {other}"),
    }
}
