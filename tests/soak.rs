//! Nothing grows with the number of steps. `scripts/soak.sh` does the same for a long time.
#![cfg(target_os = "linux")]

mod common;

use std::time::Instant;

use sff::block::{Head, Network, Partition};
use sff::data::shapes;
use sff::models;
use sff::train::{Options, Trainer};

/// Bytes of this process that are in memory.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() << 10
}

#[test]
fn six_hundred_steps_take_no_more_memory_or_time_than_the_first() {
    // Ten steps to an epoch.
    let dataset = shapes::dataset("shapes", 28, 1, 80, 0);
    let head = Head::goodness(3);
    let blocks = models::cnn(&[4], Partition::Layer);
    let network = Network { blocks, head, classes: dataset.classes.len() };
    let options = Options { epochs: 60, batch: 8, ..Options::default() };
    let mut trainer = Trainer::new(&common::gpu(), &network, &dataset, options).unwrap();
    // Of each hundred steps: memory after them, and the quickest ten, because somebody else may be
    // at work for a while.
    let mut hundreds = Vec::new();
    for _ in 0..6 {
        let mut quickest = f64::INFINITY;
        for _ in 0..10 {
            let start = Instant::now();
            trainer.steps(10, |_| {}).unwrap();
            quickest = quickest.min(start.elapsed().as_secs_f64());
            // As a run does when it saves.
            trainer.arrays(true).unwrap();
        }
        hundreds.push((resident(), trainer.session().allocated(), quickest));
    }
    let (first, last) = (hundreds[1], hundreds[5]);
    assert!(last.0 <= first.0 + (4 << 20), "{hundreds:?}");
    assert_eq!(last.1, first.1);
    assert!(last.2 <= 2.0 * first.2, "{hundreds:?}");
}
