//! The uniforms of the kernels. Their structs are defined in the shaders only: `build.rs` generates these
//! from them, and a test compares the layouts.

use bytemuck::{Pod, Zeroable};

/// A parameter struct with a description of its members.
pub trait Params: Pod {
    /// Name, byte offset and size of each member.
    const MEMBERS: &'static [(&'static str, usize, usize)];
}

macro_rules! params {
    ($($name:ident { $($field:ident: $type:ty),* $(,)? })*) => {$(
        #[repr(C)]
        #[derive(Clone, Copy, Pod, Zeroable)]
        #[allow(missing_docs, dead_code)]
        pub struct $name { $(pub $field: $type),* }

        impl Params for $name {
            const MEMBERS: &'static [(&'static str, usize, usize)] = &[
                $((stringify!($field), std::mem::offset_of!($name, $field), size_of::<$type>())),*
            ];
        }
    )*};
}

include!(concat!(env!("OUT_DIR"), "/params.rs"));
