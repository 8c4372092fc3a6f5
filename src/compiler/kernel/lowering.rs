//! From an op to its dispatches: operands, parameters, grids, and how work is cut along the batch.

use super::params::{self, Params};
use super::{Dispatch, Kernel, Operand, Target};
use crate::base::shape::{ALIGNMENT, Layout, Shape};
use crate::compiler::tensor::{TensorId, Tensors};
use crate::compiler::wgsl::Definitions;
use crate::net::layers::Activation;

/// File, entry point and definitions of a kernel.
pub type Permutation<'a> = (&'static str, &'static str, &'a [(&'static str, u32)]);

/// Shader variables and the tensors behind them.
pub type Named<'a> = &'a [(&'static str, TensorId)];

/// Some adjacent images of a batch.
#[derive(Clone, Copy)]
pub struct Slice {
    /// The first of them.
    pub first: usize,
    /// How many there are.
    pub count: usize,
}

impl Slice {
    /// The first `count` images.
    pub fn first(count: usize) -> Self {
        Self { first: 0, count }
    }

    /// A batch of `n` images, `count` at a time.
    pub fn each(n: usize, count: usize) -> impl Iterator<Item = Self> {
        (0..n).step_by(count).map(move |first| Self { first, count: count.min(n - first) })
    }
}

/// A size or position as kernels count it.
pub fn to_u32(value: usize) -> u32 {
    // `lower` has refused tensors with more values.
    u32::try_from(value).expect("tensors have less than 2^32 values")
}

/// The definition that chooses an activation in `activation.wgsl`.
pub fn activation(act: Activation) -> Option<(&'static str, u32)> {
    let name = match act {
        Activation::None => return None,
        Activation::Relu => "RELU",
        Activation::HardSwish => "HARD_SWISH",
        Activation::HardSigmoid => "HARD_SIGMOID",
    };
    Some((name, 1))
}

/// The dispatches of one op, as they are made.
pub struct Lowering<'a> {
    /// The program's tensors.
    pub tensors: Tensors<'a>,
    /// The op's scratch, in the order in which it asked for it.
    pub scratch: &'a [TensorId],
    /// What the dispatches are for.
    pub target: Target,
    /// Floating-point operations of products in the whole op.
    flops: u64,
    dispatches: Vec<Dispatch>,
}

impl<'a> Lowering<'a> {
    /// Nothing is dispatched yet; `flops` are those of the whole op.
    pub fn new(tensors: Tensors<'a>, scratch: &'a [TensorId], target: Target, flops: u64) -> Self {
        Self { tensors, scratch, target, flops, dispatches: Vec::new() }
    }

    /// What was dispatched.
    pub fn finish(self) -> Vec<Dispatch> {
        self.dispatches
    }

    /// The shape of a tensor.
    pub fn shape(&self, id: TensorId) -> Shape {
        self.tensors.shape(id)
    }

    /// Groups of four values of a tensor, padding included.
    pub fn vectors(&self, id: TensorId) -> usize {
        self.tensors.get(id).bytes() / 16
    }

    /// Dispatches a kernel. Maps among the operands decide what its maps are stored in: all of them
    /// are alike.
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

    /// The definition that makes several invocations share each of `results` sums of `terms` terms,
    /// where results alone would not keep a GPU busy.
    pub fn join(&self, results: usize, terms: usize) -> Option<(&'static str, u32)> {
        /// Results that keep a GPU busy by themselves.
        const MANY: usize = 1 << 15;
        let join = self.target.tiles.join;
        let pays = join > 1 && results < MANY && terms >= 2 * join as usize;
        pays.then_some(("JOIN", join))
    }

    /// `y` becomes the sum of the rows of `partial`.
    pub fn sum_rows(&mut self, partial: TensorId, y: TensorId) {
        let len = self.vectors(y);
        let rows = self.vectors(partial) / len;
        let params = params::SumRows { rows: to_u32(rows), len: to_u32(len) };
        let join = self.join(len, rows);
        let operands = [("partial", partial), ("y", y)];
        self.once(("sum_rows", "main", join.as_slice()), &operands, params, len);
    }

    /// All of a tensor.
    pub fn whole(&self, id: TensorId) -> Operand {
        Operand { tensor: id, offset: 0, bytes: self.tensors.get(id).bytes() }
    }

    /// Bytes of each of the `n` images of a tensor.
    fn image_bytes(&self, id: TensorId, n: usize) -> usize {
        self.tensors.get(id).content_bytes() / n
    }

    /// Some images of a tensor of `n`.
    pub fn part(&self, id: TensorId, n: usize, slice: Slice) -> Operand {
        let one = self.image_bytes(id, n);
        let (offset, end) = (slice.first * one, (slice.first + slice.count) * one);
        // Words are filled up to whole vec4s after the last image.
        let end = if end == n * one { self.tensors.get(id).bytes() } else { end };
        Operand { tensor: id, offset, bytes: end - offset }
    }

    /// Slices of a batch of `n` images such that none of these tensors is larger than a kernel
    /// may see, none has more arithmetic than a dispatch may, each starts at an aligned byte, and
    /// holds whole groups of images.
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

    /// Dispatches a kernel that treats groups of `group` of the `n` images alike. Operands in
    /// `each` have a share for every image, those in `whole` do not. `make` gives the parameters
    /// and the number of threads of a slice.
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

    /// The same for a kernel that treats all images alike.
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
