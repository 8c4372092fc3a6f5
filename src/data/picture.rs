//! Single pictures: any common file to the bytes that a network takes, and bytes to a PNG.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use image::codecs::png::PngEncoder;
use image::imageops::FilterType;
use image::{
    DynamicImage, ExtendedColorType, ImageDecoder, ImageEncoder, ImageError, ImageReader, Limits,
    RgbImage,
};

use crate::files::write_whole;
use crate::{Error, Result};

/// The longest side of a picture to read, in pixels.
const MAX_SIDE: u32 = 32_768;
/// The most memory that decoding a picture may take, in bytes: a photo of 85 megapixels.
const MAX_BYTES: u64 = 256 << 20;

/// Reads a PNG, JPEG, WebP, BMP, GIF (its first frame), PNM or TIFF of any mode.
///
/// The result is `height * width * channels` bytes, HWC; `channels` is 1 (grey, by sRGB's
/// luminance) or 3 (RGB). Samples of 16 bits are scaled to 8, transparent pixels lie on black, and
/// the picture is turned as its Exif orientation says. A picture of another shape is cropped to
/// its middle, and one of another size is resized (triangle filter, which averages when it
/// shrinks); one of the very size comes through untouched.
///
/// # Errors
///
/// [`Error::Usage`] for a size of 0 or other channels, [`Error::Io`] when the file cannot be
/// read, [`Error::Corrupt`] when it is no picture or one too large.
pub fn read(path: &Path, height: usize, width: usize, channels: usize) -> Result<Vec<u8>> {
    let (rows, columns) = target(height, width, channels)?;
    let fits = crop(&flat(decode(path)?), rows, columns);
    let fits = match channels {
        1 => DynamicImage::ImageLuma8(fits.into_luma8()),
        _ => DynamicImage::ImageRgb8(fits.into_rgb8()),
    };
    // Of the very size, this is a copy.
    Ok(fits.resize_exact(columns, rows, FilterType::Triangle).into_bytes())
}

/// How a photo becomes a square image: its short side is scaled to `short` pixels, and the middle
/// `side` x `side` of them are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fit {
    /// Side of the image, in pixels; at most `short`.
    pub side: u32,
    /// Short side of the whole photo, in pixels.
    pub short: u32,
}

impl Fit {
    /// For a network that takes `side` x `side`: an eighth of the photo's short side is cut off,
    /// as in the usual 224 out of 256.
    pub fn evaluating(side: u32) -> Self {
        Self { side, short: short_side(side) }
    }

    /// For images to train a network on that takes `side` x `side`: nothing is cut off the short
    /// side, which leaves room for crops.
    pub fn training(side: u32) -> Self {
        Self { side: short_side(side), short: short_side(side) }
    }
}

/// 256 for 224, and so on.
fn short_side(side: u32) -> u32 {
    (side * 8 + 3) / 7
}

/// Reads a file as [`read`] does, and makes it an RGB image of `fit.side` x `fit.side`: `side *
/// side * 3` bytes, HWC.
///
/// # Errors
///
/// As [`read`].
pub fn photo(path: &Path, fit: Fit) -> Result<Vec<u8>> {
    let (side, _) = target(fit.side as usize, fit.side as usize, 3)?;
    let picture = flat(decode(path)?);
    let (width, height) = (picture.width(), picture.height());
    // Cropping first gives nearly the same pixels, and there are fewer to resize.
    let edge = u64::from(width.min(height)) * u64::from(side);
    let edge = (edge + u64::from(fit.short) / 2) / u64::from(fit.short.max(side));
    let edge = (edge.max(1) as u32).min(width.min(height));
    let middle = picture.crop_imm((width - edge) / 2, (height - edge) / 2, edge, edge);
    let middle = DynamicImage::ImageRgb8(middle.into_rgb8());
    Ok(middle.resize_exact(side, side, FilterType::Triangle).into_bytes())
}

