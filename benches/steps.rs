//! Whole training steps: `cargo bench --bench steps [-- --json]` prints images per second and the
//! host's time for networks of every kind, trained by SFF and by backpropagation, on random images.
//! `SFF_TEST_DEVICE` chooses the device.

use std::time::{Duration, Instant};

use serde_json::json;
use sff::block::{Head, Network, Partition};
use sff::gpu::Gpu;
use sff::models::{self, Stem};
use sff::peak::Peak;
use sff::profile::{self, Options};
use sff::shape::Shape;
use sff::{Error, Result, train};

/// Network and images per step, of 32×32 pixels.
const WORK: [(&str, usize); 3] = [("cnn", 32), ("resnet18", 4), ("mobilenet-v3-small", 8)];
const STEPS: usize = 3;
const CLASSES: usize = 10;

fn run(as_json: bool) -> Result<()> {
    let gpu = Gpu::open(std::env::var("SFF_TEST_DEVICE").ok().as_deref())?;
    let peak = Peak::measure(&gpu, Duration::from_millis(200))?;
    if !as_json {
        println!("{} ({})\n", gpu.adapter.name, gpu.adapter.driver);
        let heads = ["images/s", "step, ms", "device, ms", "host, ms", "start, s"];
        println!("{:34}{}", "", heads.map(|head| format!("{head:>12}")).concat());
    }
    for (arch, batch) in WORK {
        for (way, partition, head) in [
            ("sff by block", Partition::Block, Head::goodness(1)),
            ("backpropagation", Partition::Whole, models::classifier(arch)),
        ] {
            let blocks = models::named(arch, &models::CNN_WIDTHS, Stem::Cifar, partition);
            let unknown = || Error::Usage(format!("no network is called {arch}"));
            let network = Network { blocks: blocks.ok_or_else(unknown)?, head, classes: CLASSES };
            let image = Shape::new(1, 32, 32, 3);
            let training = train::Options { batch, ..train::Options::default() };
            let demand = training.demand(&network, image, gpu.limits());
            let built = demand.build(batch, 1, false)?;
            let start = Instant::now();
            let options = Options { steps: STEPS, clock: None, batch, classes: CLASSES };
            let profile = profile::profile(&gpu, &built, peak, options)?;
            let all = start.elapsed().as_secs_f64();
            let host = profile.host.encode_ms + profile.host.submit_ms;
            let rate = 1e3 * batch as f64 / profile.step_ms;
            // Compiling, and the first step.
            let ready =
                (all - 1e-3 * STEPS as f64 * (profile.step_ms + profile.device_ms)).max(0.0);
            if as_json {
                let line = json!({"arch": arch, "way": way, "batch": batch, "images_per_second": rate,
                    "step_ms": profile.step_ms, "device_ms": profile.device_ms, "host_ms": host});
                println!("{line}");
            } else {
                let name = format!("{arch}, batch {batch}, {way}");
                let (step, device) = (profile.step_ms, profile.device_ms);
                println!("{name:34}{rate:12.1}{step:12.2}{device:12.2}{host:12.3}{ready:12.1}");
            }
        }
    }
    Ok(())
}

fn main() -> std::process::ExitCode {
    match run(std::env::args().any(|a| a == "--json")) {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("error: {e}");
            std::process::ExitCode::from(2)
        }
    }
}
