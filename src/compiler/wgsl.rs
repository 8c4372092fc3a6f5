//! WGSL sources, the small preprocessor that composes them, and what naga reads off the result.
//!
//! Directives stand on lines of their own:
//!
//! - `#import name` pastes `shaders/name.wgsl` in place;
//! - `#if FLAG`, `#if !FLAG`, `#else`, `#endif` test whether a definition is there and not 0;
//! - `#for i in A..B`, `#endfor` repeat lines, with numbers or definitions as bounds.
//!
//! `${name}` is replaced by the value of a loop variable or a definition. Register tiles are
//! unrolled this way because drivers keep arrays indexed by a loop in slow scratch memory.
//!
//! The definitions `F16` and `COOPERATIVE` switch on the language extensions of that kind: half
//! precision, and cooperative matrices. With `F16`, maps are made of it (`shaders/map.wgsl`).

mod poison;
mod preprocess;
mod reflect;
mod translate;

pub use poison::poison;
pub use preprocess::Definitions;
pub use reflect::{Binding, Reflection, validate};
pub use translate::{Translated, translate};

use crate::{Error, Result};

/// Every file in `shaders/`: its path there without `.wgsl`, and its text.
const SOURCES: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/shaders.rs"));

fn source(name: &str) -> Option<&'static str> {
    SOURCES.iter().find(|(n, _)| *n == name).map(|(_, text)| *text)
}

/// Every source, whatever it is for.
pub fn sources() -> impl Iterator<Item = &'static str> {
    SOURCES.iter().map(|(_, source)| *source)
}

/// The complete WGSL of one permutation of `shaders/{name}.wgsl`.
///
/// # Errors
/// [`Error::Shader`] names the file and line of a directive that cannot be followed.
pub fn compose(name: &str, definitions: &Definitions) -> Result<String> {
    let text = source(name).ok_or_else(|| Error::Shader {
        name: name.to_owned(),
        problem: "there is no such file in shaders/".to_owned(),
    })?;
    let extensions =
        [("F16", "enable f16;\n"), ("COOPERATIVE", "enable wgpu_cooperative_matrix;\n")];
    let on = |flag| definitions.get(flag).is_some_and(|value| *value != 0);
    let mut wgsl: String =
        extensions.iter().filter(|(flag, _)| on(*flag)).map(|(_, line)| *line).collect();
    wgsl += &preprocess::expand(name, text, definitions, &source)?;
    Ok(wgsl)
}
