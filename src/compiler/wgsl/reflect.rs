//! Reads bindings, workgroup size and parameter layout off a composed shader, so that Rust
//! does not repeat them.

use naga::valid::{Capabilities, ValidationFlags, Validator};

use super::Composed;
use crate::{Error, Result};

/// One `@group(0)` variable that an entry point uses.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Binding {
    /// The variable's name.
    pub name: String,
    /// Its `@binding` number.
    pub index: u32,
    /// Whether it is the uniform with the parameters.
    pub uniform: bool,
    /// Whether the entry point reads it.
    pub reads: bool,
    /// Whether the entry point writes it.
    pub writes: bool,
    /// Whether it is an array of float16.
    pub half: bool,
}

/// A member of the parameter struct: name, byte offset, size in bytes.
pub type Member = (String, u32, u32);

/// What a composed shader declares.
#[derive(Clone, Debug)]
pub struct Reflection {
    /// Invocations per workgroup.
    pub workgroup_size: u32,
    /// The variables that the entry point uses, by binding number.
    pub bindings: Vec<Binding>,
    /// Members of the struct behind the uniform.
    pub params: Vec<Member>,
    /// Names of the members that are float32, or vectors or arrays of it.
    pub float_params: Vec<String>,
    /// Bytes of that struct.
    pub params_size: u32,
}

/// Language extensions that some kernels use.
const CAPABILITIES: Capabilities = Capabilities::SHADER_FLOAT16
    .union(Capabilities::SUBGROUP)
    .union(Capabilities::COOPERATIVE_MATRIX);

/// Parses and validates a shader.
///
/// # Errors
/// [`Error::Shader`] with naga's message and the lines in `shaders/` that it refers to.
pub fn validate(name: &str, shader: &Composed) -> Result<(naga::Module, naga::valid::ModuleInfo)> {
    let wgsl = &shader.wgsl;
    let module = naga::front::wgsl::parse_str(wgsl)
        .map_err(|e| invalid(name, shader, e.message(), e.labels()))?;
    let info =
        Validator::new(ValidationFlags::all(), CAPABILITIES).validate(&module).map_err(|e| {
            let labels = e.spans().map(|(span, label)| (*span, label.as_str()));
            // From the error to its root cause.
            let mut causes = vec![e.as_inner().to_string()];
            let mut cause = std::error::Error::source(e.as_inner());
            while let Some(error) = cause {
                causes.push(error.to_string());
                cause = error.source();
            }
            invalid(name, shader, &causes.join(": "), labels)
        })?;
    Ok((module, info))
}

fn invalid<'a>(
    name: &str,
    shader: &Composed,
    message: &str,
    labels: impl Iterator<Item = (naga::Span, &'a str)>,
) -> Error {
    let mut problem = message.to_owned();
    for (span, label) in labels {
        let line = span.location(&shader.wgsl).line_number as usize;
        let text = shader.wgsl.lines().nth(line - 1).unwrap_or_default().trim();
        let place = match shader.origin(line) {
            Some((file, line)) => format!("shaders/{file}.wgsl, line {line}"),
            None => format!("line {line}"),
        };
        problem += &format!("\n  {place}: `{text}`");
        if !label.is_empty() {
            problem += &format!(" ({label})");
        }
    }
    Error::Shader { name: name.to_owned(), problem }
}

/// Whether a type is an array of vectors of float16.
fn holds_halves(module: &naga::Module, array: naga::Handle<naga::Type>) -> bool {
    let naga::TypeInner::Array { base, .. } = module.types[array].inner else { return false };
    module.types[base].inner.scalar() == Some(naga::Scalar::F16)
}

impl Reflection {
    /// Reflects entry point `entry` of a composed shader.
    ///
    /// # Errors
    /// [`Error::Shader`] if the shader is invalid or has no such entry point.
    pub fn new(name: &str, shader: &Composed, entry: &str) -> Result<Self> {
        let (module, info) = validate(name, shader)?;
        let index = module.entry_points.iter().position(|e| e.name == entry).ok_or_else(|| {
            Error::Shader { name: name.to_owned(), problem: format!("has no entry point {entry}") }
        })?;
        let used = info.get_entry_point(index);
        let mut reflection = Self {
            workgroup_size: module.entry_points[index].workgroup_size.iter().product(),
            bindings: Vec::new(),
            params: Vec::new(),
            float_params: Vec::new(),
            params_size: 0,
        };
        for (handle, variable) in module.global_variables.iter() {
            let Some(binding) = variable.binding.filter(|_| !used[handle].is_empty()) else {
                continue;
            };
            let uniform = variable.space == naga::AddressSpace::Uniform;
            reflection.bindings.push(Binding {
                name: variable.name.clone().unwrap_or_default(),
                index: binding.binding,
                uniform,
                reads: used[handle].contains(naga::valid::GlobalUse::READ),
                writes: used[handle].contains(naga::valid::GlobalUse::WRITE),
                half: holds_halves(&module, variable.ty),
            });
            if let (true, naga::TypeInner::Struct { members, span }) =
                (uniform, &module.types[variable.ty].inner)
            {
                let float = |m: &&naga::StructMember| {
                    let base = match module.types[m.ty].inner {
                        naga::TypeInner::Array { base, .. } => base,
                        _ => m.ty,
                    };
                    module.types[base].inner.scalar() == Some(naga::Scalar::F32)
                };
                let names = members.iter().filter(float).map(|m| m.name.clone());
                reflection.float_params = names.flatten().collect();
                reflection.params_size = *span;
                reflection.params = members
                    .iter()
                    .map(|m| {
                        let size = module.types[m.ty].inner.size(module.to_ctx());
                        (m.name.clone().unwrap_or_default(), m.offset, size)
                    })
                    .collect();
            }
        }
        reflection.bindings.sort_by_key(|b| b.index);
        Ok(reflection)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Source, preprocess};
    use super::*;

    #[test]
    fn errors_name_the_source_file_and_line() {
        let message = |shared: &'static str| {
            let sources = [
                Source { path: "kernel", text: "// Doc.\n#import common/shared\nfn f() {}" },
                Source { path: "common/shared", text: shared },
            ];
            let shader = preprocess::expand(sources[0], &[("N", 2)].into(), &sources).unwrap();
            validate("kernel.main", &shader).unwrap_err().to_string()
        };
        let parsing = "#if N\nconst A: u32 = 1u;\n#endif\nfn g() -> u32 {\n    return B;\n}";
        assert_eq!(
            message(parsing),
            "shader kernel.main: no definition in scope for identifier: `B`\n  \
             shaders/common/shared.wgsl, line 5: `return B;` (unknown identifier)"
        );
        let validating = "\nfn g() -> u32 {\n    return 1.0f;\n}";
        let message = message(validating);
        assert!(
            message.contains("shaders/common/shared.wgsl, line 3: `return 1.0f;`"),
            "{message}"
        );
    }
}
