//! Reads picture files to the pixels that a network takes, and writes PNGs.

mod jpeg;

use std::fs::File;
use std::io::{Cursor, Read};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use image::codecs::png::PngEncoder;
use image::imageops::FilterType;
use image::metadata::Orientation;
use image::{
    DynamicImage, ExtendedColorType, ImageDecoder, ImageEncoder, ImageError, ImageFormat,
    ImageReader, Limits, RgbImage,
};

use crate::base::files::write_whole;
use crate::{Error, Result};

/// The longest side of a picture to read, in pixels.
const MAX_SIDE: u32 = 65_535;
/// The most pixels of a picture.
const MAX_PIXELS: u64 = 200_000_000;
/// The most memory of decoded pixels, and the largest file, in bytes. The decoder, and the crop that
/// is used, may take as much again each.
const MAX_BYTES: u64 = 1 << 30;
/// Pictures with more bytes of decoded pixels are decoded one at a time, so that several threads do
/// not need several times the memory.
const LARGE: u64 = 64 << 20;
static ONE_LARGE: Mutex<()> = Mutex::new(());

/// Reads a PNG, JPEG, WebP, BMP, GIF (its first frame), PNM or TIFF of any mode.
///
/// The result is `height * width * channels` bytes, HWC; `channels` is 1 (grey, by sRGB's
/// luminance) or 3 (RGB). Samples of 16 bits are scaled to 8, transparent pixels are blended with
/// black, and the Exif orientation is applied. A picture of another aspect ratio is cropped to its
/// centre, and one of another size is resized (triangle filter, which averages when it shrinks); one
/// of the exact size is not changed. The limit is 200 megapixels; pictures of more than 64 MiB are
/// decoded one at a time.
///
/// # Errors
///
/// [`Error::Usage`] for a size of 0 or another number of channels, [`Error::Io`] when the file cannot
/// be read, [`Error::Corrupt`] when it is no picture, truncated, or too large.
pub fn read(path: &Path, height: usize, width: usize, channels: usize) -> Result<Vec<u8>> {
    let (rows, columns) = target(height, width, channels)?;
    let raw = decode(path)?;
    let (width, height) = fitting(raw.size(), rows, columns);
    let fits = raw.middle(width, height);
    let fits = match channels {
        1 => DynamicImage::ImageLuma8(fits.into_luma8()),
        _ => DynamicImage::ImageRgb8(fits.into_rgb8()),
    };
    // A copy, if the size is the same.
    Ok(fits.resize_exact(columns, rows, FilterType::Triangle).into_bytes())
}

/// How a photo becomes a square image: its short side is scaled to `short` pixels, then the centre
/// `side` x `side` is cropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fit {
    /// Side of the image, in pixels; at most `short`.
    pub side: u32,
    /// Short side of the whole photo, in pixels.
    pub short: u32,
}

impl Fit {
    /// For evaluation at `side` x `side`: an eighth of the short side is cropped, as in the usual
    /// 224 out of 256.
    pub fn evaluating(side: u32) -> Self {
        Self { side, short: short_side(side) }
    }

    /// For training at `side` x `side`: the whole short side is kept, for random crops.
    pub fn training(side: u32) -> Self {
        Self { side: short_side(side), short: short_side(side) }
    }
}

/// The short side before a centre crop to `side`: 256 for 224.
fn short_side(side: u32) -> u32 {
    (side * 8 + 3) / 7
}

/// Reads a file like [`read`], as an RGB image of `fit.side` x `fit.side`: `side * side * 3` bytes,
/// HWC.
///
/// # Errors
///
/// As [`read`].
pub fn photo(path: &Path, fit: Fit) -> Result<Vec<u8>> {
    let (side, _) = target(fit.side as usize, fit.side as usize, 3)?;
    let raw = decode(path)?;
    let (width, height) = raw.size();
    // Cropping before resizing gives nearly the same pixels and is faster.
    let edge = u64::from(width.min(height)) * u64::from(side);
    let edge = (edge + u64::from(fit.short) / 2) / u64::from(fit.short.max(side));
    let edge = (edge.max(1) as u32).min(width.min(height));
    let middle = DynamicImage::ImageRgb8(raw.middle(edge, edge).into_rgb8());
    Ok(middle.resize_exact(side, side, FilterType::Triangle).into_bytes())
}

/// Writes `height * width * channels` bytes, HWC, as a PNG.
///
/// The file is written atomically.
///
/// # Errors
///
/// [`Error::Usage`] when the size is 0 or does not match `pixels`, [`Error::Io`] when the file cannot
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
        return Err(Error::usage(format!("{} bytes are no picture of {size}", pixels.len())));
    }
    let colour = if channels == 1 { ExtendedColorType::L8 } else { ExtendedColorType::Rgb8 };
    let mut png = Vec::new();
    PngEncoder::new(&mut png)
        .write_image(pixels, columns, rows, colour)
        .map_err(std::io::Error::other)
        .map_err(Error::io("write", path))?;
    write_whole(path, |file| file.write_all(&png))
}

/// Checks the size and channels of a picture, and converts the size to the types of `image`.
fn target(height: usize, width: usize, channels: usize) -> Result<(u32, u32)> {
    let side = |n: usize| u32::try_from(n).ok().filter(|n| (1..=MAX_SIDE).contains(n));
    match (side(height), side(width), channels) {
        (Some(rows), Some(columns), 1 | 3) => Ok((rows, columns)),
        _ => Err(Error::usage(format!(
            "a picture cannot be {height} x {width} with {channels} channels \
             (1 to {MAX_SIDE} pixels a side, 1 or 3 channels)"
        ))),
    }
}

