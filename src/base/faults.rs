//! Fault injection: a fault happens at a chosen step, for tests and to try how a run recovers.

use std::str::FromStr;

/// What goes wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FaultKind {
    /// The device is destroyed.
    Lost,
    /// The device has no memory left.
    Memory,
    /// Waiting for the device times out.
    Stall,
}

/// A fault, and when it happens.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fault {
    /// What goes wrong.
    pub kind: FaultKind,
    /// Before which step, counted from 1; [`FaultKind::Memory`] at 0 comes before the first.
    pub step: u64,
}

impl FromStr for Fault {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (kind, step) = text.split_once('@').ok_or("expected FAULT@STEP")?;
        let kind = match kind {
            "lost" => FaultKind::Lost,
            "memory" => FaultKind::Memory,
            "stall" => FaultKind::Stall,
            _ => return Err("the faults are lost, memory and stall".into()),
        };
        Ok(Self { kind, step: step.parse().map_err(|_| "the step is a number")? })
    }
}
