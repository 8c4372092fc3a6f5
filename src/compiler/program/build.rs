//! From a network to the program that trains and evaluates it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Range;

use super::Program;
use super::emit::{Emitter, Parameter};
use super::tape::{Norm, Saved};
use crate::base::shape::{Layout, Shape, Window};
use crate::compiler::ops;
use crate::compiler::ops::scores::{PARTNER_WORDS, STEP_WORDS, metrics_words, result_words};
use crate::compiler::tensor::{Kind, TensorId};
use crate::net::augment::{Augment, MAX_SIDE, SAMPLE_WORDS};
use crate::net::layers::{Activation, Goodness, Head, Layer, Network, Scale};
use crate::net::options::{
    ADAMW, AdamW, IMAGE_CHANNELS, Normalize, Precision, Recompute, TrainOptions,
};
use crate::{Error, Result};

/// How images reach a routine.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Feed {
    /// Images per step.
    pub batch: usize,
    /// Images that are kept on the device; with no more than a step reads, each brings its own.
    pub resident: usize,
    /// Height and width of the images as they are stored. They may differ from the network's
    /// input, see [`crate::net::augment`].
    pub stored: [usize; 2],
}

impl Feed {
    /// Batches of `batch` of the stored `images`, each with `partners` more: all images stay on the
    /// device if they take at most `room` bytes there.
    pub fn new(images: Shape, batch: usize, partners: usize, room: usize) -> Self {
        let reads = batch + partners;
        let resident = if images.elements() <= room { images.n.max(reads) } else { reads };
        Self { batch, resident, stored: [images.h, images.w] }
    }
}

/// What a program is built for, besides the network.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The network's input: `(1, height, width, channels)`.
    pub image: Shape,
    /// Per-channel normalisation of the images.
    pub normalize: Normalize,
    /// How training images are changed.
    pub augment: Augment,
    /// Training, if wanted.
    pub train: Option<Feed>,
    /// Evaluation, if wanted.
    pub eval: Option<Feed>,
    /// Runs of the training routine whose gradients make one step; [`Feed::batch`] is the
    /// number of images of each. Batch norm sees each alone.
    pub micro_batches: usize,
    /// The optimiser.
    pub adamw: AdamW,
    /// What backward computes again.
    pub recompute: Recompute,
    /// What maps are stored in.
    pub precision: Precision,
    /// How many blocks before a block its loss reaches besides its own. With 0 no gradient
    /// crosses from block to block (the paper's algorithm); with all, every block learns from
    /// every later loss (deep supervision).
    pub window: usize,
}

impl Setup {
    /// For images that the network sees in the shape `image`, trained with `options`. There is no
    /// feed yet, and no normalisation.
    pub fn new(image: Shape, options: &TrainOptions) -> Self {
        Self {
            image,
            normalize: Normalize::NONE,
            augment: options.augment,
            train: None,
            eval: None,
            micro_batches: 1,
            adamw: AdamW { weight_decay: options.weight_decay, ..ADAMW },
            recompute: options.recompute.unwrap_or_default(),
            precision: options.precision,
            window: options.window,
        }
    }
}

/// A range of ops that runs as one submit, and the tensors through which the host talks to it.
#[derive(Clone, Debug)]
pub struct Routine {
    /// Indices of its ops; the first one reads the images.
    pub ops: Range<usize>,
    /// Images per step.
    pub batch: usize,
    /// u8 pixels, NHWC, four to a word.
    pub pixels: TensorId,
    /// A label per image in `pixels`.
    pub all_labels: TensorId,
    /// A [`crate::net::augment::Sample`] per image of the batch, and where images are mixed one for the
    /// partner of the last.
    pub samples: TensorId,
    /// Per-step values, see [`STEP_WORDS`].
    pub step: TensorId,
    /// The normalised images.
    pub x: TensorId,
    /// The labels of the batch.
    pub labels: TensorId,
    /// The label and the share of each image's partner, where images are mixed.
    pub partners: Option<TensorId>,
    /// Scores per class, a tensor for each block.
    pub scores: Vec<TensorId>,
    /// Loss per image, a tensor for each block.
    pub losses: Vec<TensorId>,
    /// Two random words that decide what dropout drops, where there is dropout; other ones for
    /// each run.
    pub dropout_key: Option<TensorId>,
    /// Where micro-batches are summed: 0 in its first value starts a new sum.
    pub keep: Option<TensorId>,
    /// Results of the step, see [`ops::Metrics`].
    pub metrics: TensorId,
    /// Input and output (after layer norm, where there is one) of each block.
    pub maps: Vec<(TensorId, TensorId)>,
}

