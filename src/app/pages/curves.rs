//! Losses, accuracies and speed over epochs.

use maud::{Markup, html};

use super::chart::{Chart, Line, Unit};
use super::parts::{details, grid, percent, row, table};
use super::run::SoFar;
use crate::train::metrics::{EpochRecord, Scores};

/// The charts, and a table of their numbers.
pub fn section(blocks: &[String], so_far: &SoFar, rates: &[(f64, f64)]) -> Markup {
    let train = |of: fn(&Scores) -> f64| -> Vec<(f64, f64)> {
        so_far.records.iter().map(|record| (epoch(record), of(&record.train))).collect()
    };
    let test = |of: &dyn Fn(&Scores) -> f64| -> Vec<(f64, f64)> {
        let tested = so_far.records.iter().filter_map(|r| Some((epoch(r), r.test.as_ref()?)));
        tested.map(|(at, scores)| (at, of(scores))).collect()
    };
    let line = |name: &str, points| Line { name: name.to_owned(), points };
    let each = |of: fn(&Scores) -> &[f64]| -> Vec<Line> {
        let points = |block: usize| test(&|scores| of(scores)[block]);
        blocks.iter().enumerate().map(|(i, name)| line(name, points(i))).collect()
    };
    let votes = if blocks.len() == 1 {
        vec![line("test", test(&|s| s.accuracy.all)), line("training", train(|s| s.accuracy.all))]
    } else {
        vec![
            line("all", test(&|s| s.accuracy.all)),
            line("late", test(&|s| s.accuracy.late)),
            line("last", test(&|s| s.accuracy.last)),
            line("training, all", train(|s| s.accuracy.all)),
        ]
    };
    let accuracy = if blocks.len() == 1 { "Accuracy" } else { "Accuracy of votes" };
    let mut charts = vec![
        (accuracy, Unit::Share, votes),
        (
            "Mean loss",
            Unit::Plain,
            vec![line("test", test(&|s| s.loss)), line("training", train(|s| s.loss))],
        ),
    ];
    if blocks.len() > 1 {
        charts.push(("Test accuracy of each block", Unit::Share, each(|s| &s.blocks)));
        charts.push(("Test loss of each block", Unit::Plain, each(|s| &s.losses)));
    }
    charts.push(("Learning rate", Unit::FromZero, vec![line("", rates.to_vec())]));
    let speed = so_far.timings.iter().map(|t| (f64::from(t.epoch), t.images_per_second));
    let speed = vec![line("", speed.collect())];
    charts.push(("Training images per second", Unit::FromZero, speed));
    let charts = html! {
        @for (title, unit, lines) in charts {
            (Chart { title, over: "epoch", unit, lines }.figure())
        }
    };
    html! { (grid(&charts)) (numbers(blocks, so_far)) }
}

fn epoch(record: &EpochRecord) -> f64 {
    f64::from(record.epoch)
}

/// The numbers of all charts as a table.
fn numbers(blocks: &[String], so_far: &SoFar) -> Markup {
    let votes: &[&str] = if blocks.len() == 1 { &[] } else { &["late", "last"] };
    let mut heads = vec!["epoch".to_owned(), "training loss".into(), "training accuracy".into()];
    heads.extend(["test loss".to_owned(), "test accuracy".into()]);
    heads.extend(votes.iter().map(|vote| format!("vote {vote}")));
    if blocks.len() > 1 {
        heads.extend(blocks.iter().cloned());
        heads.extend(blocks.iter().map(|name| format!("loss of {name}")));
    }
    heads.extend(["images/s".to_owned(), "training".into(), "testing".into()]);
    let cells = |record: &EpochRecord| {
        let EpochRecord { epoch, train, test, .. } = record;
        let loss = |value: f64| format!("{value:.4}");
        let share = |value: f64| percent(value, 2);
        let mut cells = vec![loss(train.loss), share(train.accuracy.all)];
        let shown = |of: &dyn Fn(&Scores) -> String| test.as_ref().map_or(String::new(), of);
        cells.push(shown(&|s| loss(s.loss)));
        cells.push(shown(&|s| share(s.accuracy.all)));
        if blocks.len() > 1 {
            cells.push(shown(&|s| share(s.accuracy.late)));
            cells.push(shown(&|s| share(s.accuracy.last)));
            cells.extend((0..blocks.len()).map(|b| shown(&|s| share(s.blocks[b]))));
            cells.extend((0..blocks.len()).map(|b| shown(&|s| loss(s.losses[b]))));
        }
        let timing = so_far.timings.iter().find(|timing| timing.epoch == *epoch);
        cells.push(timing.map_or(String::new(), |t| format!("{:.0}", t.images_per_second)));
        cells.push(timing.map_or(String::new(), |t| format!("{:.1} s", t.train_seconds)));
        cells.push(timing.map_or(String::new(), |t| format!("{:.1} s", t.test_seconds)));
        cells
    };
    let rows = html! { @for record in so_far.records { (row(record.epoch, cells(record))) } };
    details("All numbers", false, &table("All numbers", &heads, &rows))
}
