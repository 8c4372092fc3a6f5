//! Batch sizes that fit into memory: micro-batches under a budget, and the largest batch without them.

use crate::base::bytes::Size;
use crate::base::hint::{Hint, message};
use crate::base::shape::Shape;
use crate::compiler::kernel::{Target, Tiles, check_bindings};
use crate::compiler::plan::{Limits, Plan};
use crate::compiler::program::{self, Built, Feed, Program, Setup};
use crate::net::layers::Network;
use crate::net::options::{Recompute, TrainOptions};
use crate::{Error, Result};

/// Largest default batch: larger ones leave too few steps per epoch to learn.
const LARGEST_BATCH: usize = 1024;

/// What backward may recompute to fit a budget, fastest first.
const RECOMPUTE: [Recompute; 3] = [Recompute::None, Recompute::Cheap, Recompute::Block];

/// What to train, and its memory limits. All results depend on these fields only, so that a resumed run
/// gets the same program.
#[derive(Clone, Debug)]
pub struct Demand<'a> {
    /// The network.
    pub network: &'a Network,
    /// Training options; feeds, micro-batches and recomputation are filled in by the methods.
    pub setup: Setup,
    /// What backward recomputes; `None` to choose by the budget.
    pub recompute: Option<Recompute>,
    /// Shape of the training set, as stored.
    pub train: Shape,
    /// Shape of the test set, as stored; `None` without evaluation.
    pub test: Option<Shape>,
    /// Limits of the device.
    pub limits: Limits,
    /// Memory budget, bytes.
    pub budget: Option<usize>,
}

impl<'a> Demand<'a> {
    /// The demand of training `network` with `options`, with empty image sets; `image` is the shape of
    /// the network's input.
    pub fn new(network: &'a Network, image: Shape, options: &TrainOptions, limits: Limits) -> Self {
        let none = image.with_n(0);
        Self {
            network,
            setup: Setup::new(image, options),
            recompute: options.recompute,
            train: none,
            test: Some(none),
            limits,
            budget: options.memory,
        }
    }

    /// The program for steps of `batch` images: in one pass, or under a budget in the largest
    /// micro-batches that fit. The session checks the limits of the device.
    ///
    /// # Errors
    /// [`Error::Usage`] if nothing fits the budget, with the smallest budget that would, and those of
    /// [`program::build`].
    pub fn program(&self, batch: usize) -> Result<Built> {
        let Some(budget) = self.budget else { return self.build(batch, 1, true) };
        let mut least: Option<usize> = None;
        for micro in (1..=batch).rev().filter(|micro| batch.is_multiple_of(*micro)) {
            // Prefers larger micro-batches to less recomputation: batch norm sees more images, and a
            // step takes fewer passes.
            let allowed = |r: &Recompute| self.recompute.is_none_or(|only| only == *r);
            for recompute in RECOMPUTE.into_iter().filter(allowed) {
                let streamed = self.build_by(recompute, micro, batch / micro, false)?;
                let Ok(bytes) = self.bytes(&streamed.program) else { continue };
                if bytes <= budget {
                    let kept = self.build_by(recompute, micro, batch / micro, true)?;
                    let fits = self.bytes(&kept.program).is_ok_and(|bytes| bytes <= budget);
                    return Ok(if fits { kept } else { streamed });
                }
                least = Some(least.map_or(bytes, |least| least.min(bytes)));
            }
        }
        let Some(least) = least else { return self.build(1, batch, false) };
        let mib = least as f64 / (1 << 20) as f64;
        Err(Error::usage(message![
            Hint::set("memory", Size(budget)),
            format!(
                " is too little: this training needs at least {least} bytes ({mib:.1} MiB); use "
            ),
            Hint::set("memory", least),
            " or more, or a smaller network",
        ]))
    }

    /// A budget of three quarters of what [`Demand::program`] needs for steps of `batch` images, for a
    /// device that ran out of memory.
    ///
    /// # Errors
    /// As [`Demand::program`], if nothing fits this budget.
    pub fn smaller(&self, batch: usize) -> Result<usize> {
        let budget = self.bytes(&self.program(batch)?.program)? / 4 * 3;
        Demand { budget: Some(budget), ..self.clone() }.program(batch)?;
        Ok(budget)
    }