/// A program, and where to find things in it.
#[derive(Clone, Debug)]
pub struct Built {
    /// The ops.
    pub program: Program,
    /// Forward, losses and gradients of one batch; the update too, unless gradients are summed
    /// over micro-batches.
    pub train: Option<Routine>,
    /// The update after the last micro-batch, if it is not part of `train`.
    pub update: Option<Range<usize>>,
    /// One batch of evaluation.
    pub eval: Option<Routine>,
    /// Trained tensors by name.
    pub parameters: BTreeMap<String, Parameter>,
    /// Running mean (row 0) and variance (row 1), by the name of the batch norm.
    pub running: BTreeMap<String, TensorId>,
    /// Names of the blocks.
    pub blocks: Vec<String>,
    /// What backward computes again.
    pub recompute: Recompute,
}

/// Builds the program. Blocks go in order: forward, loss, backward; a block is updated as soon as
/// no later loss reaches it, and its activations die there. Without a window that is before the
/// next block begins.
///
/// # Errors
/// [`Error::Model`] if the network cannot work on such images.
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

fn check(network: &Network, setup: &Setup) -> Result<()> {
    let fail = |message: String| Err(Error::Model(message));
    let image = setup.image;
    if network.blocks.is_empty() || network.blocks.iter().any(|b| b.layers.is_empty()) {
        return fail("a network needs at least one block, and each block a layer".into());
    }
    if network.classes < 2 {
        return fail(format!("a network needs at least 2 classes, not {}", network.classes));
    }
    if image.n != 1 || image.elements() == 0 || image.c > IMAGE_CHANNELS {
        return fail(format!("images of {image} are not supported: 1 to 4 channels, not empty"));
    }
    let heads: Vec<String> = match network.head {
        Head::Linear => vec!["fc".into()],
        Head::Classifier { .. } => vec!["classifier.0".into(), "classifier.3".into()],
        Head::Goodness(_) => (0..network.blocks.len())
            .flat_map(|b| [format!("aux.{b}"), format!("aux.{b}.depthwise")])
            .collect(),
    };
    let mut names = BTreeSet::from_iter(heads);
    let layers = network.blocks.iter().flat_map(|b| &b.layers);
    if let Some(twice) = layers.flat_map(Layer::names).find(|name| !names.insert(name.clone())) {
        // They would share weights, and the gradients of one would be lost.
        return fail(format!("two layers are called {twice}; rename one"));
    }
    match network.head {
        Head::Linear | Head::Classifier { .. } if network.blocks.len() != 1 => {
            fail("a linear head needs the whole network as one block".into())
        }
        Head::Linear => Ok(()),
        Head::Classifier { hidden: 0, .. } => {
            fail("the classifier needs at least one hidden value".into())
        }
        Head::Classifier { dropout, .. } if !(0.0..1.0).contains(&dropout) => fail(format!(
            "the classifier's dropout must be 0 or more and less than 1, not {dropout}"
        )),
        Head::Classifier { .. } => Ok(()),
        Head::Goodness(Goodness { kernel, separable, pool, scale }) => match scale {
            _ if kernel % 2 == 0 => {
                fail(format!("the goodness head needs an odd kernel, not {kernel}"))
            }
            _ if separable && kernel == 1 => {
                fail("a separable goodness head needs a kernel of 3 or more, not 1".into())
            }
            _ if pool == Some(0) => fail("the goodness head needs maps of at least 1 pixel".into()),
            Scale::Fixed(scale) if !(scale > 0.0 && scale.is_finite()) => {
                fail(format!("the goodness head needs a positive scale, not {scale}"))
            }
            _ => Ok(()),
        },
    }
}

