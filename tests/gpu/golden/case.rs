//! Golden files: their tensors, and the networks that their metadata describe.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use safetensors::{Dtype, SafeTensors};
use serde_json::Value;
use sff::internals::base::shape::{Layout, Window};
use sff::internals::net::layers::{
    Activation, BatchNorm, Block, Goodness, Head, Layer, Network, Scale,
};
use sff::internals::net::options::AdamW;

use super::repr::Module;

/// The pool of the networks in the golden files. Their modules apply it as a function, so it is not in
/// the metadata.
const POOL: Window = Window { kernel: 2, stride: 2, pad: 0 };

/// Settings that have no effect on a single step at a constant learning rate.
const WITHOUT_EFFECT: [&str; 5] = ["aux_init", "sched", "batch", "epochs", "flip"];

/// A tensor in PyTorch's layout.
struct Golden {
    shape: Vec<usize>,
    values: Vec<f64>,
}

/// One golden file.
pub struct Case {
    /// The file's name without `_f64.safetensors`.
    pub name: String,
    tensors: BTreeMap<String, Golden>,
    /// Keys that were read; the others were never compared.
    used: RefCell<BTreeSet<String>>,
    settings: Value,
    blocks: Vec<Module>,
    /// Number of classes.
    pub classes: usize,
}

/// All f64 files in a folder, in order of name.
pub fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = folder.read_dir().unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.to_string_lossy().ends_with("_f64.safetensors"));
    files.sort();
    files
}

impl Case {
    /// Reads a file.
    pub fn read(path: &Path) -> Self {
        let name = path.file_name().unwrap().to_string_lossy().replace("_f64.safetensors", "");
        let bytes = std::fs::read(path).unwrap();
        let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
        let metadata = header.metadata().clone().unwrap_or_default();
        let json = |key: &str| -> Value { serde_json::from_str(&metadata[key]).unwrap() };
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let tensors = file.iter().map(|(key, view)| {
            let value = |bytes: &[u8]| match view.dtype() {
                Dtype::F64 => f64::from_le_bytes(bytes.try_into().unwrap()),
                Dtype::I64 => i64::from_le_bytes(bytes.try_into().unwrap()) as f64,
                other => panic!("{name}: {key} is {other:?}"),
            };
            let values = view.data().chunks_exact(8).map(value).collect();
            (key.to_owned(), Golden { shape: view.shape().to_vec(), values })
        });
        let blocks = json("blocks");
        let blocks = blocks.as_array().unwrap().iter().map(|b| Module::parse(b.as_str().unwrap()));
        Self {
            tensors: tensors.collect(),
            used: RefCell::default(),
            settings: json("cfg"),
            blocks: blocks.collect(),
            classes: metadata["classes"].parse().unwrap(),
            name,
        }
    }

    fn golden(&self, key: &str) -> &Golden {
        self.used.borrow_mut().insert(key.to_owned());
        self.tensors.get(key).unwrap_or_else(|| panic!("{}: there is no {key}", self.name))
    }

    /// Whether the file has `key`.
    pub fn has(&self, key: &str) -> bool {
        self.tensors.contains_key(key)
    }

    /// Values in the order in which a tensor of `layout` has them: OIHW becomes HWIO, NCHW
    /// becomes NHWC, and a linear layer's weight is that of a 1×1 convolution.
    pub fn values(&self, key: &str, layout: Layout) -> Vec<f64> {
        let Golden { shape, values } = self.golden(key);
        let (dims, order) = match (layout, shape[..].len()) {
            (Layout::Hwio, 4) => (shape.clone(), [2, 3, 1, 0]),
            (Layout::Hwio, 2) => (vec![shape[0], shape[1], 1, 1], [2, 3, 1, 0]),
            // The weight of a depthwise convolution.
            (Layout::Nhwc, 4) if key.contains(".weight") => (shape.clone(), [2, 3, 1, 0]),
            (Layout::Nhwc, 4) => (shape.clone(), [0, 2, 3, 1]),
            (_, 0..=2) => return values.clone(),
            _ => panic!("{key} has shape {shape:?}"),
        };
        permute(values, &dims, order)
    }

