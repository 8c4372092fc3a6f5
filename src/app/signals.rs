//! Signals of the operating system that ask a run to end.

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::low_level;

use crate::base::interrupt::Interrupt;
use crate::{Error, Result};

/// From now on, the first SIGINT (Ctrl-C) or SIGTERM requests the interrupt that is returned, and a
/// second one ends the process at once.
///
/// # Errors
/// [`Error::Usage`] if the system refuses.
pub fn interrupt() -> Result<Interrupt> {
    let interrupt = Interrupt::default();
    for signal in [SIGINT, SIGTERM] {
        let requested = interrupt.clone();
        let handle = move || {
            if !requested.request(signal) {
                low_level::exit(128 + signal);
            }
        };
        // SAFETY: a signal handler may swap an atomic and end the process at once.
        unsafe { low_level::register(signal, handle) }
            .map_err(|e| Error::usage(format!("signals cannot be handled: {e}")))?;
    }
    Ok(interrupt)
}
