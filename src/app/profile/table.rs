//! A profile as text.

use std::fmt;

use super::{Line, Profile};

impl Profile {
    /// Names and values about the whole step.
    pub fn summary(&self) -> Vec<(&'static str, String)> {
        let Self { peak, host, .. } = self;
        let rate = 1e3 * self.batch as f64 / self.step_ms;
        let mut summary = vec![
            ("device", self.device.clone()),
            ("timed by", format!("{}; medians of {} steps", self.clock, self.steps)),
            ("step", format!("{:.2} ms, {rate:.1} images per second", self.step_ms)),
            ("dispatches", format!("{:.2} ms in all", self.device_ms)),
            (
                "host",
                format!(
                    "{:.3} ms ({:.3} encoding, {:.3} submitting), {:.2}% of the dispatches' time",
                    host.encode_ms + host.submit_ms,
                    host.encode_ms,
                    host.submit_ms,
                    100.0 * host.share
                ),
            ),
        ];
        summary.extend(peak.map(|peak| {
            let f16 = peak.f16_gflops.map_or("no f16".into(), |rate| format!("{rate:.1} in f16"));
            let (rate, memory) = (peak.f32_gflops, peak.gbs());
            let shown = format!("{rate:.1} GFLOP/s in f32, {f16}; memory {memory:.1} GB/s");
            ("peak, measured", shown)
        }));
        summary
    }

    /// The tables: what the lines of each stand for, and the lines.
    pub fn tables(&self) -> [(&'static str, &[Line]); 3] {
        [("block", &self.by_block), ("op", &self.by_op), ("kernel", &self.by_kernel)]
    }
}

/// Heads of the columns after the name.
pub const COLUMNS: [&str; 8] =
    ["calls", "ms", "share", "MFLOP", "MB", "GFLOP/s", "GB/s", "of roofline"];

impl Line {
    /// The columns after the name.
    pub fn cells(&self) -> [String; 8] {
        let percent = |part: f64| format!("{:.1}%", 100.0 * part);
        [
            self.calls.to_string(),
            format!("{:.3}", self.ms),
            percent(self.share),
            format!("{:.2}", self.mflop),
            format!("{:.2}", self.mb),
            format!("{:.2}", self.gflops),
            format!("{:.2}", self.gbs),
            self.roofline.map_or("-".into(), percent),
        ]
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, value) in self.summary() {
            writeln!(f, "{name:15} {value}")?;
        }
        for (by, lines) in self.tables() {
            let names = lines.iter().map(|line| line.name.chars().count());
            let width = names.max().unwrap_or(0).max(by.len());
            write!(f, "\n{by:width$}")?;
            row(f, COLUMNS)?;
            for line in lines {
                write!(f, "\n{:width$}", line.name)?;
                row(f, line.cells())?;
            }
            if by != "kernel" {
                writeln!(f)?;
            }
        }
        Ok(())
    }
}

fn row(f: &mut fmt::Formatter<'_>, cells: [impl AsRef<str>; 8]) -> fmt::Result {
    const WIDTHS: [usize; 8] = [6, 10, 7, 10, 9, 9, 8, 12];
    let each = cells.iter().zip(WIDTHS);
    each.into_iter().try_for_each(|(cell, width)| write!(f, "{:>width$}", cell.as_ref()))
}