/// Writes `height * width * channels` bytes, HWC, as a PNG.
///
/// The file appears whole or not at all: it is written under another name and then renamed.
///
/// # Errors
///
/// [`Error::Usage`] when the size is 0 or not that of `pixels`, [`Error::Io`] when the file cannot
/// be written.
pub fn write(
    path: &Path,
    pixels: &[u8],
    height: usize,
    width: usize,
    channels: usize,
) -> Result<()> {
    let (rows, columns) = target(height, width, channels)?;
    if height.checked_mul(width).and_then(|n| n.checked_mul(channels)) != Some(pixels.len()) {
        let size = format!("{height} x {width} x {channels}");
        return Err(Error::Usage(format!("{} bytes are no picture of {size}", pixels.len())));
    }
    let colour = if channels == 1 { ExtendedColorType::L8 } else { ExtendedColorType::Rgb8 };
    let mut png = Vec::new();
    PngEncoder::new(&mut png)
        .write_image(pixels, columns, rows, colour)
        .map_err(std::io::Error::other)
        .map_err(Error::io("write", path))?;
    write_whole(path, |file| file.write_all(&png))
}

/// Rows and columns as the `image` crate wants them, if they and `channels` make a picture.
fn target(height: usize, width: usize, channels: usize) -> Result<(u32, u32)> {
    let side = |n: usize| u32::try_from(n).ok().filter(|n| (1..=MAX_SIDE).contains(n));
    match (side(height), side(width), channels) {
        (Some(rows), Some(columns), 1 | 3) => Ok((rows, columns)),
        _ => Err(Error::Usage(format!(
            "a picture cannot be {height} x {width} with {channels} channels \
             (1 to {MAX_SIDE} pixels a side, 1 or 3 channels)"
        ))),
    }
}

/// Decodes a file within the limits, upright.
fn decode(path: &Path) -> Result<DynamicImage> {
    let failed = |error: ImageError| match error {
        // An end of file inside the picture is the file's fault, not the system's.
        ImageError::IoError(e) if e.raw_os_error().is_some() => Error::io("read", path)(e),
        error => Error::corrupt(path, format!("not a readable picture: {error}")),
    };
    let file = File::open(path).map_err(Error::io("read", path))?;
    let mut reader = ImageReader::new(BufReader::new(file))
        .with_guessed_format()
        .map_err(Error::io("read", path))?;
    let mut limits = Limits::default();
    limits.max_image_width = Some(MAX_SIDE);
    limits.max_image_height = Some(MAX_SIDE);
    limits.max_alloc = Some(MAX_BYTES);
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(failed)?;
    // Not every decoder looks at the limits, so what the header asks for is checked here too.
    if decoder.total_bytes() > MAX_BYTES {
        let (width, height) = decoder.dimensions();
        let problem = format!("{width} x {height} pixels need more than {MAX_BYTES} bytes");
        return Err(Error::corrupt(path, problem));
    }
    if decoder.dimensions().0 == 0 || decoder.dimensions().1 == 0 {
        return Err(Error::corrupt(path, "not a readable picture: it has no pixels"));
    }
    let orientation = decoder.orientation().map_err(failed)?;
    let mut picture = DynamicImage::from_decoder(decoder).map_err(failed)?;
    picture.apply_orientation(orientation);
    Ok(picture)
}

/// Puts a picture with transparency on black; others stay as they are.
fn flat(picture: DynamicImage) -> DynamicImage {
    if !picture.color().has_alpha() {
        return picture;
    }
    let rgba = picture.into_rgba8();
    let (width, height) = rgba.dimensions();
    DynamicImage::ImageRgb8(RgbImage::from_fn(width, height, |x, y| {
        let [r, g, b, alpha] = rgba.get_pixel(x, y).0;
        let over = |value: u8| ((u32::from(value) * u32::from(alpha) + 127) / 255) as u8;
        image::Rgb([over(r), over(g), over(b)])
    }))
}

/// The largest part in the middle that has the shape of `rows` x `columns`.
fn crop(picture: &DynamicImage, rows: u32, columns: u32) -> DynamicImage {
    let (width, height) = (picture.width(), picture.height());
    let scaled = |n: u32, by: u32, of: u32| {
        (u64::from(n) * u64::from(by)).div_ceil(u64::from(of)).min(MAX_SIDE.into()) as u32
    };
    let (w, h) =
        (width.min(scaled(height, columns, rows)), height.min(scaled(width, rows, columns)));
    picture.crop_imm((width - w) / 2, (height - h) / 2, w, h)
}

#[cfg(test)]
#[path = "picture_tests.rs"]
mod tests;