    /// The number of images, then their height, width and channels.
    pub fn images(&self) -> [usize; 4] {
        let shape = &self.golden("x").shape;
        [shape[0], shape[2], shape[3], shape[1]]
    }

    /// A number from the configuration.
    pub fn setting(&self, key: &str) -> f64 {
        self.settings[key].as_f64().unwrap_or_else(|| panic!("{}: no number {key}", self.name))
    }

    /// Decay of the first or second moment.
    pub fn beta(&self, moment: usize) -> f64 {
        self.settings["betas"][moment].as_f64().expect("two betas")
    }

    /// Constants of the optimiser.
    pub fn adamw(&self) -> AdamW {
        AdamW {
            beta1: self.beta(0) as f32,
            beta2: self.beta(1) as f32,
            eps: self.setting("eps") as f32,
            weight_decay: self.setting("wd") as f32,
        }
    }

    /// The largest eps of a batch norm.
    pub fn eps(&self) -> f64 {
        fn largest(module: &Module) -> f64 {
            let own = module.arguments.get("eps").map_or(0.0, |eps| eps.parse().unwrap());
            module.children.iter().map(|(_, child)| largest(child)).fold(own, f64::max)
        }
        self.blocks.iter().map(largest).fold(0.0, f64::max)
    }

    /// Keys that were not read.
    pub fn unused(&self) -> Vec<&str> {
        let used = self.used.borrow();
        self.tensors.keys().filter(|key| !used.contains(*key)).map(String::as_str).collect()
    }

    /// The network, or why it is not supported.
    pub fn network(&self) -> Result<Network, String> {
        let plain = serde_json::json!({
            "norm": "chw", "aux_in": "post", "aux_bias": false,
            "aux_act": "none", "margin": 0.0, "smooth": 0.0,
        });
        let known = ["aux_k", "aux_pool", "scale", "learn_scale", "lr", "wd", "betas", "eps"];
        for (key, value) in self.settings.as_object().ok_or("cfg is not an object")? {
            let fine = match plain.get(key) {
                Some(plain) => value == plain,
                None => known.contains(&key.as_str()) || WITHOUT_EFFECT.contains(&key.as_str()),
            };
            if !fine {
                return Err(format!("{key} is {value}"));
            }
        }
        let linear = self.has("b0.w0.fc.weight");
        let blocks = self.blocks.iter().enumerate().map(|(index, module)| {
            let mut units = Vec::new();
            let activation = self.activation(index);
            layers(module, &format!("b{index}.body"), activation, &mut units)?;
            let pools = self.pools(index, &units)?;
            let layers = units.into_iter().enumerate().flat_map(|(at, unit)| {
                let pool = (at < pools).then_some(Layer::MaxPool(POOL));
                unit.into_iter().chain(pool)
            });
            Ok(Block { name: format!("b{index}"), layers: layers.collect() })
        });
        let blocks = blocks.collect::<Result<Vec<_>, String>>()?;
        let head = if linear {
            Head::Linear
        } else {
            let pool = self.setting("aux_pool") as usize;
            Head::Goodness(Goodness {
                kernel: self.setting("aux_k") as usize,
                separable: false,
                pool: (pool > 0).then_some(pool),
                scale: match self.settings["learn_scale"].as_bool() {
                    Some(true) => Scale::Learnable,
                    _ => Scale::Fixed(self.setting("scale") as f32),
                },
            })
        };
        Ok(Network { blocks, head, classes: self.classes })
    }

    /// The activation after the batch norms of a block, which is not in the metadata. In the networks
    /// with inverted residuals, all of these but the first use hard-swish.
    fn activation(&self, block: usize) -> Activation {
        let is_inverted = |module: &Module| module.has("InvertedResidual");
        let first = self.blocks.iter().position(is_inverted);
        if first.is_some_and(|first| first != block) {
            Activation::HardSwish
        } else {
            Activation::Relu
        }
    }

