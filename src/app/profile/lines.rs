//! Times and work of dispatches, summed by kernel, kind of op, op and block.

use std::collections::BTreeMap;
use std::ops::Range;

use super::{Line, OpLine};
use crate::Result;
use crate::compiler::program::Built;
use crate::compiler::work::{Traffic, Work, label, share};
use crate::gpu::peak::Peak;
use crate::gpu::session::Session;

/// A dispatch of a step.
pub(super) struct Dispatched {
    /// Index of its op in the program.
    pub op: usize,
    /// Its kernel, with the tiles.
    pub kernel: String,
    pub work: Work,
    /// Its time; 0 before it is measured.
    pub seconds: f64,
}

/// The dispatches of a step that runs these ranges of ops, in order and without times.
///
/// # Errors
/// Those of [`share`].
pub(super) fn dispatched(
    session: &Session,
    built: &Built,
    runs: &[Range<usize>],
) -> Result<Vec<Dispatched>> {
    let (program, mut traffic, mut all) = (&built.program, Traffic::default(), Vec::new());
    for op in runs.iter().cloned().flatten() {
        let dispatches = session.dispatches(op..op + 1);
        let shares = share(&program.ops()[op], program.tensors(), dispatches, &mut traffic)?;
        all.extend(shares.into_iter().zip(dispatches).map(|(work, dispatch)| Dispatched {
            op,
            kernel: label(&dispatch.kernel),
            work,
            seconds: 0.0,
        }));
    }
    Ok(all)
}

/// The sums of a [`Line`].
#[derive(Clone, Copy, Default)]
struct Sum {
    calls: usize,
    seconds: f64,
    work: Work,
    /// The least seconds that the peak allows.
    least: f64,
}

/// Sums dispatches into lines.
pub(super) struct Lines<'a> {
    pub built: &'a Built,
    pub dispatches: &'a [Dispatched],
    pub peak: Option<Peak>,
    /// Seconds of all dispatches.
    pub seconds: f64,
}

impl Lines<'_> {
    /// A line for each kernel, most time first.
    pub fn by_kernel(&self) -> Vec<Line> {
        by_time(self.by(|d| d.kernel.clone()))
    }

    /// A line for each kind of op, most time first.
    pub fn by_op(&self) -> Vec<Line> {
        by_time(self.by(|d| self.op_name(d.op).to_owned()))
    }

    /// A line for each block, in order.
    pub fn by_block(&self) -> Vec<Line> {
        let blocks = self.by(|d| self.block(d.op)).into_iter();
        blocks.map(|(block, line)| Line { name: self.block_name(block), ..line }).collect()
    }

    /// A line for each op, in order.
    pub fn ops(&self) -> Vec<OpLine> {
        self.by(|d| d.op)
            .into_iter()
            .map(|(index, line)| OpLine {
                index,
                block: self.block_name(self.block(index)),
                line: Line { name: self.op_name(index).to_owned(), ..line },
            })
            .collect()
    }

    fn by<K: Ord + ToString>(&self, key: impl Fn(&Dispatched) -> K) -> Vec<(K, Line)> {
        let mut sums: BTreeMap<K, Sum> = BTreeMap::new();
        for dispatch in self.dispatches {
            let Work { flops, bytes } = dispatch.work;
            let sum = sums.entry(key(dispatch)).or_default();
            sum.calls += 1;
            sum.seconds += dispatch.seconds;
            sum.work.flops += flops;
            sum.work.bytes += bytes;
            sum.least += self.peak.map_or(0.0, |peak| peak.seconds(flops, bytes));
        }
        sums.into_iter()
            .map(|(key, sum)| {
                let line = self.line(key.to_string(), sum);
                (key, line)
            })
            .collect()
    }

    fn line(&self, name: String, sum: Sum) -> Line {
        // Below the resolution of the clock there is no rate.
        let per_second = |amount: f64| if sum.seconds > 0.0 { amount / sum.seconds } else { 0.0 };
        Line {
            name,
            calls: sum.calls,
            ms: 1e3 * sum.seconds,
            share: sum.seconds / self.seconds.max(f64::MIN_POSITIVE),
            mflop: 1e-6 * sum.work.flops,
            mb: 1e-6 * sum.work.bytes,
            gflops: per_second(1e-9 * sum.work.flops),
            gbs: per_second(1e-9 * sum.work.bytes),
            roofline: self.peak.map(|_| per_second(sum.least)),
        }
    }

    fn op_name(&self, op: usize) -> &'static str {
        self.built.program.ops()[op].name()
    }

    /// The block of an op; the number of blocks if it has none.
    fn block(&self, op: usize) -> usize {
        self.built.program.block_of(op).unwrap_or(self.built.blocks.len())
    }

    fn block_name(&self, block: usize) -> String {
        self.built.blocks.get(block).map_or("input, metrics".into(), Clone::clone)
    }
}

fn by_time(lines: Vec<(String, Line)>) -> Vec<Line> {
    let mut lines: Vec<Line> = lines.into_iter().map(|(_, line)| line).collect();
    lines.sort_by(|a, b| b.ms.total_cmp(&a.ms));
    lines
}
