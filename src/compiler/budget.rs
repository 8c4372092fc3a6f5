//! How many images fit: micro-batches under a budget, and the largest batch that needs none.

use crate::base::bytes::Size;
use crate::base::hint::{Hint, message};
use crate::base::shape::Shape;
use crate::compiler::kernel::{Target, Tiles, check_bindings};
use crate::compiler::plan::{Limits, Plan};
use crate::compiler::program::{self, Built, Feed, Program, Setup};
use crate::net::layers::Network;
use crate::net::options::{Recompute, TrainOptions};
use crate::{Error, Result};

/// Largest batch that is chosen without being asked for; a larger one has too few steps to learn.
const LARGEST_BATCH: usize = 1024;

/// What backward may compute again to fit a budget, the quickest first.
const RECOMPUTE: [Recompute; 3] = [Recompute::None, Recompute::Cheap, Recompute::Block];

/// What is to be trained, and what it must fit. All answers are functions of it alone, so that a
/// resumed run gets the same.
#[derive(Clone, Debug)]
pub struct Demand<'a> {
    /// The network.
    pub network: &'a Network,
    /// How it is trained, but for feeds, micro-batches and what is computed again.
    pub setup: Setup,
    /// What backward computes again, if that is not for the plan to choose.
    pub recompute: Option<Recompute>,
    /// The images to train on, as they are stored.
    pub train: Shape,
    /// The images to evaluate, if any are to be.
    pub test: Option<Shape>,
    /// What the device allows.
    pub limits: Limits,
    /// Most bytes to plan for.
    pub budget: Option<usize>,
}

impl<'a> Demand<'a> {
    /// What training `network` with `options` asks of memory, on no images yet; the network sees
    /// them in the shape `image`.
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

    /// The program for steps of `batch` images: whole, or under a budget in the largest
    /// micro-batches that fit. What the device does not allow is left to the session to say.
    ///
    /// # Errors
    /// [`Error::Options`] if nothing fits the budget, with the smallest one that would do, and those
    /// of [`program::build`].
    pub fn program(&self, batch: usize) -> Result<Built> {
        let Some(budget) = self.budget else { return self.build(batch, 1, true) };
        let mut least: Option<usize> = None;
        for micro in (1..=batch).rev().filter(|micro| batch.is_multiple_of(*micro)) {
            // More time for larger micro-batches: batch norm sees more, and there are fewer.
            let wanted = |way: &Recompute| self.recompute.is_none_or(|only| only == *way);
            for way in RECOMPUTE.into_iter().filter(wanted) {
                let streamed = self.build_by(way, micro, batch / micro, false)?;
                let Ok(bytes) = self.bytes(&streamed.program) else { continue };
                if bytes <= budget {
                    let kept = self.build_by(way, micro, batch / micro, true)?;
                    let fits = self.bytes(&kept.program).is_ok_and(|bytes| bytes <= budget);
                    return Ok(if fits { kept } else { streamed });
                }
                least = Some(least.map_or(bytes, |least| least.min(bytes)));
            }
        }
        let Some(least) = least else { return self.build(1, batch, false) };
        let mib = least as f64 / (1 << 20) as f64;
        Err(Error::Options(message![
            Hint::set("memory", Size(budget)),
            format!(
                " is too little: this training needs at least {least} bytes ({mib:.1} MiB); use "
            ),
            Hint::set("memory", least),
            " or more, or a smaller network",
        ]))
    }

    /// A budget under which there is a program for steps of `batch` images that takes clearly less
    /// than [`Demand::program`] does: for a device that turned out to have less room.
    ///
    /// # Errors
    /// As [`Demand::program`], if there is none.
    pub fn smaller(&self, batch: usize) -> Result<usize> {
        let budget = self.bytes(&self.program(batch)?.program)? / 4 * 3;
        Demand { budget: Some(budget), ..self.clone() }.program(batch)?;
        Ok(budget)
    }

