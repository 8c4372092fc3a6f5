//! Blocks: how cuts join them, and which are frozen.

use super::{Config, Method};
use crate::base::suggest;
use crate::net::layers::{self, Block};
use crate::net::models::Stem;
use crate::net::options::Partition;
use crate::{Error, Result};

impl Config {
    /// The blocks after cuts and before freezing.
    pub(super) fn blocks(&self, stem: Stem, partition: Partition) -> Vec<Block> {
        let blocks = self.uncut(stem, partition);
        match self.cuts {
            Some(_) => layers::join(blocks, &self.checked.starts),
            None => blocks,
        }
    }

    fn uncut(&self, stem: Stem, partition: Partition) -> Vec<Block> {
        self.checked.arch.blocks(&self.widths, stem, partition)
    }

    /// The indices of the blocks that the cuts name.
    pub(super) fn starts(&self) -> Result<Vec<usize>> {
        let Some(cuts) = &self.cuts else { return Ok(Vec::new()) };
        let fail = |message: String| Err(Error::usage(format!("--cuts{message}")));
        if self.partition == Partition::Whole {
            return fail(
                ": there are no blocks to join with --partition whole or --method bp".into(),
            );
        }
        if cuts.is_empty() {
            return fail(
                " needs the name of a block; for a single block use --partition whole".into(),
            );
        }
        let blocks = self.uncut(Stem::Imagenet, self.partition);
        let mut starts = Vec::new();
        for cut in cuts {
            match blocks.iter().position(|block| block.name == *cut) {
                None => {
                    let known: Vec<_> = blocks.iter().map(|block| block.name.as_str()).collect();
                    return fail(format!(": {}", suggest::unknown("block", cut, &known)));
                }
                Some(0) => return fail(format!(" {cut}: the first block begins there anyway")),
                // Cuts are in the order of the network, so that equal configurations have equal lists.
                Some(start) if starts.last().is_some_and(|last| start <= *last) => {
                    return fail(format!(
                        " {}: name each block once, in the order of the network",
                        cuts.join(",")
                    ));
                }
                Some(start) => starts.push(start),
            }
        }
        Ok(starts)
    }

    /// The number of frozen blocks; for a network of one block, the number of frozen layers, which are
    /// the architecture's blocks.
    pub(super) fn frozen(&self) -> Result<usize> {
        let Some(until) = &self.freeze_until else { return Ok(0) };
        let units = match self.partition {
            Partition::Whole => Partition::Block,
            partition => partition,
        };
        let blocks = self.blocks(Stem::Imagenet, units).into_iter().map(|block| block.name);
        let head = (self.method == Method::Bp).then(|| "head".to_owned());
        let known: Vec<String> = blocks.chain(head).collect();
        match known.iter().position(|name| name == until) {
            Some(0) => {
                let message = format!("--freeze-until {until}: there is nothing before {until}");
                Err(Error::usage(message))
            }
            Some(count) => Ok(count),
            None => {
                let known: Vec<&str> = known.iter().map(String::as_str).collect();
                let message = suggest::unknown("block", until, &known);
                Err(Error::usage(format!("--freeze-until: {message}")))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::config::Recipe;
    use crate::net::layers::Layer;

    fn recipe(arch: &str, cuts: &str) -> Recipe {
        let cuts = cuts.split_whitespace().map(str::to_owned).collect();
        Recipe { arch: Some(arch.into()), cuts: Some(cuts), ..Recipe::default() }
    }

    fn names(recipe: Recipe) -> Vec<String> {
        let network = Config::resolve(recipe).unwrap().network(10, 32);
        network.blocks.into_iter().map(|block| block.name).collect()
    }

    #[test]
    fn blocks_begin_at_the_cuts() {
        let cut = || recipe("resnet18", "layer2.0 layer4.0");
        let network = Config::resolve(cut()).unwrap().network(10, 32);
        let groups = |layer: &Layer| matches!(layer, Layer::Group(_));
        assert!(network.blocks.iter().flat_map(|block| &block.layers).all(groups));
        // From stem to layer1.1, from layer2.0 to layer3.1, and layer4.0 with layer4.1.
        assert_eq!(network.blocks.iter().map(|b| b.layers.len()).collect::<Vec<_>>(), [3, 4, 2]);
        assert_eq!(names(cut()), ["stem", "layer2.0", "layer4.0"]);
        let layers = Recipe { partition: Some(Partition::Layer), ..recipe("cnn", "conv2") };
        assert_eq!(names(layers), ["conv1", "conv2"]);
        let frozen = Recipe { freeze_until: Some("layer2.0".into()), ..cut() };
        assert_eq!(names(frozen), ["layer2.0", "layer4.0"]);
    }

    #[test]
    fn invalid_cuts_are_refused() {
        let bp = Recipe { method: Some(Method::Bp), ..recipe("cnn", "block2") };
        let whole = Recipe { partition: Some(Partition::Whole), ..recipe("cnn", "block2") };
        let until = Some("layer3.0".into());
        let inside = Recipe { freeze_until: until, ..recipe("resnet18", "layer2.0 layer4.0") };
        let order = "once, in the order of the network";
        for (recipe, expected) in [
            (bp, "--method bp"),
            (whole, "--partition whole"),
            (recipe("cnn", ""), "needs the name of a block"),
            (recipe("cnn", "conv2"), "no block `conv2`; there are: block1, block2"),
            (recipe("cnn", "block1"), "--cuts block1: the first block begins there anyway"),
            (recipe("resnet18", "layer4.0 layer2.0"), order),
            (recipe("resnet18", "layer2.0 layer2.0"), order),
            (
                inside,
                "no block `layer3.0` (did you mean `layer2.0`?); there are: stem, layer2.0, layer4.0",
            ),
        ] {
            let message = Config::resolve(recipe).unwrap_err().to_string();
            assert!(message.contains(expected), "{message}\nexpected: {expected}");
        }
    }
}
