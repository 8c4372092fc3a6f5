//! From a network to the program that trains and evaluates it.

use std::collections::VecDeque;

use super::emit::Emitter;
use super::layers::Norm;
use super::setup::{Built, Feed, Routine, Setup, check};
use super::tape::Tape;
use crate::Result;
use crate::base::shape::Window;
use crate::compiler::ops;
use crate::compiler::ops::scores::metrics_words;
use crate::compiler::tensor::TensorId;
use crate::net::layers::{Activation, Goodness, Head, Layer, Network};

/// Builds the program. Each block runs forward, loss and backward, in order. A block is updated as soon as
/// no later loss reaches it, which ends the life of its activations; with a window of 0, that is before
/// the next block begins.
///
/// # Errors
/// [`crate::Error::Model`] if the network is invalid or does not fit the images.
pub fn build(network: &Network, setup: &Setup) -> Result<Built> {
    check(network, setup)?;
    let mut emitter = Emitter::new(setup.train.is_some(), setup.micro_batches > 1, setup.recompute);
    let mut routine = |name, feed: Option<Feed>| {
        feed.map(|feed| RoutineBuilder { network, setup, feed, name }.build(&mut emitter))
            .transpose()
    };
    let train = routine("train", setup.train)?;
    let eval = routine("eval", setup.eval)?;
    let first = emitter.program.ops().len();
    let update = train.as_ref().filter(|_| setup.micro_batches > 1).map(|train| {
        for block in 0..network.blocks.len() {
            emitter.block(block);
            let scale = setup.precision.gradient_scale(train.batch);
            emitter.adamw(train.step, setup.adamw, scale);
        }
        first..emitter.program.ops().len()
    });
    let Emitter { program, parameters, running, .. } = emitter;
    program.validate()?;
    let blocks = network.blocks.iter().map(|b| b.name.clone()).collect();
    let recompute = setup.recompute;
    Ok(Built { program, train, update, eval, parameters, running, blocks, recompute })
}

/// Builds one of the program's routines.
pub(super) struct RoutineBuilder<'a> {
    pub network: &'a Network,
    pub setup: &'a Setup,
    pub feed: Feed,
    pub name: &'static str,
}

/// A block after its loss, which waits for gradients of later losses.
struct Waiting {
    block: usize,
    tape: Tape,
    /// The layer norm at the block's end.
    norm: Option<Norm>,
    /// Gradient of the block's own loss with respect to its normalised output.
    dy: TensorId,
}

