//! WGSL sources, the preprocessor that composes them, and reflection by naga.
//!
//! Directives stand on lines of their own:
//!
//! - `#import folder/name` inserts `shaders/folder/name.wgsl`, each file once. Imports stand at module
//!   scope: files share functions, types and constants.
//! - `#if FLAG`, `#if !FLAG`, `#else`, `#endif` test whether a definition is given and not 0.
//! - `#for i in A..B`, `#endfor` repeat lines, with numbers or definitions as bounds.
//!
//! Each definition of a permutation is also a constant of the shader (`const PIXELS: u32 = 8u;`).
//! `${expression}`, of numbers, loop variables and definitions, is replaced by its value. Register tiles
//! are arrays that are indexed by such values only: drivers keep arrays that a loop indexes in slow
//! scratch memory.
//!
//! The definitions `F16` and `COOPERATIVE` enable language extensions: half precision, and cooperative
//! matrices. With `F16`, maps are stored in half precision (`shaders/common/map.wgsl`).
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
    /// Path in `shaders/`, without `.wgsl`.
    pub path: &'static str,
    /// Its text.
    pub text: &'static str,
}

impl Source {
    /// The file's name without its folder; unique.
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
    /// Source file (its path in `shaders/`) and line of each line of the text; `None` if the
    /// preprocessor added it.
    origins: Vec<Option<(&'static str, usize)>>,
}

impl Composed {
    /// Source file and line of line `line` of the text, both counted from 1.
    pub fn origin(&self, line: usize) -> Option<(&'static str, usize)> {
        self.origins.get(line.checked_sub(1)?).copied().flatten()
    }
}

/// WGSL without source files.
impl From<&str> for Composed {
    fn from(wgsl: &str) -> Self {
        Self { wgsl: wgsl.to_owned(), origins: Vec::new() }
    }
}

/// The complete WGSL of one permutation of the source called `name`.
///
/// # Errors
/// [`Error::Shader`] names the file and line of an invalid directive.
pub fn compose(name: &str, definitions: &Definitions) -> Result<Composed> {
    let source = SOURCES.iter().find(|source| source.name() == name);
    let source = source.ok_or_else(|| Error::Shader {
        name: name.to_owned(),
        problem: "there is no such file in shaders/".to_owned(),
    })?;
    preprocess::expand(*source, definitions, SOURCES)
}