    /// The number of a block's first units that are followed by a pool, from the sizes of the block's
    /// input and output. The output of a network trained by backpropagation is not in the file; its
    /// first two convolutions are pooled.
    fn pools(&self, block: usize, units: &[Vec<Layer>]) -> Result<usize, String> {
        let plain = |layer: &Layer| matches!(layer, Layer::Conv2d { .. } | Layer::BatchNorm { .. });
        if !units.iter().flatten().all(plain) {
            return Ok(0);
        }
        let side =
            |key: &str| Some(self.tensors.get(&format!("b{block}.{key}"))?.shape[2..].to_vec());
        let (Some(from), Some(to)) = (side("in"), side("h")) else { return Ok(2.min(units.len())) };
        let output = |pools: usize| -> Option<Vec<usize>> {
            let shape = sff::internals::base::shape::Shape::new(1, from[0], from[1], 1);
            let windows = units.iter().enumerate().flat_map(|(at, unit)| {
                let conv = unit.iter().filter_map(|layer| match layer {
                    Layer::Conv2d { window, .. } => Some(*window),
                    _ => None,
                });
                conv.chain((at < pools).then_some(POOL))
            });
            let y = windows.into_iter().try_fold(shape, |shape, window| window.output(shape))?;
            Some(vec![y.h, y.w])
        };
        (0..=units.len())
            .find(|pools| output(*pools).as_ref() == Some(&to))
            .ok_or_else(|| format!("block {block} turns {from:?} into {to:?}"))
    }
}

/// Transposes: axis `i` of the result is axis `order[i]` of `values`.
fn permute(values: &[f64], dims: &[usize], order: [usize; 4]) -> Vec<f64> {
    let strides: [usize; 4] = std::array::from_fn(|axis| dims[axis + 1..].iter().product());
    let [a, b, c, d] = order.map(|axis| (dims[axis], strides[axis]));
    let mut out = Vec::with_capacity(values.len());
    for i in 0..a.0 {
        for j in 0..b.0 {
            for k in 0..c.0 {
                for l in 0..d.0 {
                    out.push(values[i * a.1 + j * b.1 + k * c.1 + l * d.1]);
                }
            }
        }
    }
    out
}

/// Adds the layers of each unit in nested `Sequential`s to `units`: `ConvUnit`s (convolution, batch
/// norm, activation), basic blocks, inverted residuals and their parts.
fn layers(
    module: &Module,
    name: &str,
    act: Activation,
    units: &mut Vec<Vec<Layer>>,
) -> Result<(), String> {
    let children: Vec<&str> = module.children.iter().map(|(_, m)| m.kind.as_str()).collect();
    let inside = |index: usize| {
        let (child, module) = &module.children[index];
        (module, format!("{name}.{child}"))
    };
    // The layers of one child, whose last batch norm is followed by `act`.
    let child = |index: usize, act: Activation| -> Result<Vec<Layer>, String> {
        let ((module, name), mut units) = (inside(index), Vec::new());
        layers(module, &name, act, &mut units)?;
        Ok(units.concat())
    };
    match (module.kind.as_str(), &children[..]) {
        ("Sequential", _) => {
            for (child, module) in &module.children {
                layers(module, &format!("{name}.{child}"), act, units)?;
            }
            return Ok(());
        }
        ("ConvUnit", ["Conv2d", "BatchNorm2d"]) => {
            let ((conv, conv_name), (norm, norm_name)) = (inside(0), inside(1));
            units.push(vec![conv2d(conv, conv_name)?, batch_norm(norm, norm_name, act)?]);
        }
        ("SqueezeExcite", ["Conv2d", "Conv2d"]) => {
            let (fc1, name1) = inside(0);
            let Layer::Conv2d { out: hidden, .. } = conv2d(fc1, name1)? else {
                return Err(format!("{name} is not a squeeze-and-excitation"));
            };
            units.push(vec![Layer::SqueezeExcite { name: name.to_owned(), hidden }]);
        }
        ("BasicBlock", ["ConvUnit", "ConvUnit", rest @ ..]) => {
            let body = [child(0, Activation::Relu)?, child(1, Activation::None)?].concat();
            let shortcut = match rest {
                [] => vec![],
                _ => child(2, Activation::None)?,
            };
            let sum = Layer::Residual { body, shortcut };
            units.push(vec![sum, Layer::Activation(Activation::Relu)]);
        }
        ("InvertedResidual", ["Sequential"]) => {
            let mut body = child(0, act)?;
            // The last convolution is a projection: no activation follows its batch norm.
            if let Some(Layer::BatchNorm { norm, .. }) = body.last_mut() {
                norm.act = Activation::None;
            }
            units.push(match keeps_shape(&module.children[0].1) {
                true => vec![Layer::Residual { body, shortcut: vec![] }],
                false => body,
            });
        }
        (kind, _) => return Err(format!("{name} is {kind} of {children:?}")),
    }
    Ok(())
}

