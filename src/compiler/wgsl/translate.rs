//! Translation of shaders to the languages of the backends.

use naga::back::{hlsl, msl, spv};
use naga::proc::{BoundsCheckPolicies, BoundsCheckPolicy};

use super::{Composed, validate};
use crate::{Error, Result};

/// A shader in the languages of Vulkan, Metal and DirectX.
pub struct Translated {
    /// SPIR-V, in words.
    pub spirv: Vec<u32>,
    /// Metal Shading Language.
    pub msl: String,
    /// HLSL; `None` for shaders with cooperative matrices, which it lacks.
    pub hlsl: Option<String>,
}

/// Sessions run kernels without bounds checks.
const UNCHECKED: BoundsCheckPolicies = BoundsCheckPolicies {
    index: BoundsCheckPolicy::Unchecked,
    buffer: BoundsCheckPolicy::Unchecked,
    image_load: BoundsCheckPolicy::Unchecked,
    binding_array: BoundsCheckPolicy::Unchecked,
};

/// Translates one entry point of a composed shader, as wgpu does for a session.
///
/// # Errors
/// [`Error::Shader`] if the shader is invalid or a language cannot express it.
pub fn translate(name: &str, shader: &Composed, entry: &str) -> Result<Translated> {
    let (module, info) = validate(name, shader)?;
    let fail = |language: &str, problem: String| Error::Shader {
        name: name.to_owned(),
        problem: format!("{language}: {problem}"),
    };
    let stage = naga::ShaderStage::Compute;
    let pipeline = spv::PipelineOptions { shader_stage: stage, entry_point: entry.to_owned() };
    let options = spv::Options {
        lang_version: (1, 6),
        flags: spv::WriterFlags::empty(),
        bounds_check_policies: UNCHECKED,
        zero_initialize_workgroup_memory: spv::ZeroInitializeWorkgroupMemoryMode::None,
        force_loop_bounding: false,
        emit_int_div_checks: false,
        ..Default::default()
    };
    let spirv = spv::write_vec(&module, &info, &options, Some(&pipeline))
        .map_err(|e| fail("SPIR-V", e.to_string()))?;

    let pipeline =
        msl::PipelineOptions { entry_point: Some((stage, entry.to_owned())), ..Default::default() };
    let options = msl::Options {
        lang_version: (2, 3),
        bounds_check_policies: UNCHECKED,
        zero_initialize_workgroup_memory: false,
        force_loop_bounding: false,
        ..Default::default()
    };
    let (msl, _) = msl::write_string(&module, &info, &options, &pipeline)
        .map_err(|e| fail("MSL", e.to_string()))?;

    let cooperative =
        |inner: &naga::TypeInner| matches!(inner, naga::TypeInner::CooperativeMatrix { .. });
    if module.types.iter().any(|(_, ty)| cooperative(&ty.inner)) {
        return Ok(Translated { spirv, msl, hlsl: None });
    }
    let pipeline = hlsl::PipelineOptions { entry_point: Some((stage, entry.to_owned())) };
    let mut text = String::new();
    let options = hlsl::Options {
        zero_initialize_workgroup_memory: false,
        restrict_indexing: false,
        force_loop_bounding: false,
        ..Default::default()
    };
    hlsl::Writer::new(&mut text, &options, &pipeline)
        .write(&module, &info, None)
        .map_err(|e| fail("HLSL", e.to_string()))?;
    Ok(Translated { spirv, msl, hlsl: Some(text) })
}