/// A decoded picture, before its orientation is applied.
struct Raw {
    picture: DynamicImage,
    orientation: Orientation,
    /// Held while a large picture is in memory.
    _permit: Option<MutexGuard<'static, ()>>,
}

/// Decodes a file within the limits.
fn decode(path: &Path) -> Result<Raw> {
    let failed = |error: ImageError| match error {
        // An unexpected end of the file is a corrupt file, not an error of the system.
        ImageError::IoError(e) if e.raw_os_error().is_some() => Error::io("read", path)(e),
        ImageError::Limits(_) => Error::corrupt(path, format!("it is too large: {}", most())),
        error => Error::corrupt(path, format!("not a readable picture: {error}")),
    };
    let file = File::open(path).map_err(Error::io("read", path))?;
    let length = file.metadata().map_err(Error::io("read", path))?.len();
    if length > MAX_BYTES {
        let problem = format!("a file of {} MB: {}", length / 1_000_000, most());
        return Err(Error::corrupt(path, problem));
    }
    let permit = permit(length);
    let mut bytes = Vec::with_capacity(length as usize);
    file.take(MAX_BYTES).read_to_end(&mut bytes).map_err(Error::io("read", path))?;
    let mut reader = ImageReader::new(Cursor::new(&bytes))
        .with_guessed_format()
        .map_err(Error::io("read", path))?;
    if reader.format() == Some(ImageFormat::Jpeg) && !jpeg::ends(&bytes) {
        return Err(Error::corrupt(path, "not a readable picture: it is cut off before its end"));
    }
    let mut limits = Limits::default();
    limits.max_image_width = Some(MAX_SIDE);
    limits.max_image_height = Some(MAX_SIDE);
    limits.max_alloc = Some(MAX_BYTES);
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(failed)?;
    // Not every decoder respects the limits, so the header is checked here too.
    let (width, height) = decoder.dimensions();
    let size = decoder.total_bytes();
    if u64::from(width) * u64::from(height) > MAX_PIXELS || size > MAX_BYTES {
        return Err(Error::corrupt(
            path,
            format!("{width} x {height} pixels in {} MB: {}", size / 1_000_000, most()),
        ));
    }
    if width == 0 || height == 0 {
        return Err(Error::corrupt(path, "not a readable picture: it has no pixels"));
    }
    let _permit = permit.or_else(|| self::permit(size));
    let orientation = decoder.orientation().map_err(failed)?;
    let picture = DynamicImage::from_decoder(decoder).map_err(failed)?;
    Ok(Raw { picture, orientation, _permit })
}

/// The text with the limits.
fn most() -> String {
    format!(
        "pictures of up to {} megapixels, {MAX_SIDE} pixels a side and {} MB are read; make it smaller",
        MAX_PIXELS / 1_000_000,
        MAX_BYTES / 1_000_000
    )
}

/// The lock for pictures larger than [`LARGE`]; `None` for smaller ones.
fn permit(bytes: u64) -> Option<MutexGuard<'static, ()>> {
    (bytes > LARGE).then(|| ONE_LARGE.lock().unwrap_or_else(PoisonError::into_inner))
}

impl Raw {
    /// Width and height after orientation.
    fn size(&self) -> (u32, u32) {
        let (width, height) = (self.picture.width(), self.picture.height());
        if turned(self.orientation).0 { (height, width) } else { (width, height) }
    }

    /// The centre `width` x `height` pixels after orientation, blended with black where transparent.
    /// Cropping comes first, so that a large picture is copied at most once.
    fn middle(self, width: u32, height: u32) -> DynamicImage {
        let Self { picture, orientation, .. } = &self;
        let orientation = *orientation;
        let (all, rows) = self.size();
        let part = [(all - width) / 2, (rows - height) / 2, width, height];
        let [x, y, w, h] = unturned(orientation, [picture.width(), picture.height()], part);
        let mut part = picture.crop_imm(x, y, w, h);
        drop(self);
        part.apply_orientation(orientation);
        flat(part)
    }
}

/// Whether an orientation swaps rows and columns, and then flips left-right and top-bottom.
fn turned(orientation: Orientation) -> (bool, bool, bool) {
    match orientation {
        Orientation::NoTransforms => (false, false, false),
        Orientation::FlipHorizontal => (false, true, false),
        Orientation::FlipVertical => (false, false, true),
        Orientation::Rotate180 => (false, true, true),
        Orientation::Rotate90FlipH => (true, false, false),
        Orientation::Rotate270 => (true, true, false),
        Orientation::Rotate90 => (true, false, true),
        Orientation::Rotate270FlipH => (true, true, true),
    }
}

/// Maps a rectangle of the oriented picture (x, y, width, height) to the stored one.
fn unturned(orientation: Orientation, size: [u32; 2], [x, y, w, h]: [u32; 4]) -> [u32; 4] {
    let (swapped, right, bottom) = turned(orientation);
    let [x, y, w, h] = if swapped { [y, x, h, w] } else { [x, y, w, h] };
    let x = if right { size[0] - x - w } else { x };
    let y = if bottom { size[1] - y - h } else { y };
    [x, y, w, h]
}

/// Blends a picture with transparency with black; others are unchanged.
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

/// Width and height of the largest crop with the aspect ratio of `rows` x `columns`.
fn fitting((width, height): (u32, u32), rows: u32, columns: u32) -> (u32, u32) {
    let scaled = |n: u32, by: u32, of: u32| {
        (u64::from(n) * u64::from(by)).div_ceil(u64::from(of)).min(MAX_SIDE.into()) as u32
    };
    (width.min(scaled(height, columns, rows)), height.min(scaled(width, rows, columns)))
}

#[cfg(test)]
mod tests;
