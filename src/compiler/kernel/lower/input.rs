//! Images on their way into the network.

use bytemuck::Zeroable;

use super::slices::Slice;
use super::{Lowering, u};
use crate::compiler::kernel::params;
use crate::compiler::ops::{Greys, Op};
use crate::compiler::split;
use crate::net::augment::SAMPLE_WORDS;

/// How much each of so many channels counts for the grey of a pixel; red, green and blue as in
/// ITU-R BT.601.
const fn luma(channels: usize) -> [f32; 4] {
    match channels {
        1 => [1.0, 0.0, 0.0, 0.0],
        2 => [0.5, 0.5, 0.0, 0.0],
        3 => [0.299, 0.587, 0.114, 0.0],
        _ => [0.25; 4],
    }
}

impl Lowering<'_> {
    pub(super) fn input(&mut self, op: &Op) {
        let Op::Input {
            pixels,
            all_labels,
            samples,
            x,
            labels,
            partners,
            greys,
            stored,
            normalize,
        } = *op
        else {
            return;
        };
        let shape = self.shape(x);
        let mut p = params::Input { luma: luma(shape.c), ..params::Input::zeroed() };
        for c in 0..shape.c {
            p.mean[c] = normalize.mean[c];
            p.scale[c] = 1.0 / normalize.std[c];
        }
        (p.stored_h, p.stored_w) = (u(stored[0]), u(stored[1]));
        (p.h, p.w) = (u(shape.h), u(shape.w));
        let channels = ("CHANNELS", u(shape.c));
        let mut whole = vec![("pixels", pixels), ("all_labels", all_labels), ("samples", samples)];
        if let Some(Greys { partial, mean }) = greys {
            let parts = split::grey_parts(shape);
            let len = parts * (self.shape(samples).elements() / SAMPLE_WORDS);
            let params = params::Input { parts: u(parts), len: u(len), ..p };
            let operands = [("pixels", pixels), ("samples", samples), ("partial", partial)];
            self.once(("input", "grey", &[channels]), &operands, params, len);
            self.sum_rows(partial, mean);
            whole.push(("greys", mean));
        }
        let mut each = vec![("x", x), ("labels", labels)];
        each.extend(partners.map(|id| ("partners", id)));
        let (jitter, mix) = (u32::from(greys.is_some()), u32::from(partners.is_some()));
        let flags = [channels, ("JITTER", jitter), ("MIX", mix)];
        self.per_image(("input", "main", &flags), shape.n, &each, &whole, |s: Slice| {
            let len = shape.with_n(s.count).pixels();
            (params::Input { first: u(s.first), len: u(len), ..p }, len)
        });
    }
}
