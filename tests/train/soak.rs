//! Memory and the time per step do not grow with the number of steps. `scripts/soak.sh` tests this for
//! longer.

use std::process::Command;
use std::time::Instant;

use sff::internals::data::shapes;
use sff::internals::net::layers::{Head, Network};
use sff::internals::net::models;
use sff::internals::net::options::{Partition, TrainOptions};
use sff::internals::train::trainer::Trainer;

/// Resident memory of this process, in bytes.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() << 10
}

/// Runs in a process of its own, because other tests change the memory of this one.
#[test]
fn six_hundred_steps_take_no_more_memory_or_time_than_the_first() {
    let test = "train::soak::six_hundred_steps_alone";
    let mut command = Command::new(std::env::current_exe().unwrap());
    let output = command.args(["--exact", test, "--ignored"]).output().unwrap();
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && printed.contains("1 passed"), "{printed}");
}

#[test]
#[ignore = "measures the process: the test above runs it"]
fn six_hundred_steps_alone() {
    // Ten steps per epoch.
    let dataset = shapes::dataset("shapes", 28, 1, 80, 0);
    let head = Head::goodness(3);
    let blocks = models::cnn(&[4], Partition::Layer);
    let network = Network { blocks, head, classes: dataset.classes.len() };
    let options = TrainOptions { epochs: 60, batch: 8, ..TrainOptions::default() };
    let mut trainer = Trainer::new(&crate::common::gpu(), &network, &dataset, options).unwrap();
    // For each hundred steps: memory after them, and the time of the fastest ten, because other tests
    // run at the same time.
    let mut hundreds = Vec::new();
    for _ in 0..6 {
        let mut quickest = f64::INFINITY;
        for _ in 0..10 {
            let start = Instant::now();
            trainer.steps(10, |_| {}).unwrap();
            quickest = quickest.min(start.elapsed().as_secs_f64());
            // As in saving a checkpoint.
            trainer.arrays(true).unwrap();
        }
        hundreds.push((resident(), trainer.session().allocated(), quickest));
    }
    let (first, last) = (hundreds[1], hundreds[5]);
    assert!(last.0 <= first.0 + (4 << 20), "{hundreds:?}");
    assert_eq!(last.1, first.1);
    let quickest =
        |hundreds: &[(usize, _, f64)]| hundreds.iter().map(|h| h.2).fold(f64::INFINITY, f64::min);
    assert!(quickest(&hundreds[3..]) <= 2.0 * quickest(&hundreds[..3]), "{hundreds:?}");
}