    /// The largest batch, a power of two, that fits the budget and one buffer without micro-batches; at
    /// least 1.
    ///
    /// # Errors
    /// Those of [`program::build`].
    pub fn largest_batch(&self) -> Result<usize> {
        let most = self.budget.unwrap_or(usize::MAX).min(self.limits.max_buffer);
        let mut batch = 1 << self.train.n.clamp(1, LARGEST_BATCH).ilog2();
        while batch > 1 {
            // Under a budget, a larger batch takes precedence over keeping images on the device.
            let built = self.build(batch, 1, self.budget.is_none())?;
            if self.bytes(&built.program).is_ok_and(|bytes| bytes <= most) {
                break;
            }
            batch /= 2;
        }
        Ok(batch)
    }

    /// The program for steps of `count` micro-batches of `micro` images. With `keep`, small image sets
    /// stay on the device. Unless [`Demand::recompute`] is set, cheap values are recomputed only if that
    /// lowers the peak.
    ///
    /// # Errors
    /// Those of [`program::build`].
    pub fn build(&self, micro: usize, count: usize, keep: bool) -> Result<Built> {
        if let Some(recompute) = self.recompute {
            return self.build_by(recompute, micro, count, keep);
        }
        let quick = self.build_by(Recompute::None, micro, count, keep)?;
        let small = self.build_by(Recompute::Cheap, micro, count, keep)?;
        let bytes = |built: &Built| self.bytes(&built.program).unwrap_or(usize::MAX);
        Ok(if bytes(&small) < bytes(&quick) { small } else { quick })
    }

    fn build_by(
        &self,
        recompute: Recompute,
        micro: usize,
        count: usize,
        keep: bool,
    ) -> Result<Built> {
        let most = if keep { max_resident_bytes(self.limits, self.budget) } else { 0 };
        let partners = self.setup.augment.partners();
        let setup = Setup {
            train: Some(Feed::new(self.train, micro, partners, most)),
            eval: self.test.map(|test| Feed::new(test, micro, 0, most)),
            micro_batches: count,
            recompute,
            ..self.setup.clone()
        };
        program::build(self.network, &setup)
    }

    fn bytes(&self, program: &Program) -> Result<usize> {
        Ok(plan(program, self.limits)?.bytes)
    }
}

/// A plan for a device with these limits, whose bindings are checked as a session does.
///
/// # Errors
/// [`Error::Limit`].
pub fn plan(program: &Program, limits: Limits) -> Result<Plan> {
    // Bindings do not depend on tiles.
    let target = Target { max_binding: limits.max_binding, ..Target::unlimited(Tiles::GPU) };
    let plan = Plan::new(program, limits)?;
    for op in program.ops() {
        let dispatches = op.lower(program.tensors(), target)?;
        check_bindings(program.tensors(), &dispatches, limits.max_binding)?;
    }
    Ok(plan)
}

