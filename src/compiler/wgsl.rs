//! WGSL sources, the small preprocessor that composes them, and what naga reads off the result.
//!
//! Directives stand on lines of their own:
//!
//! - `#import folder/name` puts `shaders/folder/name.wgsl` there, unless it is there already. Imports
//!   stand at module scope: what files share are functions, types and constants.
//! - `#if FLAG`, `#if !FLAG`, `#else`, `#endif` test whether a definition is there and not 0.
//! - `#for i in A..B`, `#endfor` repeat lines, with numbers or definitions as bounds.
//!
//! Each definition of a permutation is a constant of the shader, too (`const PIXELS: u32 = 8u;`).
//! `${expression}` is replaced by its value, of numbers, loop variables and definitions. Register
//! tiles are arrays that are only indexed by such values: drivers keep arrays that a loop indexes in
//! slow scratch memory.
//!
//! The definitions `F16` and `COOPERATIVE` switch on the language extensions of that kind: half
//! precision, and cooperative matrices. With `F16`, maps are made of it (`shaders/common/map.wgsl`).
//! `shaders/permutations.txt` lists the definitions of each kernel.
//!
//! All storage bindings are `read_write`; `docs/src/kernel.md` says why.

mod poison;
mod preprocess;
mod reflect;
mod translate;

pub use poison::poison;
pub use preprocess::Definitions;
pub use reflect::{Binding, Reflection, validate};
pub use translate::{Translated, translate};

use crate::{Error, Result};

/// A file in `shaders/`.
#[derive(Clone, Copy, Debug)]
pub struct Source {
    /// Where it is in `shaders/`, without `.wgsl`.
    pub path: &'static str,
    /// Its text.
    pub text: &'static str,
}

impl Source {
    /// The name without its folder; no two sources have the same.
    pub fn name(&self) -> &'static str {
        self.path.rsplit('/').next().unwrap_or(self.path)
    }
}

/// Every file in `shaders/`.
pub const SOURCES: &[Source] = include!(concat!(env!("OUT_DIR"), "/shaders.rs"));

/// A permutation of a shader, as WGSL.
#[derive(Clone, Debug)]
pub struct Composed {
    /// The text.
    pub wgsl: String,
    /// File (its path in `shaders/`) and line that each line of the text comes from; none where the
    /// preprocessor wrote it.
    origins: Vec<Option<(&'static str, usize)>>,
}

impl Composed {
    /// File and line that line `line` of the text, counted from 1, comes from.
    pub fn origin(&self, line: usize) -> Option<(&'static str, usize)> {
        self.origins.get(line.checked_sub(1)?).copied().flatten()
    }
}

/// WGSL that is in no file.
impl From<&str> for Composed {
    fn from(wgsl: &str) -> Self {
        Self { wgsl: wgsl.to_owned(), origins: Vec::new() }
    }
}

/// The complete WGSL of one permutation of the source called `name`.
///
/// # Errors
/// [`Error::Shader`] names the file and line of a directive that cannot be followed.
pub fn compose(name: &str, definitions: &Definitions) -> Result<Composed> {
    let source = SOURCES.iter().find(|source| source.name() == name);
    let source = source.ok_or_else(|| Error::Shader {
        name: name.to_owned(),
        problem: "there is no such file in shaders/".to_owned(),
    })?;
    preprocess::expand(*source, definitions, SOURCES)
}
