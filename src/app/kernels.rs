//! The kernels of a training step: a list of dispatches, composed WGSL, and its translations to SPIR-V,
//! MSL and HLSL.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use serde::Serialize;
use serde_json::{Value, json};

use crate::base::files::write_whole;
use crate::base::suggest;
use crate::compiler::kernel::{Dispatch, Kernel, Target};
use crate::compiler::program::Built;
use crate::compiler::variants::Variants;
use crate::compiler::wgsl::{Reflection, compose, translate};
use crate::compiler::work::{Traffic, label, share};
use crate::{Error, Result};

/// The device that a step is lowered for.
pub struct Machine {
    /// The variants of ops; each op is lowered by the usual one.
    pub variants: Variants,
    /// The limits of the device. Its tiles are replaced by those of the variant.
    pub target: Target,
}

/// A dispatch of a step.
#[derive(Clone, Debug, Serialize)]
pub struct Listed {
    /// The op's name.
    pub op: &'static str,
    /// The block's name, if the op belongs to one.
    pub block: Option<String>,
    /// File and entry point.
    pub kernel: String,
    /// Name of the variant, a set of tiles.
    pub tiles: &'static str,
    /// Number of workgroups.
    pub workgroups: u64,
    /// Floating-point operations.
    pub flops: f64,
    /// Bytes that it must at least read and write.
    pub bytes: f64,
    /// Columns and rows of workgroups.
    #[serde(skip)]
    pub grid: (u32, u32),
    /// The dispatch: kernel, operands and parameters.
    #[serde(skip)]
    pub dispatch: Dispatch,
    /// The parameters by name.
    #[serde(skip)]
    pub params: BTreeMap<String, Value>,
}

/// The dispatches of a training step, in order.
///
/// # Errors
/// Those of [`crate::compiler::ops::Node::lower`], and [`Error::Shader`].
pub fn list(built: &Built, machine: &Machine) -> Result<Vec<Listed>> {
    let (program, tensors) = (&built.program, built.program.tensors());
    let train = built.train.as_ref().map_or(0..0, |routine| routine.ops.clone());
    let ops = train.chain(built.update.clone().unwrap_or_default());
    let (mut listed, mut traffic) = (Vec::new(), Traffic::default());
    for index in ops {
        let op = &program.ops()[index];
        let variant = machine.variants.usual(op, tensors);
        let target = Target { tiles: variant.tiles, ..machine.target };
        let dispatches = op.lower(tensors, target)?;
        let works = share(op, tensors, &dispatches, &mut traffic)?;
        let block = program.block_of(index);
        for (dispatch, work) in dispatches.into_iter().zip(works) {
            let reflection = traffic.reflection(&dispatch.kernel)?;
            let grid = dispatch.grid(reflection.workgroup_size);
            listed.push(Listed {
                op: op.name(),
                block: block.map(|block| built.blocks[block].clone()),
                kernel: format!("{}.{}", dispatch.kernel.file, dispatch.kernel.entry),
                tiles: variant.name,
                workgroups: u64::from(grid.0) * u64::from(grid.1),
                flops: work.flops,
                bytes: work.bytes,
                grid,
                params: params(&dispatch, reflection),
                dispatch,
            });
        }
    }
    Ok(listed)
}

/// The values of a dispatch's parameters.
fn params(dispatch: &Dispatch, reflection: &Reflection) -> BTreeMap<String, Value> {
    let value = |word: &[u8], float| {
        let word = [word[0], word[1], word[2], word[3]];
        if float { json!(f32::from_le_bytes(word)) } else { json!(u32::from_le_bytes(word)) }
    };
    let member = |(name, offset, size): &(String, u32, u32)| {
        let bytes = &dispatch.params[*offset as usize..][..*size as usize];
        let float = reflection.float_params.contains(name);
        let mut values: Vec<Value> = bytes.chunks_exact(4).map(|w| value(w, float)).collect();
        let value = if values.len() == 1 { values.remove(0) } else { Value::Array(values) };
        (name.clone(), value)
    };
    reflection.params.iter().map(member).collect()
}