struct RoutineBuilder<'a> {
    network: &'a Network,
    setup: &'a Setup,
    feed: Feed,
    name: &'static str,
}

/// The tensors that hold one block's results.
#[derive(Clone, Copy)]
struct Results {
    scores: TensorId,
    loss: TensorId,
    labels: TensorId,
    partners: Option<TensorId>,
    /// The factor on gradients.
    scale: f32,
}

/// A block whose loss is known but which later losses may still reach.
struct Waiting {
    block: usize,
    tape: Vec<Saved>,
    /// The layer norm at the block's end.
    norm: Option<Norm>,
    /// Gradient of the block's own loss with respect to its output, behind the norm.
    dy: TensorId,
}

impl RoutineBuilder<'_> {
    fn build(&self, e: &mut Emitter) -> Result<Routine> {
        let Self { network, setup, feed, name } = *self;
        let training = name == "train";
        let augment = if training { setup.augment } else { Augment::default() };
        let records = feed.batch + augment.partners();
        if feed.batch == 0 || feed.resident < records {
            return Err(Error::Model(format!(
                "a batch of {} reads {records} images, but there is room for {}",
                feed.batch, feed.resident
            )));
        }
        let sides = [feed.stored[0], feed.stored[1], setup.image.h, setup.image.w];
        if let Some(side) = sides.into_iter().find(|side| !(1..=MAX_SIDE).contains(side)) {
            return Err(Error::Model(format!(
                "images of {side} pixels are not supported: 1 to {MAX_SIDE} a side"
            )));
        }
        e.routine(name, training);
        let scale = setup.precision.gradient_scale(feed.batch);
        let first_op = e.program.ops().len();
        let blocks = network.blocks.len();
        let words = |n: usize| Shape::vector(n);
        let program = &mut e.program;
        let mut add = |what: &str, shape, layout, kind| {
            program.add(&format!("{name}.{what}"), shape, layout, kind)
        };
        let bytes = feed.resident * feed.stored[0] * feed.stored[1] * setup.image.c;
        let io = |n: usize| (words(n), Layout::Words, Kind::Io);
        let [pixels, all_labels, samples, step, metrics] = [
            ("pixels", io(bytes.div_ceil(4))),
            ("all_labels", io(feed.resident)),
            ("samples", io(records * SAMPLE_WORDS)),
            ("step", io(STEP_WORDS)),
            ("metrics", io(result_words(blocks))),
        ]
        .map(|(what, (shape, layout, kind))| add(what, shape, layout, kind));
        let summing = training && setup.micro_batches > 1;
        let keep = summing.then(|| add("keep", words(1), Layout::Words, Kind::Io));
        let maps = setup.precision.maps();
        let x = add("x", setup.image.with_n(feed.batch), maps, Kind::Activation);
        let labels = add("labels", words(feed.batch), Layout::Words, Kind::Activation);
        let partners = augment.mixes().then(|| {
            add("partners", words(feed.batch * PARTNER_WORDS), Layout::Words, Kind::Activation)
        });
        let all_scores = program.add_slab(&format!("{name}.scores"), Kind::Activation);
        let all_losses = program.add_slab(&format!("{name}.losses"), Kind::Activation);
        program.push(ops::Input {
            pixels,
            all_labels,
            samples,
            x,
            labels,
            partners,
            jitter: augment.jitter > 0.0,
            stored: feed.stored,
            normalize: setup.normalize,
        });

        let (mut scores, mut losses, mut maps) = (Vec::new(), Vec::new(), Vec::new());
        let mut input = x;
        let (mut waiting, mut learned) = (VecDeque::new(), Vec::new());
        for (index, block) in network.blocks.iter().enumerate() {
            e.block(index);
            let mut result = |slab, what: &str, shape| {
                let name = format!("{name}.b{index}.{what}");
                e.program.add_member(slab, &name, shape, Layout::Nhwc)
            };
            let results = Results {
                scores: result(all_scores, "scores", Shape::rows(feed.batch, network.classes)),
                loss: result(all_losses, "loss", Shape::rows(feed.batch, 1)),
                labels,
                partners,
                scale,
            };
            let (h, tape) = e.forward(&block.layers, input)?;
            let (output, learning) = match network.head {
                Head::Goodness(head) => self.goodness(e, index, (h, tape), head, results),
                Head::Linear | Head::Classifier { .. } => self.linear(e, (h, tape), results)?,
            };
            waiting.extend(learning);
            for block in self.learn(e, &mut waiting) {
                e.block(block);
                match keep {
                    Some(keep) => e.accumulate(keep, 1.0 / setup.micro_batches as f32),
                    None => e.adamw(step, setup.adamw, scale),
                }
                learned.push(block);
            }
            scores.push(results.scores);
            losses.push(results.loss);
            maps.push((input, output));
            input = output;
        }
        e.program.push(ops::Metrics {
            scores: all_scores,
            losses: all_losses,
            labels,
            step,
            out: metrics,
            blocks,
            classes: network.classes,
        });
        for block in learned {
            e.block(block);
            e.check_finite(metrics, metrics_words(blocks) + block);
        }
        e.program.fuse(first_op);
        Ok(Routine {
            ops: first_op..e.program.ops().len(),
            batch: feed.batch,
            pixels,
            all_labels,
            samples,
            step,
            dropout_key: e.dropout_key,
            keep,
            x,
            labels,
            partners,
            scores,
            losses,
            metrics,
            maps,
        })
    }

    /// Backward from the newest of the waiting blocks to the oldest one. Returns the blocks whose
    /// gradients are complete by that, and which wait no more.
    ///
    /// Gradients add up, so one pass over a window serves all of its losses: what reaches the
    /// oldest block through the others is the sum for it. Only blocks that are due take gradients
    /// of their weights from it.
    fn learn(&self, e: &mut Emitter, waiting: &mut VecDeque<Waiting>) -> Vec<usize> {
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
            gradient = e.block_backward(tape, *norm, dy, *block > oldest);
        }
        let due = if all { waiting.len() } else { 1 };
        waiting.drain(..due).map(|done| done.block).collect()
    }

    /// Layer norm, goodness, loss and, in training, its gradients down to the block's output. The
    /// normalised output is what the next block reads, with the value from before any update.
    fn goodness(
        &self,
        e: &mut Emitter,
        index: usize,
        (h, mut tape): (TensorId, Vec<Saved>),
        head: Goodness,
        results: Results,
    ) -> (TensorId, Option<Waiting>) {
        let norm = e.layer_norm(h, &mut tape);
        let n = norm.y;
        let kept = e.goodness(&format!("aux.{index}"), head, n, results.scores);
        let waiting = self.loss(e, results).map(|dscores| {
            let dy = e.goodness_backward(&kept, dscores);
            Waiting { block: index, tape, norm: Some(norm), dy }
        });
        (n, waiting)
    }

    /// Global average pool, linear layers, loss and, in training, the gradient of the scores.
    fn linear(
        &self,
        e: &mut Emitter,
        (h, mut tape): (TensorId, Vec<Saved>),
        results: Results,
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
        tape.push(e.conv2d(last, x, results.scores, window, true));
        for name in ["classifier.0", last] {
            if let Some(weight) = e.parameters.get_mut(&format!("{name}.weight")) {
                // A linear layer's weight has no rows and columns.
                weight.file_shape.truncate(2);
            }
        }
        let dy = self.loss(e, results);
        Ok((h, dy.map(|dy| Waiting { block: 0, tape, norm: None, dy })))
    }

    /// Cross-entropy; in training also the gradient of the scores, times the factor.
    fn loss(&self, e: &mut Emitter, results: Results) -> Option<TensorId> {
        let Results { scores, loss, labels, partners, scale } = results;
        let dscores = e.training.then(|| e.like(scores, "dscores", e.shape(scores)));
        e.program.push(ops::CrossEntropy { scores, labels, partners, loss, dscores, scale });
        dscores
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::layers::Block;

    #[test]
    fn networks_that_cannot_work_are_refused() {
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
