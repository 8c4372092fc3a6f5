//! From an op to its dispatches: operands, parameters, grids, and slices of the batch.

use super::params::{self, Params};
use super::{Dispatch, Kernel, Operand, Target};
use crate::base::shape::{ALIGNMENT, Layout, Shape};
use crate::compiler::tensor::{TensorId, Tensors};
use crate::compiler::wgsl::Definitions;
use crate::net::layers::Activation;

/// File, entry point and definitions of a kernel.
pub type Permutation<'a> = (&'static str, &'static str, &'a [(&'static str, u32)]);

/// Shader variables and their tensors.
pub type Named<'a> = &'a [(&'static str, TensorId)];

/// A range of the images of a batch.
#[derive(Clone, Copy)]
pub struct Slice {
    /// Index of the first image.
    pub first: usize,
    /// Number of images.
    pub count: usize,
}

impl Slice {
    /// The first `count` images.
    pub fn first(count: usize) -> Self {
        Self { first: 0, count }
    }

    /// Slices of at most `count` images that cover a batch of `n`.
    pub fn each(n: usize, count: usize) -> impl Iterator<Item = Self> {
        (0..n).step_by(count).map(move |first| Self { first, count: count.min(n - first) })
    }
}

/// A size or position as a kernel parameter.
pub fn to_u32(value: usize) -> u32 {
    // `Node::lower` refuses tensors with more values.
    u32::try_from(value).expect("tensors have less than 2^32 values")
}

/// The definition that selects an activation in `activation.wgsl`.
pub fn activation(act: Activation) -> Option<(&'static str, u32)> {
    let name = match act {
        Activation::None => return None,
        Activation::Relu => "RELU",
        Activation::HardSwish => "HARD_SWISH",
        Activation::HardSigmoid => "HARD_SIGMOID",
    };
    Some((name, 1))
}

/// Collects the dispatches of one op.
pub struct Lowering<'a> {
    /// The program's tensors.
    pub tensors: Tensors<'a>,
    /// The op's scratch, in the order of [`crate::compiler::ops::Operation::scratch`].
    pub scratch: &'a [TensorId],
    /// Tiles and limits.
    pub target: Target,
    /// FLOPs of products in the whole op.
    flops: u64,
    dispatches: Vec<Dispatch>,
}

impl<'a> Lowering<'a> {
    /// Without dispatches yet; `flops` are those of the whole op.
    pub fn new(tensors: Tensors<'a>, scratch: &'a [TensorId], target: Target, flops: u64) -> Self {
        Self { tensors, scratch, target, flops, dispatches: Vec::new() }
    }

    /// The dispatches, in order.
    pub fn finish(self) -> Vec<Dispatch> {
        self.dispatches
    }

    /// The shape of a tensor.
    pub fn shape(&self, id: TensorId) -> Shape {
        self.tensors.shape(id)
    }

    /// Number of `vec4<f32>` in a tensor, padding included.
    pub fn vectors(&self, id: TensorId) -> usize {
        self.tensors.get(id).bytes() / 16
    }

    /// Dispatches a kernel, with the definition F16 if its maps are float16: all maps of a dispatch have
    /// one format.
    pub fn push<P: Params>(
        &mut self,
        (file, entry, definitions): Permutation,
        operands: &[(&'static str, Operand)],
        params: P,
        threads: usize,
    ) {
        let mut definitions: Definitions = definitions.iter().copied().collect();
        let half = |operand: &Operand| self.tensors.layout(operand.tensor) == Layout::Half;
        if operands.iter().any(|(_, operand)| half(operand)) {
            definitions.insert("F16", 1);
        }
        // JOIN invocations share each result.
        let threads = threads * definitions.get("JOIN").map_or(1, |join| *join as usize);
        self.dispatches.push(Dispatch {
            kernel: Kernel { file, entry, definitions },
            operands: operands.to_vec(),
            params: bytemuck::bytes_of(&params).to_vec(),
            members: P::MEMBERS,
            threads,
        });
    }

    /// The definition JOIN, by which several invocations share each of `results` sums of `terms` terms, if
    /// one invocation per result would not keep a GPU busy.
    pub fn join(&self, results: usize, terms: usize) -> Option<(&'static str, u32)> {
        /// Invocations that keep a GPU busy.
        const MANY: usize = 1 << 15;
        let join = self.target.tiles.join;
        let pays = join > 1 && results < MANY && terms >= 2 * join as usize;
        pays.then_some(("JOIN", join))
    }

    /// Dispatches the sum of the rows of `partial` into `y`.
    pub fn sum_rows(&mut self, partial: TensorId, y: TensorId) {
        let len = self.vectors(y);
        let rows = self.vectors(partial) / len;
        let params = params::SumRows { rows: to_u32(rows), len: to_u32(len) };
        let join = self.join(len, rows);
        let operands = [("partial", partial), ("y", y)];
        self.once(("sum_rows", "main", join.as_slice()), &operands, params, len);
    }

    /// A whole tensor as an operand.
    pub fn whole(&self, id: TensorId) -> Operand {
        Operand { tensor: id, offset: 0, bytes: self.tensors.get(id).bytes() }
    }

    /// Bytes of each of the `n` images of a tensor.
    fn image_bytes(&self, id: TensorId, n: usize) -> usize {
        self.tensors.get(id).content_bytes() / n
    }

    /// The images `slice` of a tensor of `n` images as an operand.
    pub fn part(&self, id: TensorId, n: usize, slice: Slice) -> Operand {
        let one = self.image_bytes(id, n);
        let (offset, end) = (slice.first * one, (slice.first + slice.count) * one);
        // Words are padded to whole vec4s after the last image.
        let end = if end == n * one { self.tensors.get(id).bytes() } else { end };
        Operand { tensor: id, offset, bytes: end - offset }
    }

    /// Slices of a batch of `n` images within the limits on bindings and FLOPs. Each consists of whole
    /// groups of `group` images, and starts at an aligned byte of every tensor in `ids`.
    fn slices(&self, n: usize, ids: impl Iterator<Item = TensorId>, group: usize) -> Vec<Slice> {
        let affordable = self.target.max_flops / (self.flops / n as u64).max(1);
        let (mut step, mut most) = (group, n.min(usize::try_from(affordable).unwrap_or(n)));
        for one in ids.map(|id| self.image_bytes(id, n)) {
            step = lcm(step, ALIGNMENT >> one.trailing_zeros().min(ALIGNMENT.ilog2()));
            most = most.min(self.target.max_binding / one.max(1));
        }
        let count = if most >= n { n } else { (most / step * step).max(step) };
        Slice::each(n, count).collect()
    }

    /// Dispatches a kernel for each slice of a batch of `n` images, in whole groups of `group`. Operands
    /// in `each` are cut along the batch, those in `whole` are not. `make` returns the parameters and the
    /// number of invocations of a slice.
    pub fn per_group<P: Params>(
        &mut self,
        permutation: Permutation,
        (n, group): (usize, usize),
        each: Named,
        whole: Named,
        make: impl Fn(Slice) -> (P, usize),
    ) {
        for slice in self.slices(n, each.iter().map(|(_, id)| *id), group) {
            let mut operands: Vec<_> =
                each.iter().map(|(name, id)| (*name, self.part(*id, n, slice))).collect();
            operands.extend(whole.iter().map(|(name, id)| (*name, self.whole(*id))));
            let (params, threads) = make(slice);
            self.push(permutation, &operands, params, threads);
        }
    }

    /// The same with groups of one image.
    pub fn per_image<P: Params>(
        &mut self,
        permutation: Permutation,
        n: usize,
        each: Named,
        whole: Named,
        make: impl Fn(Slice) -> (P, usize),
    ) {
        self.per_group(permutation, (n, 1), each, whole, make);
    }

    /// Dispatches a kernel once, on whole tensors.
    pub fn once<P: Params>(
        &mut self,
        permutation: Permutation,
        operands: Named,
        params: P,
        threads: usize,
    ) {
        let operands: Vec<_> = operands.iter().map(|(n, id)| (*n, self.whole(*id))).collect();
        self.push(permutation, &operands, params, threads);
    }
}

fn lcm(a: usize, b: usize) -> usize {
    let (mut x, mut y) = (a, b);
    while y != 0 {
        (x, y) = (y, x % y);
    }
    a / x * b
}
