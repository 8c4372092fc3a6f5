//! Runs a golden case on a machine: a training step, AdamW alone, and an evaluation.

use std::collections::BTreeMap;

use super::Bounds;
use super::case::Case;
use super::machine::Machine;
use sff::internals::base::shape::Layout;
use sff::internals::compiler::ops::scores::late_half;
use sff::internals::compiler::ops::{AdamW, LayerNorm, Op};
use sff::internals::compiler::program::{Built, Parameter, Routine};
use sff::internals::compiler::tensor::TensorId;

/// Golden values by tensor: kind, name and values.
type Expected = BTreeMap<TensorId, Vec<(&'static str, String, Vec<f64>)>>;

/// Values of gradients, by tensor.
type Gradients = BTreeMap<TensorId, Vec<f64>>;

/// `(block, name in the file)` of a parameter or batch norm.
fn golden_name(name: &str) -> (usize, String) {
    let parts = name.split_once('.').expect("names have parts");
    if parts.0 == "fc" {
        return (0, name.to_owned());
    }
    let (block, rest) = match parts {
        ("aux", rest) => {
            let (block, rest) = rest.split_once('.').expect("aux.block.weight");
            (block, if rest == "log_scale" { "log_s".into() } else { format!("aux.{rest}") })
        }
        (block, rest) => (&block[1..], rest.to_owned()),
    };
    (block.parse().expect("the number of a block"), rest)
}

fn key(name: &str, what: &str) -> String {
    let (block, name) = golden_name(name);
    format!("b{block}.{what}.{name}")
}

fn first_largest(values: &[f64]) -> usize {
    (0..values.len()).rev().max_by(|a, b| values[*a].total_cmp(&values[*b])).expect("classes")
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// The mean of some blocks' scores, for each image and class.
fn vote(scores: &[Vec<f64>]) -> Vec<f64> {
    let score = |at: usize| scores.iter().map(|s| s[at]).sum::<f64>() / scores.len() as f64;
    (0..scores[0].len()).map(score).collect()
}

/// One case on one machine.
pub struct Run<'a> {
    pub label: String,
    pub case: &'a Case,
    pub built: &'a Built,
    pub machine: &'a mut dyn Machine,
    pub bounds: &'a Bounds,
    /// The largest difference of each kind, to print how tight the bounds are.
    pub worst: BTreeMap<&'static str, f64>,
}

impl Run<'_> {
    fn layout(&self, id: TensorId) -> Layout {
        self.built.program.tensor(id).layout
    }

    fn golden(&self, key: &str, id: TensorId) -> Vec<f64> {
        self.case.values(key, self.layout(id))
    }

    /// Fails if a value is further from the expected one than `bound` times the largest
    /// magnitude, plus its own `slack`.
    fn compare(&mut self, what: (&'static str, &str), values: (&[f64], &[f64]), bound: f64) {
        self.compare_loosely(what, values, bound, |_| 0.0);
    }

    fn compare_loosely(
        &mut self,
        (kind, what): (&'static str, &str),
        (got, expected): (&[f64], &[f64]),
        bound: f64,
        slack: impl Fn(usize) -> f64,
    ) {
        assert_eq!(got.len(), expected.len(), "{}: {what}", self.label);
        let scale = expected.iter().fold(f64::MIN_POSITIVE, |m, v| m.max(v.abs()));
        for (i, (a, b)) in got.iter().zip(expected).enumerate() {
            let off = ((a - b).abs() - slack(i)) / scale;
            let label = &self.label;
            // A NaN fails this comparison too.
            assert!(off <= bound, "{label}: {what}[{i}] is {a}, not {b}: off by {off:.1e}");
            let worst = self.worst.entry(kind).or_default();
            *worst = worst.max(off);
        }
    }

    pub fn run(&mut self) {
        let (built, case) = (self.built, self.case);
        let (train, eval) = (built.train.as_ref().unwrap(), built.eval.as_ref().unwrap());
        self.feed(train);
        self.reset();
        self.train_step(train);
        self.adamw_from_golden_gradients(train);
        if case.has("votes.all") {
            self.feed(eval);
            self.evaluation(eval);
        }
        // Maps of the auxiliary convolutions are never stored, and the first input is an input of the
        // case.
        let skipped = |key: &str| key == "b0.in" || (key.starts_with('b') && key.ends_with(".a"));
        let left: Vec<_> = case.unused().into_iter().filter(|key| !skipped(key)).collect();
        assert!(left.is_empty(), "{}: never compared: {left:?}", self.label);
        println!("{}: {}", self.label, self.summary());
    }

    fn summary(&self) -> String {
        let each = self.worst.iter().map(|(kind, worst)| format!("{kind} {worst:.1e}"));
        each.collect::<Vec<_>>().join(", ")
    }

    /// Writes a routine's images, labels and per-step values.
    fn feed(&mut self, routine: &Routine) {
        self.machine.set(routine.x, &self.golden("x", routine.x));
        self.machine.set_words(routine.labels, &self.golden("y", routine.labels));
        self.machine.set(routine.step, &self.step(routine).map(f64::from));
    }

    /// The values of the first step. The bias corrections use the float32 betas of the op.
    fn step(&self, routine: &Routine) -> [f32; 4] {
        let adamw = self.case.adamw();
        let [first, second] = [adamw.beta1, adamw.beta2].map(|beta| 1.0 - beta);
        [self.case.setting("lr") as f32, first, second, routine.batch as f32]
    }

    /// Initial weights and running statistics, moments of zero.
    fn reset(&mut self) {
        self.reset_parameters();
        for (name, id) in &self.built.running {
            let running = self.running(name, "w0");
            self.machine.set(*id, &running);
        }
    }

    fn reset_parameters(&mut self) {
        for (name, Parameter { value, m, v, .. }) in &self.built.parameters {
            let initial = self.golden(&key(name, "w0"), *value);
            self.machine.set(*value, &initial);
            let zeros = vec![0.0; initial.len()];
            self.machine.set(*m, &zeros);
            self.machine.set(*v, &zeros);
        }
    }

    /// A row of means and a row of variances.
    fn running(&self, name: &str, when: &str) -> Vec<f64> {
        let row = |row: &str| self.case.values(&key(&format!("{name}.{row}"), when), Layout::Nhwc);
        [row("running_mean"), row("running_var")].concat()
    }

    /// Compares every tensor as soon as it is written, because its memory may be reused later.
    /// Gradients of parameters are read right before the update.
    fn train_step(&mut self, routine: &Routine) {
        let built = self.built;
        let mut expected = self.expected_maps(routine);
        for (name, id) in &built.running {
            expected.entry(*id).or_default().push((
                "running",
                format!("{name} running statistics"),
                self.running(name, "w1"),
            ));
        }
        let mut blocks = 0;
        for index in routine.ops.clone().skip(1) {
            let op = &built.program.ops()[index];
            let gradients = match &op.op {
                Op::AdamW(AdamW { grads, .. }) => self.compare_gradients(*grads),
                _ => Gradients::new(),
            };
            self.machine.run(index);
            for id in op.access().writes.into_iter().flat_map(|id| built.program.members(id)) {
                for (kind, what, golden) in expected.remove(&id).unwrap_or_default() {
                    let got = self.machine.get(id);
                    let bound = match kind {
                        "running" => self.bounds.running,
                        _ => self.bounds.forward,
                    };
                    self.compare((kind, &what), (&got, &golden), bound);
                }
                if let Some(block) = routine.losses.iter().position(|loss| *loss == id) {
                    self.compare_loss(block, id);
                }
            }
            if let Op::AdamW(AdamW { params, .. }) = &op.op {
                // The relative error of a square is twice that of the gradient.
                self.compare_update(*params, &gradients, 2.0 * self.bounds.gradient);
                blocks += 1;
            }
        }
        assert!(expected.is_empty(), "{}: never written: {expected:?}", self.label);
        assert_eq!(blocks, routine.scores.len(), "{}: updates", self.label);
        let golden: Vec<_> = (0..blocks).map(|block| self.scores(routine, block).1).collect();
        self.compare_metrics(routine, &golden, self.bounds.forward);
    }

    /// The scores of a block in training: logits, or scaled goodness.
    fn scores(&self, routine: &Routine, block: usize) -> (String, Vec<f64>) {
        let logits = format!("b{block}.logits");
        if self.case.has(&logits) {
            let golden = self.golden(&logits, routine.scores[block]);
            return (logits, golden);
        }
        self.scaled_goodness(routine, block, ("g", "w0"))
    }

    /// The goodness of the file, which is before scaling, times the scale. The scale may be a
    /// parameter; its value is then read at the time `when`.
    fn scaled_goodness(
        &self,
        routine: &Routine,
        block: usize,
        (what, when): (&str, &str),
    ) -> (String, Vec<f64>) {
        let (key, log_scale) = (format!("b{block}.{what}"), format!("b{block}.{when}.log_s"));
        let scale = match self.case.has(&log_scale) {
            true => self.case.values(&log_scale, Layout::Nhwc)[0].exp(),
            false => self.case.setting("scale"),
        };
        let goodness = self.golden(&key, routine.scores[block]);
        (key, goodness.into_iter().map(|g| scale * g).collect())
    }

    /// Golden values of the forward pass: inputs of blocks, outputs before and after layer norm, and
    /// scores.
    fn expected_maps(&self, routine: &Routine) -> Expected {
        let mut expected = Expected::new();
        let mut expect = |id: TensorId, (key, golden): (String, Vec<f64>)| {
            expected.entry(id).or_default().push(("forward", key, golden));
        };
        let map = |id: TensorId, key: String| {
            let golden = self.golden(&key, id);
            (key, golden)
        };
        for (block, (input, n)) in routine.maps.iter().enumerate() {
            expect(routine.scores[block], self.scores(routine, block));
            // The raw output is the input of layer norm; a linear head has no layer norm.
            let ops = &self.built.program.ops()[routine.ops.clone()];
            let raw = ops.iter().find_map(|op| match &op.op {
                Op::LayerNorm(LayerNorm { x, y, .. }) if y == n => Some(*x),
                _ => None,
            });
            if let Some(h) = raw {
                expect(h, map(h, format!("b{block}.h")));
                expect(*n, map(*n, format!("b{block}.n")));
            }
            if block > 0 {
                expect(*input, map(*input, format!("b{block}.in")));
            }
        }
        expected
    }

    fn compare_loss(&mut self, block: usize, losses: TensorId) {
        let key = format!("b{block}.loss");
        let golden = self.golden(&key, losses);
        let loss = mean(&self.machine.get(losses));
        self.compare(("loss", &key), (&[loss], &golden), self.bounds.forward);
    }

    /// The parameters whose `part` is in a slab, by name.
    fn members(
        &self,
        slab: TensorId,
        part: impl Fn(&Parameter) -> TensorId,
    ) -> Vec<(String, Parameter)> {
        let members = self.built.program.members(slab);
        let named = self.built.parameters.iter().filter(|(_, p)| members.contains(&part(p)));
        let named: Vec<_> = named.map(|(name, p)| (name.clone(), p.clone())).collect();
        assert_eq!(named.len(), members.len());
        named
    }

    fn compare_gradients(&mut self, slab: TensorId) -> Gradients {
        let mut gradients = Gradients::new();
        for (name, p) in self.members(slab, |p| p.grad) {
            let key = key(&name, "grad");
            let (got, golden) = (self.machine.get(p.grad), self.golden(&key, p.grad));
            self.compare(("gradient", &key), (&got, &golden), self.bounds.gradient);
            gradients.insert(p.grad, got);
        }
        gradients
    }

    /// Compares moments and weights after an update with `gradients`.
    ///
    /// The moments are `(1 - beta) g` and `(1 - beta) g²`. The op has float32 betas, and the relative
    /// error of `1 - 0.999f32` is 1.3e-5: the golden moments are corrected by that first.
    ///
    /// Weights change by `lr · u(g)`, where `u(g) = g / (|g| + eps)` is nearly the sign of the
    /// gradient. So each weight has a slack of `lr` times the difference between u of its gradient and
    /// u of the golden one. It is about 0 except for gradients so close to zero that rounding decides
    /// their sign; these were compared before.
    fn compare_update(&mut self, slab: TensorId, gradients: &Gradients, moments: f64) {
        let (case, adamw) = (self.case, self.case.adamw());
        let (lr, eps) = (case.setting("lr"), case.setting("eps"));
        for (name, p) in self.members(slab, |p| p.value) {
            for (i, (moment, id, beta)) in
                [("m", p.m, adamw.beta1), ("v", p.v, adamw.beta2)].into_iter().enumerate()
            {
                let key = format!("{}.{moment}", key(&name, "opt"));
                let factor = (1.0 - f64::from(beta)) / (1.0 - case.beta(i));
                let golden: Vec<_> = self.golden(&key, id).iter().map(|v| v * factor).collect();
                let got = self.machine.get(id);
                self.compare((moment, &key), (&got, &golden), moments);
            }
            let (own, golden) = (&gradients[&p.grad], self.golden(&key(&name, "grad"), p.grad));
            let u = |g: f64| g / (g.abs() + eps);
            let slack = |i: usize| lr * (u(own[i]) - u(golden[i])).abs();
            let key = key(&name, "w1");
            let (got, golden) = (self.machine.get(p.value), self.golden(&key, p.value));
            self.compare_loosely(("weight", &key), (&got, &golden), self.bounds.weight, slack);
        }
    }

    /// Runs AdamW from the initial weights with the golden gradients.
    fn adamw_from_golden_gradients(&mut self, routine: &Routine) {
        let built = self.built;
        self.reset_parameters();
        for index in routine.ops.clone() {
            let Op::AdamW(AdamW { params, .. }) = built.program.ops()[index].op else { continue };
            // One block at a time, because gradients of blocks may share memory.
            let mut gradients = Gradients::new();
            for (name, p) in self.members(params, |p| p.value) {
                let golden = self.golden(&key(&name, "grad"), p.grad);
                self.machine.set(p.grad, &golden);
                gradients.insert(p.grad, golden);
            }
            self.machine.run(index);
            self.compare_update(params, &gradients, self.bounds.weight);
        }
    }

    /// Compares scores, votes and metrics in evaluation, with the weights that
    /// [`Run::adamw_from_golden_gradients`] wrote and the running statistics of the training step.
    fn evaluation(&mut self, routine: &Routine) {
        let (built, bound) = (self.built, self.bounds.running);
        let mut scores = Vec::new();
        for index in routine.ops.clone().skip(1) {
            self.machine.run(index);
            for id in built.program.ops()[index].access().writes {
                if routine.scores.contains(&id) {
                    scores.push(self.machine.get(id));
                }
            }
        }
        let blocks = routine.scores.len();
        assert_eq!(scores.len(), blocks);
        let mut golden = Vec::new();
        for (block, got) in scores.iter().enumerate() {
            let (key, expected) = self.scaled_goodness(routine, block, ("g_eval", "w1"));
            self.compare(("evaluation", &key), (got, &expected), bound);
            golden.push(expected);
        }
        for (key, vote) in
            [("votes.all", vote(&scores)), ("votes.last", vote(&scores[blocks - 1..]))]
        {
            let golden = self.golden(key, routine.scores[0]);
            self.compare(("evaluation", key), (&vote, &golden), bound);
        }
        let chosen: Vec<f64> =
            vote(&scores).chunks(self.case.classes).map(|s| first_largest(s) as f64).collect();
        assert_eq!(chosen, self.case.values("pred.all", Layout::Words), "{}", self.label);
        self.compare_metrics(routine, &golden, bound);
    }

    /// Compares the routine's metrics with those computed from golden scores.
    fn compare_metrics(&mut self, routine: &Routine, scores: &[Vec<f64>], bound: f64) {
        let labels = self.case.values("y", Layout::Words);
        let blocks = scores.len();
        let classes = self.case.classes;
        let loss = |scores: &Vec<f64>| -> f64 {
            let images = scores.chunks(classes).zip(&labels);
            images.map(|(s, y)| s.iter().map(|s| s.exp()).sum::<f64>().ln() - s[*y as usize]).sum()
        };
        let correct = |scores: &[Vec<f64>]| {
            let votes = vote(scores);
            let images = votes.chunks(classes).zip(&labels);
            images.filter(|(s, y)| first_largest(s) == **y as usize).count() as f64
        };
        let losses: Vec<f64> = scores.iter().map(loss).collect();
        let mut counts: Vec<f64> = scores.chunks(1).map(correct).collect();
        counts.extend([scores, &scores[late_half(blocks)..], &scores[blocks - 1..]].map(correct));
        let got = self.machine.get(routine.metrics);
        self.compare(("loss", "summed losses"), (&got[..blocks], &losses), bound);
        let (correct, faults) = got[blocks..].split_at(counts.len());
        assert_eq!(correct, counts, "{}: correct answers", self.label);
        assert!(faults.iter().all(|f| *f == 0.0), "{}: faults {faults:?}", self.label);
    }
}
