//! Opens safetensors files of other programs, and recognises other formats.

use std::path::Path;

use safetensors::{SafeTensorError, SafeTensors};

use crate::base::hint::{Hint, Part};
use crate::{Error, Result};

/// Advice for a pickle of PyTorch.
const CONVERT: &[Part] = &[
    Part::text(
        "this is a pickle of PyTorch's, not a safetensors file; convert it in Python \
     with: import torch, safetensors.torch; weights = torch.load(\"IN.pth\", \
     map_location=\"cpu\", weights_only=True); inner = [weights[key] for key in (\"state_dict\", \
     \"model_state_dict\", \"model\") if key in weights]; safetensors.torch.save_file({name: \
     tensor.contiguous().clone() for name, tensor in (inner + [weights])[0].items() if \
     torch.is_tensor(tensor)}, \"OUT.safetensors\"); and then with ",
    ),
    Part::Hint(Hint::command("import OUT.safetensors")),
];

/// Magic numbers of other formats, and the error message for each.
const KINDS: [(&[u8], &[Part]); 12] = [
    (
        b"version https://git-lfs",
        &[Part::text(
            "this is a pointer of Git LFS, not the file itself; `git lfs pull` in its repository \
             brings it, or download the file from its page",
        )],
    ),
    // A zip archive, or a bare pickle before version 1.6 of PyTorch.
    (b"PK\x03\x04", CONVERT),
    (b"\x80\x02", CONVERT),
    (b"\x80\x04", CONVERT),
    (
        b"<",
        &[Part::text(
            "this is a web page, not a file of weights; the download must go to the file itself",
        )],
    ),
    (b"\x1f\x8b", &[Part::text("this is a gzip archive; unpack it first")]),
    (
        b"\x89HDF",
        &[Part::text("this is an HDF5 file, as Keras writes it; a safetensors file is wanted")],
    ),
    (
        b"GGUF",
        &[Part::text("this is a GGUF file, for language models; a safetensors file is wanted")],
    ),
    (b"\x93NUMPY", &[Part::text("this is an array of NumPy's; a safetensors file is wanted")]),
    (b"\x08\x07\x12", ONNX),
    (b"\x08\x08\x12", ONNX),
    (b"\x08\x0a\x12", ONNX),
];

const ONNX: &[Part] =
    &[Part::text("this is an ONNX model; a safetensors file of its weights is wanted")];

/// Reads the bytes of a safetensors file.
///
/// # Errors
/// [`Error::Corrupt`] with the format that it has instead, or the problem.
pub fn open<'a>(bytes: &'a [u8], path: &Path) -> Result<SafeTensors<'a>> {
    SafeTensors::deserialize(bytes).map_err(|error| {
        let kind = KINDS.iter().find(|(magic, _)| bytes.starts_with(magic));
        match kind {
            Some((_, what)) => Error::corrupt(path, *what),
            None => {
                let problem = problem(bytes, &error);
                Error::corrupt(path, format!("not a usable safetensors file: {problem}"))
            }
        }
    })
}

/// Reads the bytes of a file of weights.
///
/// # Errors
/// [`Error::Io`], and those of [`no_folder`].
pub fn read(path: &Path) -> Result<Vec<u8>> {
    no_folder(path)?;
    std::fs::read(path).map_err(Error::io("read", path))
}

/// Refuses a folder, such as a run's, in place of a file of weights.
///
/// # Errors
/// [`Error::Usage`] names the model in it, if there is one.
pub fn no_folder(path: &Path) -> Result<()> {
    if !path.is_dir() {
        return Ok(());
    }
    let model = path.join("model.safetensors");
    let hint = match model.is_file() {
        true => format!("; give {}", model.display()),
        false => String::new(),
    };
    let shown = path.display();
    Err(Error::usage(format!("{shown} is a folder, not a file of weights{hint}")))
}

/// The problem with a safetensors file: eight bytes of length, a JSON header, and the tensors.
fn problem(bytes: &[u8], error: &SafeTensorError) -> String {
    let size = bytes.len();
    if size == 0 {
        return "it is empty".into();
    }
    let Some((length, rest)) = bytes.split_first_chunk() else {
        return format!("it has {size} bytes only");
    };
    let length = u64::from_le_bytes(*length);
    let cut = |needed: u64| {
        format!("it is cut off: it has {size} bytes, and needs {needed}; download or copy it again")
    };
    match error {
        // Likely truncated: the header starts like JSON and its length is plausible.
        SafeTensorError::InvalidHeaderLength | SafeTensorError::HeaderTooLarge
            if rest.starts_with(b"{") && length < 100_000_000 =>
        {
            cut(length.saturating_add(8))
        }
        SafeTensorError::HeaderTooSmall
        | SafeTensorError::InvalidHeaderLength
        | SafeTensorError::HeaderTooLarge
        | SafeTensorError::InvalidHeader(_) => "it does not begin as such a file does".into(),
        SafeTensorError::MetadataIncompleteBuffer => match end(rest, length) {
            Some(end) if end > size as u64 => cut(end),
            Some(end) => format!("{} bytes follow after its tensors", size as u64 - end),
            None => "its header does not say where all tensors are".into(),
        },
        SafeTensorError::InvalidOffset(name) => {
            format!("the offsets of {name} in its header are invalid")
        }
        SafeTensorError::TensorInvalidInfo | SafeTensorError::ValidationOverflow => {
            "the type, shape and offsets of a tensor in its header contradict each other".into()
        }
        error => format!("its header cannot be understood ({error})"),
    }
}

/// The end of the last tensor according to the header.
fn end(rest: &[u8], length: u64) -> Option<u64> {
    let header = rest.get(..usize::try_from(length).ok()?)?;
    let header: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(header).ok()?;
    let ends = header.values().filter_map(|tensor| tensor.get("data_offsets")?.get(1)?.as_u64());
    ends.max()?.checked_add(length)?.checked_add(8)
}
