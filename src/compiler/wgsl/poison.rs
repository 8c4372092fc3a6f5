//! Exposes reads of uninitialised workgroup memory in tests: sessions do not zero it, so a kernel must
//! write before it reads.

use naga::{AddressSpace, ArraySize, Scalar, TypeInner};

use super::{Composed, validate};
use crate::{Error, Result};

/// A composed shader whose entry point first fills the workgroup memory that it uses with huge
/// values. The entry point takes `invocation: Invocation`, as in `shaders/common/grid.wgsl`.
///
/// # Errors
/// [`Error::Shader`] if the shader is invalid, has no such entry point, or has workgroup memory that
/// is no array of floats or of their vectors.
pub fn poison(name: &str, shader: &Composed, entry: &str) -> Result<String> {
    let wgsl = &shader.wgsl;
    let fail = |problem: String| Error::Shader { name: name.to_owned(), problem };
    let (module, info) = validate(name, shader)?;
    let start = format!("fn {entry}(invocation: Invocation) {{\n");
    let index = module.entry_points.iter().position(|e| e.name == entry);
    let (Some(index), Some(at)) = (index, wgsl.find(&start)) else {
        return Err(fail(format!("has no entry point {entry}")));
    };
    let invocations: u32 = module.entry_points[index].workgroup_size.iter().product();
    let mut fill = String::new();
    for (handle, variable) in module.global_variables.iter() {
        let used = !info.get_entry_point(index)[handle].is_empty();
        if variable.space != AddressSpace::WorkGroup || !used {
            continue;
        }
        let variable_name = variable.name.as_deref().unwrap_or_default();
        let value = match module.types[variable.ty].inner {
            TypeInner::Array { base, size: ArraySize::Constant(len), .. } => {
                huge(&module.types[base].inner).map(|value| (value, len))
            }
            _ => None,
        };
        let Some((value, len)) = value else {
            return Err(fail(format!("workgroup memory {variable_name} is no array of floats")));
        };
        fill += &format!(
            "for (var i = invocation.local; i < {len}u; i += {invocations}u) {{ {variable_name}[i] = {value}; }}\n"
        );
    }
    if !fill.is_empty() {
        fill += "workgroupBarrier();\n";
    }
    let (before, after) = wgsl.split_at(at + start.len());
    Ok(format!("{before}{fill}{after}"))
}

/// A value so large that it shows in every result.
fn huge(ty: &TypeInner) -> Option<&'static str> {
    match *ty {
        TypeInner::Scalar(Scalar::F32) => Some("3e38f"),
        TypeInner::Scalar(Scalar::F16) => Some("65504h"),
        TypeInner::Vector { size: naga::VectorSize::Quad, scalar: Scalar::F32 } => {
            Some("vec4<f32>(3e38f)")
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHADER: &str = "
struct Invocation { @builtin(local_invocation_index) local: u32 }
var<workgroup> used: array<vec4<f32>, 70>;
var<workgroup> unused: array<f32, 3>;
@group(0) @binding(0) var<storage, read_write> y: array<vec4<f32>>;
@compute @workgroup_size(64)
fn main(invocation: Invocation) {
    y[0] = used[invocation.local];
}
";

    #[test]
    fn the_workgroup_memory_of_an_entry_point_is_filled_first() {
        let poisoned = poison("test", &SHADER.into(), "main").unwrap();
        let body = poisoned.split_once("fn main(invocation: Invocation) {\n").unwrap().1;
        let lines: Vec<_> = body.lines().map(str::trim).collect();
        assert_eq!(
            lines[..3],
            [
                "for (var i = invocation.local; i < 70u; i += 64u) { used[i] = vec4<f32>(3e38f); }",
                "workgroupBarrier();",
                "y[0] = used[invocation.local];",
            ]
        );
        validate("test", &poisoned.as_str().into()).unwrap();
        assert!(poison("test", &SHADER.into(), "other").is_err());
        let words = SHADER.replace("array<vec4<f32>, 70>", "array<u32, 70>");
        let words = words.replace("= used[invocation.local]", "= vec4<f32>(f32(used[0]))");
        let message = poison("test", &words.as_str().into(), "main").unwrap_err().to_string();
        assert!(message.contains("used is no array of floats"), "{message}");
    }
}