    /// The largest batch, a power of two, that needs no micro-batches and one buffer only; 1 if
    /// there is none.
    ///
    /// # Errors
    /// Those of [`program::build`].
    pub fn largest_batch(&self) -> Result<usize> {
        let room = self.budget.unwrap_or(usize::MAX).min(self.limits.max_buffer);
        let mut batch = 1 << self.train.n.clamp(1, LARGEST_BATCH).ilog2();
        while batch > 1 {
            // Under a budget, images are kept on the device only where that costs no batch.
            let built = self.build(batch, 1, self.budget.is_none())?;
            if self.bytes(&built.program).is_ok_and(|bytes| bytes <= room) {
                break;
            }
            batch /= 2;
        }
        Ok(batch)
    }

    /// The program for steps of `count` micro-batches of `micro` images. With `keep`, sets of
    /// images that are small stay on the device. Cheap values are computed again only where that
    /// makes the whole smaller: there is a moment that needs most, and elsewhere it gains nothing.
    ///
    /// # Errors
    /// Those of [`program::build`].
    pub fn build(&self, micro: usize, count: usize, keep: bool) -> Result<Built> {
        if let Some(way) = self.recompute {
            return self.build_by(way, micro, count, keep);
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
        let room = if keep { resident_room(self.limits, self.budget) } else { 0 };
        let partners = self.setup.augment.partners();
        let setup = Setup {
            train: Some(Feed::new(self.train, micro, partners, room)),
            eval: self.test.map(|test| Feed::new(test, micro, 0, room)),
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

/// A plan that a session on a device with these limits will accept.
///
/// # Errors
/// [`Error::Limit`].
pub fn plan(program: &Program, limits: Limits) -> Result<Plan> {
    // Tiles make no difference to what a kernel sees.
    let target = Target { max_binding: limits.max_binding, ..Target::unlimited(Tiles::GPU) };
    let plan = Plan::new(program, limits)?;
    for op in program.ops() {
        let dispatches = op.lower(program.tensors(), target)?;
        check_bindings(program.tensors(), &dispatches, limits.max_binding)?;
    }
    Ok(plan)
}

/// Bytes that a set of images may take to be kept on the device.
pub fn resident_room(limits: Limits, budget: Option<usize>) -> usize {
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

    /// Images per micro-batch, their number, images kept on the device, bytes.
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
        // What each micro-batch needs.
        let free = demand(&network, None);
        let needed = |micro: usize| {
            let built = free.build(micro, 60 / micro, false).unwrap();
            (micro, free.bytes(&built.program).unwrap())
        };
        let needed: Vec<_> = (1..=60).filter(|micro| 60 % micro == 0).map(needed).collect();
        let mut seen = Vec::new();
        for part in [9, 12, 13, 14, 24, 40] {
            let budget = whole.3 * part / 40;
            let Ok(_) = demand(&network, Some(budget)).program(60) else { continue };
            let (micro, _, _, bytes) = chosen(&demand(&network, Some(budget)), 60);
            assert!(bytes <= budget && 60 % micro == 0);
            seen.push(micro);
            for (larger, bytes) in needed.iter().filter(|(larger, _)| *larger > micro) {
                assert!(*bytes > budget, "{larger} fits {budget}");
            }
        }
        assert!(
            seen.is_sorted() && [6, 15, 30].iter().all(|micro| seen.contains(micro)),
            "{seen:?}"
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
    fn less_and_less_memory_ends_with_micro_batches_of_one_image() {
        let network = network();
        let (mut budget, mut seen) = (None, Vec::new());
        while let Ok(less) = demand(&network, budget).smaller(60) {
            let (micro, _, _, bytes) = chosen(&demand(&network, Some(less)), 60);
            assert!(bytes <= less && budget.is_none_or(|budget| less < budget));
            seen.push(micro);
            budget = Some(less);
        }
        assert!(seen.is_sorted_by(|a, b| a >= b) && seen[seen.len() - 1] <= 2, "{seen:?}");
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
    fn bindings_are_limited_too() {
        let network = network();
        let demand = demand(&network, None);
        let built = demand.build(16, 1, true).unwrap();
        let limits = Limits { max_binding: 1 << 10, ..Limits::NONE };
        let message = plan(&built.program, limits).unwrap_err().to_string();
        assert!(message.contains("in one binding"), "{message}");
    }
}
