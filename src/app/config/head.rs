//! The default goodness heads of a network.

use crate::compiler::flops;
use crate::net::layers::{Goodness, Head, Network, Scale};

/// The largest share of a step's arithmetic that default heads may take.
pub const SHARE: f64 = 0.2;

/// Kernel size, whether it is separable, and pooled side of heads, in order of measured accuracy on the
/// cnn, the most accurate first.
const LADDER: [(usize, bool, Option<usize>); 9] = [
    (5, false, None),
    (5, false, Some(8)),
    (3, false, Some(4)),
    (5, true, Some(8)),
    (3, true, Some(4)),
    (1, false, None),
    (1, false, Some(4)),
    (1, false, Some(2)),
    (1, false, Some(1)),
];

/// The most accurate of the measured heads that takes at most [`SHARE`] of a step's arithmetic on images
/// with `side` × `side` pixels; the cheapest if none does.
pub fn affordable(network: &Network, side: usize, scale: Scale) -> Goodness {
    let head = |(kernel, separable, pool)| Goodness { kernel, separable, pool, scale };
    let fits = |head: &Goodness| {
        let network = Network { head: Head::Goodness(*head), ..network.clone() };
        flops::step(&network, side).is_some_and(|flops| flops.share() <= SHARE)
    };
    let [.., cheapest] = LADDER;
    LADDER.into_iter().map(head).find(fits).unwrap_or_else(|| head(cheapest))
}

#[cfg(test)]
mod tests {
    use crate::app::config::{Config, Recipe, SHARE};
    use crate::compiler::flops;

    #[test]
    fn default_heads_take_at_most_a_fifth_of_a_step() {
        for arch in ["resnet18", "mobilenet-v3-small", "mobilenet-v3-large"] {
            for (side, classes) in [(32, 10), (32, 100), (224, 10), (224, 100), (224, 1000)] {
                let recipe = Recipe { arch: Some(arch.into()), ..Recipe::default() };
                let config = Config::resolve(recipe).unwrap();
                let network = config.network(classes, side);
                let share = flops::step(&network, side).unwrap().share();
                let what = format!("{arch}, {side} px, {classes} classes, {:?}", network.head);
                assert!(share > 0.0 && share <= SHARE, "{what}: {share}");
                // The settled configuration gives the same network, and the same head for other images.
                let settled = config.settled(classes, side);
                assert_eq!(settled.network(classes, side), network);
                assert_eq!(settled.network(2, 64).head, network.head);
                assert!(settled.aux_kernel.is_some() && config.aux_kernel.is_none());
            }
        }
    }

    #[test]
    fn one_given_option_of_the_head_fills_in_the_others() {
        let head = |recipe: Recipe| {
            let config = Config::resolve(recipe).unwrap();
            (config.aux_kernel, config.aux_separable, config.aux_pool)
        };
        let resnet = || Recipe { arch: Some("resnet18".into()), ..Recipe::default() };
        assert_eq!(head(Recipe::default()), (Some(5), Some(false), Some(0)));
        assert_eq!(head(resnet()), (None, None, None));
        let pooled = Recipe { aux_pool: Some(4), ..resnet() };
        assert_eq!(head(pooled), (Some(5), Some(false), Some(4)));
        let kernel = Recipe { aux_kernel: Some(1), ..resnet() };
        assert_eq!(head(kernel), (Some(1), Some(false), Some(0)));
    }
}
