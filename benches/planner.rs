//! Time to build and plan programs: `cargo bench --bench planner [-- --json]`, for the largest networks
//! at 224 pixels, batch 256, 1000 classes. Needs no device.

use std::time::{Duration, Instant};

use serde_json::json;
use sff::Result;
use sff::internals::app::config::{Batch, Config, Method, Recipe};
use sff::internals::base::shape::Shape;
use sff::internals::compiler::budget::Demand;
use sff::internals::compiler::plan::{Limits, Plan};

/// Runs of each; the fastest counts.
const RUNS: usize = 5;

fn run(as_json: bool) -> Result<()> {
    if !as_json {
        println!("{:40}{:>8}{:>12}{:>12}{:>12}", "", "ops", "build, ms", "plan, ms", "peak, MiB");
    }
    for arch in ["resnet18", "mobilenet-v3-large"] {
        for method in [Method::Sff, Method::Bp] {
            let config = Config::resolve(Recipe {
                arch: Some(arch.into()),
                method: Some(method),
                batch: Some(Batch::Images(256)),
                ..Recipe::default()
            })?;
            let network = config.network(1000, 224);
            let image = Shape::new(1, 224, 224, 3);
            let demand = Demand::new(&network, image, &config.training(), Limits::NONE);
            let (mut build, mut plan) = (Duration::MAX, Duration::MAX);
            let (mut ops, mut peak) = (0, 0);
            for _ in 0..RUNS {
                let start = Instant::now();
                let built = demand.build(256, 1, false)?;
                build = build.min(start.elapsed());
                let start = Instant::now();
                let planned = Plan::new(&built.program, Limits::NONE)?;
                plan = plan.min(start.elapsed());
                (ops, peak) = (built.program.ops().len(), planned.bytes);
            }
            let ms = |time: Duration| 1e3 * time.as_secs_f64();
            let (build, plan, name) = (ms(build), ms(plan), format!("{arch}, {method:?}"));
            if as_json {
                let line = json!({"name": name, "ops": ops, "build_ms": build, "plan_ms": plan, "peak_bytes": peak});
                println!("{line}");
            } else {
                let peak = peak as f64 / f64::from(1 << 20);
                println!("{name:40}{ops:8}{build:12.2}{plan:12.2}{peak:12.1}");
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
