//! The uniforms of the kernels, laid out as their WGSL structs are; a test holds the two
//! against each other.

use bytemuck::{Pod, Zeroable};

/// A parameter struct that can describe itself.
pub trait Params: Pod {
    /// Name, byte offset and size of each member.
    const MEMBERS: &'static [(&'static str, usize, usize)];
}

macro_rules! params {
    ($($name:ident { $($field:ident: $type:ty),* $(,)? })*) => {$(
        #[repr(C)]
        #[derive(Clone, Copy, Pod, Zeroable)]
        #[allow(missing_docs)]
        pub struct $name { $(pub $field: $type),* }

        impl Params for $name {
            const MEMBERS: &'static [(&'static str, usize, usize)] = &[
                $((stringify!($field), std::mem::offset_of!($name, $field), size_of::<$type>())),*
            ];
        }
    )*};
}

params! {
    AdamW { len: u32, factor: f32, beta1: f32, beta2: f32, eps: f32, weight_decay: f32 }
    AvgPool { in_h: u32, in_w: u32, out_h: u32, out_w: u32, c4: u32, len: u32 }
    BatchNorm {
        pixels: u32, c: u32, c4: u32, parts: u32, group: u32, first: u32, total: u32, across: u32,
        eps: f32, momentum: f32,
    }
    BiasGrad { pixels: u32, c4: u32, parts: u32, group: u32, first: u32 }
    Conv2d {
        in_h: u32, in_w: u32, in_c4: u32, out_h: u32, out_w: u32, out_c4: u32,
        kernel: u32, stride: u32, pad: u32, pixels: u32, images: u32, parts: u32,
        group: u32, first: u32, factor: f32,
    }
    CrossEntropy { images: u32, classes: u32, stride: u32, scale: f32 }
    Dropout {
        len: u32, c: u32, c4: u32, before: u32, layer: u32, threshold: u32, factor: f32,
    }
    Elementwise { len: u32, c: u32, c4: u32, factor: f32 }
    Excite { images: u32, size: u32, c: u32, c4: u32 }
    Finite { len: u32, members: u32, first: u32, at: u32, ends: [[u32; 4]; 12] }
    Gram {
        images: u32, rows: u32, depth: u32, width: u32, parts: u32, first: u32, factor: f32,
    }
    Input {
        mean: [f32; 4], scale: [f32; 4], luma: [f32; 4], stored_h: u32, stored_w: u32,
        h: u32, w: u32, first: u32, parts: u32, len: u32, unused: u32,
    }
    LayerNorm { images: u32, size: u32, c: u32, c4: u32, chunks: u32, eps: f32 }
    MaxPool {
        in_h: u32, in_w: u32, out_h: u32, out_w: u32, c4: u32, pad: u32, len: u32,
    }
    Metrics {
        images: u32, classes: u32, stride: u32, blocks: u32, late: u32,
        score_stride: u32, loss_stride: u32, words: u32,
    }
    ScaleScores { images: u32, c4: u32 }
    SumRows { rows: u32, len: u32 }
}