impl RoutineBuilder<'_> {
    /// Emits one batch: input, all blocks, metrics.
    fn build(&self, e: &mut Emitter) -> Result<Routine> {
        e.routine(self.name, self.training());
        let mut routine = self.declare(e)?;
        self.blocks(e, &mut routine)?;
        e.program.fuse(routine.ops.start);
        routine.ops.end = e.program.ops().len();
        routine.dropout_key = e.dropout_key;
        Ok(routine)
    }

    /// The algorithm: each block goes forward, gets the loss of its own goodness, goes backward,
    /// and is updated. Then nothing reads its activations any more, and the plan gives their memory
    /// to the next block.
    fn blocks(&self, e: &mut Emitter, routine: &mut Routine) -> Result<()> {
        let mut input = routine.x;
        let (mut waiting, mut updated) = (VecDeque::new(), Vec::new());
        for (index, block) in self.network.blocks.iter().enumerate() {
            e.block(index);
            let (h, tape) = e.forward(&block.layers, input)?;
            let (output, learning) = match self.network.head {
                Head::Goodness(head) => self.goodness(e, routine, index, (h, tape), head),
                Head::Linear | Head::Classifier { .. } => self.linear(e, routine, (h, tape))?,
            };
            waiting.extend(learning);
            for block in self.backward(e, &mut waiting) {
                self.update(e, routine, block);
                updated.push(block);
            }
            routine.maps.push((input, output));
            input = output;
        }
        self.metrics(e, routine, &updated);
        Ok(())
    }

    /// Updates a block by its gradients, or with several micro-batches adds these to their sum.
    fn update(&self, e: &mut Emitter, routine: &Routine, block: usize) {
        e.block(block);
        match routine.keep {
            Some(keep) => e.accumulate(keep, 1.0 / self.setup.micro_batches as f32),
            None => e.adamw(routine.step, self.setup.adamw, self.gradient_scale()),
        }
    }

    /// Metrics for the host, and a check that the updated blocks are finite.
    fn metrics(&self, e: &mut Emitter, routine: &Routine, updated: &[usize]) {
        let &Routine { labels, step, metrics, .. } = routine;
        let blocks = self.network.blocks.len();
        // Scores and losses of all blocks lie in one slab each.
        let [scores, losses] =
            [routine.scores[0], routine.losses[0]].map(|first| e.program.root(first).0);
        e.program.push(ops::Metrics {
            scores,
            losses,
            labels,
            step,
            out: metrics,
            blocks,
            classes: self.network.classes,
        });
        for block in updated {
            e.block(*block);
            e.check_finite(metrics, metrics_words(blocks) + block);
        }
    }

    /// Runs backward from the newest waiting block to the oldest. Removes the blocks whose gradients are
    /// complete from the queue and returns them.
    ///
    /// Gradients are additive, so one pass serves all losses of a window: the gradient that reaches the
    /// oldest block is the sum of theirs. Weight gradients are computed only for blocks that are complete.
    fn backward(&self, e: &mut Emitter, waiting: &mut VecDeque<Waiting>) -> Vec<usize> {
        let (Some(oldest), Some(newest)) = (waiting.front(), waiting.back()) else {
            return Vec::new();
        };
        let (oldest, newest) = (oldest.block, newest.block);
        let all = newest + 1 == self.network.blocks.len();
        if !all && newest - oldest < self.setup.window {
            return Vec::new();
        }
        let mut gradient = None;
        for Waiting { block, tape, norm, dy } in waiting.iter().rev() {
            e.block(*block);
            e.weight_gradients = all || *block == oldest;
            let dy = match gradient {
                Some(from_above) => e.add("dx", *dy, from_above),
                None => *dy,
            };
            let dh = norm.map_or(dy, |norm| norm.grad(e, dy));
            gradient = e.backward(tape, dh, *block > oldest);
        }
        let due = if all { waiting.len() } else { 1 };
        waiting.drain(..due).map(|done| done.block).collect()
    }

    /// Layer norm, goodness, loss and, in training, its gradients down to the block's normalised output.
    /// The next block reads this output, with the value from before the update.
    fn goodness(
        &self,
        e: &mut Emitter,
        routine: &Routine,
        index: usize,
        (h, mut tape): (TensorId, Tape),
        head: Goodness,
    ) -> (TensorId, Option<Waiting>) {
        let norm = e.layer_norm(h, &mut tape);
        let n = norm.y;
        let kept = e.goodness(&format!("aux.{index}"), head, n, routine.scores[index]);
        let waiting = self.loss(e, routine, index).map(|dscores| {
            let dy = e.goodness_backward(&kept, dscores);
            Waiting { block: index, tape, norm: Some(norm), dy }
        });
        (n, waiting)
    }

    /// Global average pool, linear layers, loss and, in training, the gradient of the scores.
    fn linear(
        &self,
        e: &mut Emitter,
        routine: &Routine,
        (h, mut tape): (TensorId, Tape),
    ) -> Result<(TensorId, Option<Waiting>)> {
        let mut layers = vec![Layer::GlobalAvgPool];
        let window = Window::same(1, 1);
        let last = match self.network.head {
            Head::Classifier { hidden, dropout } => {
                let name = "classifier.0".into();
                layers.extend([
                    Layer::Conv2d { name, out: hidden, window, bias: true },
                    Layer::Activation(Activation::HardSwish),
                    Layer::Dropout(dropout),
                ]);
                "classifier.3"
            }
            _ => "fc",
        };
        let (x, saved) = e.forward(&layers, h)?;
        tape.extend(saved);
        tape.push(e.conv2d(last, x, routine.scores[0], window, true));
        for name in ["classifier.0", last] {
            if let Some(weight) = e.parameters.get_mut(&format!("{name}.weight")) {
                // In files, a linear layer's weight has two dimensions.
                weight.file_shape.truncate(2);
            }
        }
        let dy = self.loss(e, routine, 0);
        Ok((h, dy.map(|dy| Waiting { block: 0, tape, norm: None, dy })))
    }

    /// Cross-entropy of a block's scores; in training also the gradient of the scores, times the gradient
    /// scale.
    fn loss(&self, e: &mut Emitter, routine: &Routine, block: usize) -> Option<TensorId> {
        let &Routine { labels, partners, .. } = routine;
        let (scores, loss) = (routine.scores[block], routine.losses[block]);
        let dscores = e.training.then(|| e.like(scores, "dscores", e.shape(scores)));
        let scale = self.gradient_scale();
        e.program.push(ops::CrossEntropy { scores, labels, partners, loss, dscores, scale });
        dscores
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::shape::Shape;
    use crate::net::layers::Block;
    use crate::net::layers::Scale;
    use crate::net::options::TrainOptions;

    #[test]
    fn invalid_networks_are_refused() {
        let conv = |name: &str, kernel| {
            let window = Window { kernel, stride: 1, pad: 0 };
            Layer::Conv2d { name: name.into(), out: 4, window, bias: false }
        };
        let refusal = |layers: Vec<Vec<Layer>>, head, classes| {
            let block = |layers| Block { name: "b".into(), layers };
            let blocks = layers.into_iter().map(block).collect();
            let setup = Setup {
                train: Some(Feed { batch: 2, resident: 2, stored: [5, 5] }),
                ..Setup::new(Shape::new(1, 5, 5, 1), &TrainOptions::default())
            };
            build(&Network { blocks, head, classes }, &setup).unwrap_err().to_string()
        };
        let [goodness, even] = [3, 2].map(Head::goodness);
        let head = |change: fn(&mut Goodness)| {
            let scale = Scale::Learnable;
            let mut head = Goodness { kernel: 3, separable: false, pool: None, scale };
            change(&mut head);
            Head::Goodness(head)
        };
        let separable = head(|head| (head.kernel, head.separable) = (1, true));
        let no_pixels = head(|head| head.pool = Some(0));
        let no_scale = head(|head| head.scale = Scale::Fixed(0.0));
        for (layers, head, classes, expected) in [
            (vec![vec![conv("a", 3), conv("a", 3)]], goodness, 3, "two layers are called a"),
            (vec![vec![conv("aux.0", 3)]], goodness, 3, "two layers are called aux.0"),
            (vec![vec![conv("a", 3)], vec![conv("a", 3)]], goodness, 3, "two layers are called a"),
            (vec![vec![conv("a", 7)]], goodness, 3, "7×7 window does not fit maps of 5×5"),
            (vec![vec![conv("a", 3)]], goodness, 1, "at least 2 classes"),
            (vec![vec![conv("aux.0.depthwise", 3)]], goodness, 3, "two layers are called aux.0.d"),
            (vec![vec![conv("a", 3)]], even, 3, "odd kernel"),
            (vec![vec![conv("a", 3)]], separable, 3, "a kernel of 3 or more"),
            (vec![vec![conv("a", 3)]], no_pixels, 3, "at least 1 pixel"),
            (vec![vec![conv("a", 3)]], no_scale, 3, "a positive scale, not 0"),
            (vec![vec![conv("a", 3)], vec![conv("b", 3)]], Head::Linear, 3, "as one block"),
            (vec![vec![]], goodness, 3, "each block a layer"),
            (vec![], goodness, 3, "at least one block"),
        ] {
            let message = refusal(layers, head, classes);
            assert!(message.contains(expected), "{message}\nexpected: {expected}");
        }
    }
}
