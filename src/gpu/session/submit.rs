//! Runs ops in submits that are short enough for a display's watchdog.

use std::ops::Range;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use super::{Fetch, Session};
use crate::Result;
use crate::compiler::kernel::Dispatch;
use crate::compiler::ops::Node;
use crate::compiler::tensor::Tensors;
use crate::compiler::tensor::{Tensor, TensorId};

/// Cost of moving a byte, in floating-point operations: slow devices do about two FLOPs in the time
/// of one byte.
const BYTE: u64 = 2;

/// The estimated cost of each dispatch of an op: its FLOPs plus [`BYTE`] per byte.
pub fn costs(op: &Node, tensors: &[Tensor], dispatches: &[Dispatch]) -> Vec<u64> {
    let flops = u128::from(op.flops(Tensors(tensors)));
    let threads: usize = dispatches.iter().map(|d| d.threads).sum();
    let cost = |d: &Dispatch| {
        let bytes: usize = d.operands.iter().map(|(_, operand)| operand.bytes).sum();
        let share = flops * d.threads as u128 / threads.max(1) as u128;
        u64::try_from(share).unwrap_or(u64::MAX).saturating_add(BYTE * bytes as u64)
    };
    dispatches.iter().map(cost).collect()
}

/// Splits adjacent dispatches so that no piece costs more than `most`, except a single dispatch.
fn pieces(span: Range<usize>, costs: &[u64], most: u64) -> Vec<Range<usize>> {
    let (mut pieces, mut first, mut sum) = (Vec::new(), span.start, 0u64);
    for index in span.clone() {
        let cost = costs[index];
        if index > first && sum.saturating_add(cost) > most {
            pieces.push(first..index);
            (first, sum) = (index, 0);
        }
        sum = sum.saturating_add(cost);
    }
    pieces.push(first..span.end);
    pieces
}

impl Session {
    /// Runs some ops without waiting, in one submit or, if they take long, several. With `fetch`,
    /// [`Session::fetched`] later gives that tensor's bytes after these ops.
    ///
    /// # Errors
    /// [`crate::Error::Gpu`] if the device reported an error since the last call.
    pub fn run(&mut self, ops: Range<usize>, fetch: Option<TensorId>) -> Result<()> {
        let staging = match fetch {
            Some(id) => Some((id, self.staging(self.program.tensor(id).bytes())?)),
            None => None,
        };
        let (start, mut submitting) = (Instant::now(), Duration::ZERO);
        let pieces = self.pieces(self.span(ops));
        let (last, others) = pieces.split_last().expect("there is always a piece");
        for piece in others {
            let commands = self.encode(piece.clone()).finish();
            let encoded = Instant::now();
            self.gpu.queue.submit([commands]);
            self.activity.submits += 1;
            submitting += encoded.elapsed();
        }
        let mut encoder = self.encode(last.clone());
        let staging = staging.map(|(id, buffer)| self.fetch(&mut encoder, id, 0, buffer));
        let encoded = Instant::now();
        match staging {
            Some(buffer) => {
                let fetch = self.submit(encoder, buffer);
                self.in_flight.push_back(fetch);
            }
            None => {
                self.gpu.queue.submit([encoder.finish()]);
                self.activity.submits += 1;
            }
        }
        submitting += encoded.elapsed();
        self.activity.submitting += submitting;
        self.activity.encoding += start.elapsed() - submitting;
        self.gpu.check()
    }

    /// Splits dispatches into one piece per submit.
    pub(super) fn pieces(&self, span: Range<usize>) -> Vec<Range<usize>> {
        pieces(span, &self.costs, self.gpu.max_flops())
    }

    fn encode(&self, span: Range<usize>) -> wgpu::CommandEncoder {
        let mut encoder = self.gpu.device.create_command_encoder(&Default::default());
        let mut pass = encoder.begin_compute_pass(&Default::default());
        self.ready[span].iter().for_each(|ready| ready.encode(&mut pass));
        drop(pass);
        encoder
    }

    /// Submits commands that end with a copy to `buffer`, and maps it.
    pub(super) fn submit(&mut self, encoder: wgpu::CommandEncoder, buffer: wgpu::Buffer) -> Fetch {
        let submission = self.gpu.queue.submit([encoder.finish()]);
        let (sender, mapped) = mpsc::channel();
        buffer.map_async(wgpu::MapMode::Read, .., move |result| {
            // The receiver is dropped only with the session.
            let _ = sender.send(result);
        });
        self.activity.submits += 1;
        Fetch { buffer, mapped, submission, submits: self.activity.submits }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::shape::{Layout, Shape, Weight, Window};
    use crate::compiler::kernel::{Target, Tiles};
    use crate::compiler::ops::Conv2d;
    use crate::compiler::program::Program;
    use crate::compiler::tensor::Kind;

    #[test]
    fn pieces_are_as_long_as_the_limit_allows() {
        let costs = [3, 4, 5, 20, 1, 1, 1];
        for (span, most, ends) in [
            (0..7, 10, vec![2, 3, 4, 7]),
            (1..3, 10, vec![3]),
            (0..7, u64::MAX, vec![7]),
            (4..4, 10, vec![4]),
        ] {
            let first = span.start;
            let pieces = pieces(span, &costs, most);
            let found: Vec<_> = pieces.iter().map(|piece| piece.end).collect();
            assert_eq!(found, ends, "from {first}");
            assert!(pieces.windows(2).all(|pair| pair[0].end == pair[1].start));
        }
    }

    /// A large conv2d is sliced to about the largest cost, with one submit per slice.
    #[test]
    fn long_dispatches_are_sliced() {
        let mut program = Program::default();
        let shape = Shape::new(64, 56, 56, 64);
        let [x, y] =
            ["x", "y"].map(|name| program.add(name, shape, Layout::Nhwc, Kind::Activation));
        let w = program.add("w", Weight::new(3, 64, 64), Layout::Hwio, Kind::Parameter);
        program.push(Conv2d { x, w, bias: None, y, window: Window::same(3, 1) });
        let op = &program.ops()[0];
        let flops = op.flops(Tensors(program.tensors()));
        let max_flops = 4_000_000_000;
        let target = Target { max_flops, ..Target::unlimited(Tiles::GPU) };
        let dispatches = op.lower(program.tensors(), target).unwrap();
        assert_eq!(dispatches.len() as u64, flops.div_ceil(max_flops));
        let costs = costs(op, program.tensors(), &dispatches);
        assert!(costs.iter().all(|cost| *cost < max_flops / 10 * 13), "{costs:?}");
        assert_eq!(pieces(0..costs.len(), &costs, max_flops).len(), costs.len());
        let one = Target { max_flops: 1, ..target };
        assert_eq!(op.lower(program.tensors(), one).unwrap().len(), 64);
    }
}