/// Largest size in bytes of an image set that stays on the device.
pub fn max_resident_bytes(limits: Limits, budget: Option<usize>) -> usize {
    budget.map_or(usize::MAX, |budget| budget / 8).min(limits.max_binding / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::net::layers::Head;
    use crate::net::models;

    use crate::net::options::Partition;

    fn network() -> Network {
        let head = Head::goodness(3);
        Network { blocks: models::cnn(&[4, 8], Partition::Block), head, classes: 5 }
    }

    fn demand(network: &Network, budget: Option<usize>) -> Demand<'_> {
        let images = |n| Shape::new(n, 8, 8, 3);
        let (train, test) = (images(200), Some(images(50)));
        let options = TrainOptions::default();
        let empty = Demand::new(network, images(1), &options, Limits::NONE);
        Demand { train, test, budget, ..empty }
    }

    /// Images per micro-batch, number of micro-batches, whether images stay on the device, bytes.
    fn chosen(demand: &Demand, batch: usize) -> (usize, usize, bool, usize) {
        let built = demand.program(batch).unwrap();
        let bytes = plan(&built.program, demand.limits).unwrap().bytes;
        let routine = built.train.unwrap();
        assert_eq!(built.eval.unwrap().batch, routine.batch);
        let kept = built.program.tensor(routine.all_labels).shape.elements() == demand.train.n;
        let count = batch / routine.batch;
        assert_eq!((built.update.is_some(), routine.keep.is_some()), (count > 1, count > 1));
        (routine.batch, count, kept, bytes)
    }

    #[test]
    fn the_largest_micro_batch_that_fits_is_chosen() {
        let network = network();
        let whole = chosen(&demand(&network, None), 60);
        assert_eq!((whole.0, whole.1, whole.2), (60, 1, true));
        assert_eq!(chosen(&demand(&network, Some(2 * whole.3)), 60), whole);
        // Bytes of each size of micro-batch.
        let free = demand(&network, None);
        let needed = |micro: usize| {
            let built = free.build(micro, 60 / micro, false).unwrap();
            (micro, free.bytes(&built.program).unwrap())
        };
        let needed: Vec<_> = (1..=60).filter(|micro| 60 % micro == 0).map(needed).collect();
        let mut sizes = Vec::new();
        for part in [9, 12, 13, 14, 24, 40] {
            let budget = whole.3 * part / 40;
            let Ok(_) = demand(&network, Some(budget)).program(60) else { continue };
            let (micro, _, _, bytes) = chosen(&demand(&network, Some(budget)), 60);
            assert!(bytes <= budget && 60 % micro == 0);
            sizes.push(micro);
            for (larger, bytes) in needed.iter().filter(|(larger, _)| *larger > micro) {
                assert!(*bytes > budget, "{larger} fits {budget}");
            }
        }
        assert!(
            sizes.is_sorted() && [6, 15, 30].iter().all(|micro| sizes.contains(micro)),
            "{sizes:?}"
        );
    }

    #[test]
    fn the_smallest_budget_works_and_a_byte_less_does_not() {
        let network = network();
        for batch in [1, 7, 24] {
            let message = demand(&network, Some(1)).program(batch).unwrap_err().to_string();
            let least = message.split("use `memory` ").nth(1).unwrap();
            let least = least.split(' ').next().unwrap().parse::<Size>().unwrap().0;
            assert_eq!(chosen(&demand(&network, Some(least)), batch).3, least);
            let less = demand(&network, Some(least - 1)).program(batch).unwrap_err();
            assert!(less.to_string().contains(&format!("use `memory` {least} ")), "{less}");
        }
    }

    #[test]
    fn shrinking_budgets_end_with_micro_batches_of_one_or_two_images() {
        let network = network();
        let (mut budget, mut sizes) = (None, Vec::new());
        while let Ok(less) = demand(&network, budget).smaller(60) {
            let (micro, _, _, bytes) = chosen(&demand(&network, Some(less)), 60);
            assert!(bytes <= less && budget.is_none_or(|budget| less < budget));
            sizes.push(micro);
            budget = Some(less);
        }
        assert!(sizes.is_sorted_by(|a, b| a >= b) && sizes[sizes.len() - 1] <= 2, "{sizes:?}");
    }

    #[test]
    fn the_largest_batch_is_a_power_of_two_that_fits() {
        let network = network();
        let free = demand(&network, None);
        let images = |n| Shape::new(n, 8, 8, 3);
        assert_eq!(free.largest_batch().unwrap(), 128);
        assert_eq!(Demand { train: images(5000), ..free.clone() }.largest_batch().unwrap(), 1024);
        assert_eq!(Demand { train: images(1), ..free.clone() }.largest_batch().unwrap(), 1);
        let bytes = |batch| free.bytes(&free.build(batch, 1, true).unwrap().program).unwrap();
        let max_buffer = bytes(32);
        let limits = Limits { max_buffer, max_binding: max_buffer };
        assert_eq!(Demand { limits, ..free.clone() }.largest_batch().unwrap(), 32);
        let limits = Limits { max_buffer: max_buffer - 1, max_binding: max_buffer };
        assert_eq!(Demand { limits, ..free.clone() }.largest_batch().unwrap(), 16);
        let tight = demand(&network, Some(bytes(8)));
        let batch = tight.largest_batch().unwrap();
        assert!(batch >= 8, "{batch}");
        assert_eq!(chosen(&tight, batch).1, 1, "no micro-batches");
        assert_eq!(demand(&network, Some(1)).largest_batch().unwrap(), 1);
    }

    #[test]
    fn bindings_larger_than_the_limit_are_refused() {
        let network = network();
        let demand = demand(&network, None);
        let built = demand.build(16, 1, true).unwrap();
        let limits = Limits { max_binding: 1 << 10, ..Limits::NONE };
        let message = plan(&built.program, limits).unwrap_err().to_string();
        assert!(message.contains("in one binding"), "{message}");
    }
}
