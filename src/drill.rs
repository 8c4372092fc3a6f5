//! Faults on purpose: a run meets one at a chosen step, and what it does then can be seen. For
//! tests, and for people who want to know before they trust it with a week.

use std::str::FromStr;

/// What goes wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// The device is destroyed.
    Lost,
    /// There is no memory left on it.
    Memory,
    /// Nobody waits for it any more.
    Stall,
}

/// A fault and its time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Drill {
    /// What goes wrong.
    pub fault: Fault,
    /// Before which step, counted from 1; with 0, [`Fault::Memory`] comes before there is any.
    pub step: u64,
}

impl FromStr for Drill {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (fault, step) = text.split_once('@').ok_or("expected FAULT@STEP")?;
        let fault = match fault {
            "lost" => Fault::Lost,
            "memory" => Fault::Memory,
            "stall" => Fault::Stall,
            _ => return Err("the faults are lost, memory and stall".into()),
        };
        Ok(Self { fault, step: step.parse().map_err(|_| "the step is a number")? })
    }
}
