//! Rates from data sheets, to compare measurements with.

use serde::Serialize;

use super::Peak;

/// The vendor's figures for a device at its boost clock. Float16 is the vector rate: [`Peak`] does not
/// measure matrix units.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct Sheet {
    /// Part of the device's name.
    pub name: &'static str,
    /// Multiply-adds of float32, two operations each: 10⁹ per second.
    pub f32_gflops: f64,
    /// The same of float16.
    pub f16_gflops: f64,
    /// Memory bandwidth, 10⁹ bytes per second.
    pub gbs: f64,
}

/// Names as drivers write them, in whole words of any case; more specific ones come before those that
/// are part of them. Sources: NVIDIA's data sheets and the Hopper, Ada, Ampere and Turing white papers;
/// AMD's and Intel's product pages.
const SHEETS: [(&str, f64, f64, f64); 22] = [
    ("NVIDIA H200", 66_900.0, 133_800.0, 4800.0),
    ("NVIDIA H100 NVL", 60_000.0, 120_000.0, 3900.0),
    ("NVIDIA H100 PCIe", 51_200.0, 102_400.0, 2000.0),
    ("NVIDIA H100", 66_900.0, 133_800.0, 3350.0),
    ("NVIDIA A100-PCIE-40GB", 19_500.0, 78_000.0, 1555.0),
    ("NVIDIA A100-SXM4-40GB", 19_500.0, 78_000.0, 1555.0),
    ("NVIDIA A100", 19_500.0, 78_000.0, 2039.0),
    ("NVIDIA L40S", 91_600.0, 91_600.0, 864.0),
    ("NVIDIA L40", 90_500.0, 90_500.0, 864.0),
    ("NVIDIA L4", 30_300.0, 30_300.0, 300.0),
    ("NVIDIA A10", 31_200.0, 31_200.0, 600.0),
    ("Tesla T4", 8100.0, 16_200.0, 320.0),
    ("RTX 5090", 104_800.0, 104_800.0, 1792.0),
    ("RTX 4090 D", 73_500.0, 73_500.0, 1008.0),
    ("RTX 4090", 82_600.0, 82_600.0, 1008.0),
    ("RTX 4070 SUPER", 35_500.0, 35_500.0, 504.0),
    ("RTX 3090 Ti", 40_000.0, 40_000.0, 1008.0),
    ("RTX 3090", 35_600.0, 35_600.0, 936.0),
    ("RX 7900 XTX", 61_400.0, 122_800.0, 960.0),
    ("RX 6900 XT", 23_000.0, 46_100.0, 512.0),
    ("RX 6800 XT", 20_700.0, 41_500.0, 512.0),
    ("Arc(TM) A770", 19_700.0, 39_300.0, 560.0),
];

impl Sheet {
    /// The data sheet of the device of that name, if it is known. Laptop GPUs are excluded: their
    /// clocks depend on the power limit.
    pub fn of(device: &str) -> Option<Self> {
        let device = device.to_lowercase();
        if device.contains("laptop") {
            return None;
        }
        let (name, f32_gflops, f16_gflops, gbs) =
            SHEETS.into_iter().find(|(name, ..)| has_words(&device, &name.to_lowercase()))?;
        Some(Self { name, f32_gflops, f16_gflops, gbs })
    }

    /// The measured share of each figure, as lines that each begin with a newline.
    pub fn next_to(&self, peak: &Peak) -> String {
        let mut out = format!("\nof the data sheet of {}:", self.name);
        let half = peak.f16_gflops.map(|rate| ("float16", rate, self.f16_gflops, "GFLOP/s"));
        let lines = [
            Some(("copy", peak.copy_gbs, self.gbs, "GB/s")),
            Some(("triad", peak.triad_gbs, self.gbs, "GB/s")),
            Some(("float32", peak.f32_gflops, self.f32_gflops, "GFLOP/s")),
            half,
        ];
        for (what, measured, promised, unit) in lines.into_iter().flatten() {
            let share = 100.0 * measured / promised;
            out += &format!("\n{what:10} {share:7.1}% of {promised:.0} {unit}");
        }
        out
    }
}

/// Whether `text` contains `words` as whole words.
fn has_words(text: &str, words: &str) -> bool {
    text.match_indices(words).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        let after = text[at + words.len()..].chars().next();
        [before, after].into_iter().flatten().all(|c| !c.is_alphanumeric())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_match_the_sheet_of_their_exact_model() {
        let name = |device| Sheet::of(device).map(|sheet| sheet.name);
        for (device, sheet) in [
            ("NVIDIA H100 80GB HBM3", "NVIDIA H100"),
            ("NVIDIA H100 PCIe", "NVIDIA H100 PCIe"),
            ("NVIDIA GeForce RTX 4090", "RTX 4090"),
            ("NVIDIA GeForce RTX 4090 D", "RTX 4090 D"),
            ("AMD Radeon RX 7900 XTX (RADV NAVI31)", "RX 7900 XTX"),
            ("NVIDIA L40", "NVIDIA L40"),
            ("Intel(R) Arc(tm) A770 Graphics (DG2)", "Arc(TM) A770"),
        ] {
            assert_eq!(name(device), Some(sheet));
        }
        for device in [
            "NVIDIA GeForce RTX 4090 Laptop GPU",
            "NVIDIA RTX A1000",
            "NVIDIA A10G",
            "AMD Radeon R7 Graphics A10-7850K",
            "NVIDIA GH200 480GB",
            "Intel(R) Arc(TM) A770M Graphics",
            "llvmpipe (LLVM 15.0.6, 256 bits)",
        ] {
            assert_eq!(name(device), None, "{device}");
        }
        for (nth, (name, ..)) in SHEETS.iter().enumerate() {
            assert_eq!(Sheet::of(name).unwrap().name, *name, "entry {nth} is hidden by another");
        }
    }

    #[test]
    fn measurements_are_shown_as_percentages() {
        let sheet = Sheet { name: "X", f32_gflops: 2000.0, f16_gflops: 4000.0, gbs: 100.0 };
        let peak = Peak { f32_gflops: 1000.0, f16_gflops: None, copy_gbs: 90.0, triad_gbs: 80.0 };
        let text = sheet.next_to(&peak);
        assert!(text.contains("copy          90.0% of 100 GB/s"), "{text}");
        assert!(text.contains("float32       50.0% of 2000 GFLOP/s"), "{text}");
        assert!(!text.contains("float16"), "{text}");
    }
}