/// Whether the output of the convolutions in `module` has the shape of their input.
fn keeps_shape(module: &Module) -> bool {
    let units = module.children.iter().filter(|(_, unit)| unit.kind == "ConvUnit");
    let convs: Vec<&Module> = units.map(|(_, unit)| &unit.children[0].1).collect();
    let argument = |conv: &Module, key: &str| conv.arguments.get(key).cloned();
    let channels = |conv: Option<&&Module>, key| conv.and_then(|conv| argument(conv, key));
    channels(convs.first(), "0") == channels(convs.last(), "1")
        && convs.iter().all(|conv| argument(conv, "stride").as_deref() == Some("(1, 1)"))
}

fn conv2d(module: &Module, name: String) -> Result<Layer, String> {
    let mut arguments = module.arguments.clone();
    let square = |pair: &str| -> Result<usize, String> {
        let sides = pair.trim_matches(['(', ')']).split_once(", ");
        let (a, b) = sides.ok_or(format!("{name}: {pair} is not a pair"))?;
        if a == b { a.parse().map_err(|_| pair.to_owned()) } else { Err(format!("{name}: {pair}")) }
    };
    let mut take =
        |key: &str, otherwise: &str| arguments.remove(key).unwrap_or_else(|| otherwise.to_owned());
    let (from, to, groups) = (take("0", ""), take("1", ""), take("groups", "1"));
    let out = to.parse().map_err(|_| format!("{name}: no output channels"))?;
    let window = Window {
        kernel: square(&take("kernel_size", ""))?,
        stride: square(&take("stride", "(1, 1)"))?,
        pad: square(&take("padding", "(0, 0)"))?,
    };
    let bias = take("bias", "True") == "True";
    if let Some((key, value)) = arguments.into_iter().next() {
        return Err(format!("{name} has {key}={value}"));
    }
    match groups.as_str() {
        "1" => Ok(Layer::Conv2d { name, out, window, bias }),
        _ if groups == from && groups == to && !bias => Ok(Layer::DepthwiseConv2d { name, window }),
        _ => Err(format!("{name} has groups={groups}")),
    }
}

fn batch_norm(module: &Module, name: String, act: Activation) -> Result<Layer, String> {
    let argument = |key: &str| module.arguments.get(key).map(String::as_str);
    let number = |key: &str| {
        argument(key).and_then(|v| v.parse().ok()).ok_or_else(|| format!("{name} has no {key}"))
    };
    let norm = BatchNorm { eps: number("eps")?, momentum: number("momentum")?, act };
    if (argument("affine"), argument("track_running_stats")) != (Some("True"), Some("True")) {
        return Err(format!("{name} is {:?}", module.arguments));
    }
    Ok(Layer::BatchNorm { name, norm })
}

#[test]
fn unsupported_layers_are_found_in_the_metadata() {
    let reason = |unit: &str| {
        let text = format!("Sequential(\n  (0): {unit}\n)");
        layers(&Module::parse(&text), "b0", Activation::Relu, &mut Vec::new()).err()
    };
    let unit = |conv: &str, more: &str| {
        format!(
            "ConvUnit(\n(conv): Conv2d(8, 8, kernel_size=(3, 3){conv}, bias=False)\n(bn): \
             BatchNorm2d(8, eps=1e-05, momentum=0.1, affine=True, track_running_stats=True)\n{more})"
        )
    };
    assert_eq!(reason(&unit("", "")), None);
    assert_eq!(reason(&unit(", groups=8", "")), None);
    assert_eq!(reason(&unit(", groups=4", "")).unwrap(), "b0.0.conv has groups=4");
    assert!(reason(&unit(", stride=(1, 2)", "")).unwrap().contains("(1, 2)"));
    assert!(reason(&unit("", "(act): Hardswish()\n")).unwrap().contains("Hardswish"));
    assert!(reason("Bottleneck(\n)").unwrap().contains("Bottleneck"));
}
