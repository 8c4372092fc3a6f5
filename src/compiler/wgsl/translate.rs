//! What the languages of the backends make of a shader.

use naga::back::{hlsl, msl, spv};

use super::validate;
use crate::{Error, Result};

/// A shader in the languages of Vulkan, Metal and DirectX.
pub struct Translated {
    /// SPIR-V, in words.
    pub spirv: Vec<u32>,
    /// Metal's language.
    pub msl: String,
    /// DirectX's language; it has no cooperative matrices.
    pub hlsl: Option<String>,
}

/// Translates one entry point of a composed shader.
///
/// # Errors
/// [`Error::Shader`] if the shader is invalid or a language cannot express it.
pub fn translate(name: &str, wgsl: &str, entry: &str) -> Result<Translated> {
    let (module, info) = validate(name, wgsl)?;
    let fail = |language: &str, problem: String| Error::Shader {
        name: name.to_owned(),
        problem: format!("{language}: {problem}"),
    };
    let stage = naga::ShaderStage::Compute;
    let pipeline = spv::PipelineOptions { shader_stage: stage, entry_point: entry.to_owned() };
    let spirv = spv::write_vec(&module, &info, &spv::Options::default(), Some(&pipeline))
        .map_err(|e| fail("SPIR-V", e.to_string()))?;

    let pipeline =
        msl::PipelineOptions { entry_point: Some((stage, entry.to_owned())), ..Default::default() };
    let options = msl::Options { lang_version: (2, 3), ..Default::default() };
    let (msl, _) = msl::write_string(&module, &info, &options, &pipeline)
        .map_err(|e| fail("MSL", e.to_string()))?;

    let cooperative =
        |inner: &naga::TypeInner| matches!(inner, naga::TypeInner::CooperativeMatrix { .. });
    if module.types.iter().any(|(_, ty)| cooperative(&ty.inner)) {
        return Ok(Translated { spirv, msl, hlsl: None });
    }
    let pipeline = hlsl::PipelineOptions { entry_point: Some((stage, entry.to_owned())) };
    let mut text = String::new();
    hlsl::Writer::new(&mut text, &hlsl::Options::default(), &pipeline)
        .write(&module, &info, None)
        .map_err(|e| fail("HLSL", e.to_string()))?;
    Ok(Translated { spirv, msl, hlsl: Some(text) })
}
