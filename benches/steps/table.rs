//! Results as lines of JSON, and as a table with a row per case and a column per program.

use std::path::Path;

use serde::{Deserialize, Serialize};
use sff::Result;
use sff::internals::base::files::read_text;

/// One case of one program.
#[derive(Clone, Default, Serialize, Deserialize)]
pub struct Row {
    /// The program.
    pub peer: String,
    pub arch: String,
    pub classes: usize,
    pub batch: usize,
    /// `f32` or `f16`.
    pub precision: String,
    /// `sff` or `bp`.
    pub method: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub images_per_second: Option<f64>,
    /// Time of a training step.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step_ms: Option<f64>,
    /// Sum of the times of all dispatches, each timed alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device_ms: Option<f64>,
    /// Seconds until the first step is done, with compiling but without tuning.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_s: Option<f64>,
    /// Time of the host to encode and submit a step.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host_ms: Option<f64>,
    /// Peak memory: of the plan, or of PyTorch's allocator.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peak_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// The error, if there are no figures.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl Row {
    fn case(&self) -> [String; 5] {
        let Self { arch, classes, batch, precision, method, .. } = self;
        [arch.clone(), classes.to_string(), batch.to_string(), precision.clone(), method.clone()]
    }
}

/// Reads rows that `--json` printed. Lines that do not parse are skipped: the last one is incomplete if
/// the time was over.
pub fn read(path: &Path) -> Result<Vec<Row>> {
    let text = read_text(path)?;
    Ok(text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect())
}

/// Images per second and memory of each case, with a column for each program.
pub fn markdown(rows: &[Row]) -> String {
    let mut peers: Vec<&str> = Vec::new();
    let mut cases: Vec<[String; 5]> = Vec::new();
    for row in rows {
        if !peers.contains(&row.peer.as_str()) {
            peers.push(&row.peer);
        }
        if !cases.contains(&row.case()) {
            cases.push(row.case());
        }
    }
    let others: Vec<&str> = peers.iter().copied().filter(|peer| *peer != "sff").collect();
    let mut heads =
        ["network", "classes", "batch", "precision", "method"].map(String::from).to_vec();
    heads.extend(
        ["sff, images/s", "step, ms", "dispatches, ms", "host, ms", "start, s", "MiB"]
            .map(String::from),
    );
    for peer in &others {
        heads.extend([format!("{peer}, images/s"), format!("sff to {peer}"), "MiB".into()]);
    }
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let mut out = line(&heads) + &"|---".repeat(heads.len()) + "|\n";
    for case in &cases {
        let find = |peer: &str| rows.iter().find(|row| row.peer == peer && row.case() == *case);
        let ours = find("sff").cloned().unwrap_or_default();
        let number = |value: Option<f64>, digits: usize| {
            value.map_or(String::new(), |value| format!("{value:.digits$}"))
        };
        let mib = |row: &Row| number(row.peak_bytes.map(|b| b as f64 / f64::from(1 << 20)), 0);
        let speed = |row: &Row| row.error.clone().unwrap_or(number(row.images_per_second, 0));
        let mut cells = case.to_vec();
        cells.extend([speed(&ours), number(ours.step_ms, 2), number(ours.device_ms, 2)]);
        cells.extend([number(ours.host_ms, 2), number(ours.start_s, 1), mib(&ours)]);
        for peer in &others {
            let theirs = find(peer).cloned().unwrap_or_default();
            let ratio = ours.images_per_second.zip(theirs.images_per_second).map(|(a, b)| a / b);
            cells.extend([speed(&theirs), number(ratio, 2), mib(&theirs)]);
        }
        out += &line(&cells);
    }
    out
}