/// The composed WGSL of each kernel whose name begins with `name`: `conv2d`, `conv2d.main`, or with its
/// definitions.
///
/// # Errors
/// [`Error::Usage`] if no kernel of the step has such a name.
pub fn show(listed: &[Listed], name: &str) -> Result<String> {
    let mut shown = BTreeMap::new();
    for kernel in listed.iter().map(|listed| &listed.dispatch.kernel) {
        let label = label(kernel);
        if label.starts_with(name) {
            shown.insert(label, compose(kernel.file, &kernel.definitions)?.wgsl);
        }
    }
    if shown.is_empty() {
        let called = |listed: &Listed| match name.contains('.') {
            true => listed.kernel.clone(),
            false => listed.dispatch.kernel.file.to_owned(),
        };
        let known: BTreeSet<String> = listed.iter().map(called).collect();
        let known: Vec<&str> = known.iter().map(String::as_str).collect();
        return Err(Error::usage(suggest::unknown("kernel", name, &known)));
    }
    let texts = shown.into_iter().map(|(label, wgsl)| format!("// {label}\n{wgsl}"));
    Ok(texts.collect::<Vec<_>>().join("\n"))
}

/// Writes each kernel in WGSL, SPIR-V, MSL and HLSL to a folder, and `index.json`: the kernels with
/// their files, and the dispatches of a step with grid, parameters, FLOPs and bytes. Returns the number
/// of kernels.
///
/// # Errors
/// [`Error::Io`], [`Error::Shader`].
pub fn dump(listed: &[Listed], folder: &Path) -> Result<usize> {
    fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
    let mut numbers: BTreeMap<&Kernel, usize> = BTreeMap::new();
    let mut kernels = Vec::new();
    for kernel in listed.iter().map(|listed| &listed.dispatch.kernel) {
        if numbers.contains_key(kernel) {
            continue;
        }
        let number = numbers.len();
        numbers.insert(kernel, number);
        let Kernel { file, entry, definitions } = kernel;
        let (label, shader) = (label(kernel), compose(file, definitions)?);
        let translated = translate(&label, &shader, entry)?;
        let workgroup = Reflection::new(&label, &shader, entry)?.workgroup_size;
        let stem = format!("{number:03}-{}.{entry}", file.replace('/', "-"));
        let spirv: Vec<u8> = translated.spirv.iter().flat_map(|word| word.to_le_bytes()).collect();
        let mut files = vec![
            ("wgsl", shader.wgsl.into_bytes()),
            ("spv", spirv),
            ("metal", translated.msl.into_bytes()),
        ];
        files.extend(translated.hlsl.map(|text| ("hlsl", text.into_bytes())));
        let mut names = serde_json::Map::new();
        for (extension, bytes) in files {
            let name = format!("{stem}.{extension}");
            write_whole(&folder.join(&name), |file| file.write_all(&bytes))?;
            names.insert(extension.to_owned(), json!(name));
        }
        kernels.push(json!({
            "kernel": format!("{file}.{entry}"),
            "entry": entry,
            "definitions": definitions,
            "workgroup_size": workgroup,
            "files": names,
        }));
    }
    let dispatches = listed.iter().map(|listed| {
        let mut entry = json!(listed);
        entry["index"] = json!(numbers[&listed.dispatch.kernel]);
        entry["grid"] = json!([listed.grid.0, listed.grid.1]);
        entry["invocations"] = json!(listed.dispatch.threads);
        entry["parameters"] = json!(listed.params);
        entry
    });
    let index = json!({"kernels": kernels, "dispatches": dispatches.collect::<Vec<_>>()});
    write_whole(&folder.join("index.json"), |file| writeln!(file, "{index:#}"))?;
    Ok(numbers.len())
}
