//! Single pictures: any common file to the bytes that a network takes, and bytes to a PNG.

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
/// The most memory that the decoded pixels may take, in bytes; also that of the file. While it is
/// decoded, a picture may need the same again for its decoder, and for the part that is used.
const MAX_BYTES: u64 = 1 << 30;
/// Bytes of decoded pixels from which on pictures wait for each other, so that threads which decode
/// at the same time do not need many times as much.
const LARGE: u64 = 64 << 20;
static ONE_LARGE: Mutex<()> = Mutex::new(());

/// Reads a PNG, JPEG, WebP, BMP, GIF (its first frame), PNM or TIFF of any mode.
///
/// The result is `height * width * channels` bytes, HWC; `channels` is 1 (grey, by sRGB's
/// luminance) or 3 (RGB). Samples of 16 bits are scaled to 8, transparent pixels lie on black, and
/// the picture is turned as its Exif orientation says. A picture of another shape is cropped to
/// its middle, and one of another size is resized (triangle filter, which averages when it
/// shrinks); one of the very size comes through untouched. Pictures have up to 200 megapixels; those
/// of more than 64 MiB are decoded one at a time.
///
/// # Errors
///
/// [`Error::Usage`] for a size of 0 or other channels, [`Error::Io`] when the file cannot be
/// read, [`Error::Corrupt`] when it is no picture, one that is cut off, or one too large.
pub fn read(path: &Path, height: usize, width: usize, channels: usize) -> Result<Vec<u8>> {
    let (rows, columns) = target(height, width, channels)?;
    let raw = decode(path)?;
    let (width, height) = fitting(raw.size(), rows, columns);
    let fits = raw.middle(width, height);
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
    let raw = decode(path)?;
    let (width, height) = raw.size();
    // Cropping first gives nearly the same pixels, and there are fewer to resize.
    let edge = u64::from(width.min(height)) * u64::from(side);
    let edge = (edge + u64::from(fit.short) / 2) / u64::from(fit.short.max(side));
    let edge = (edge.max(1) as u32).min(width.min(height));
    let middle = DynamicImage::ImageRgb8(raw.middle(edge, edge).into_rgb8());
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

/// A decoded picture, and how it is to be turned.
struct Raw {
    picture: DynamicImage,
    orientation: Orientation,
    /// Held while a large picture is in memory.
    _permit: Option<MutexGuard<'static, ()>>,
}

/// Decodes a file within the limits.
fn decode(path: &Path) -> Result<Raw> {
    let failed = |error: ImageError| match error {
        // An end of file inside the picture is the file's fault, not the system's.
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
    // Not every decoder looks at the limits, so what the header asks for is checked here too.
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

/// How large pictures may be, and what to do about others.
fn most() -> String {
    format!(
        "pictures of up to {} megapixels, {MAX_SIDE} pixels a side and {} MB are read; make it smaller",
        MAX_PIXELS / 1_000_000,
        MAX_BYTES / 1_000_000
    )
}

/// A lock that only one picture larger than [`LARGE`] holds at a time; smaller ones need none.
fn permit(bytes: u64) -> Option<MutexGuard<'static, ()>> {
    (bytes > LARGE).then(|| ONE_LARGE.lock().unwrap_or_else(PoisonError::into_inner))
}

impl Raw {
    /// Columns and rows of the upright picture.
    fn size(&self) -> (u32, u32) {
        let (width, height) = (self.picture.width(), self.picture.height());
        if turned(self.orientation).0 { (height, width) } else { (width, height) }
    }

    /// The middle `width` x `height` pixels of the upright picture, on black where it is transparent. What can wait until only the part is left does: large pictures are
    /// copied once at most.
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

/// Whether an orientation exchanges rows and columns, and then mirrors left and right, top and
/// bottom.
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

/// Where a part of the upright picture (column, row, width, height) is before it is turned.
fn unturned(orientation: Orientation, size: [u32; 2], [x, y, w, h]: [u32; 4]) -> [u32; 4] {
    let (swapped, right, bottom) = turned(orientation);
    let [x, y, w, h] = if swapped { [y, x, h, w] } else { [x, y, w, h] };
    let x = if right { size[0] - x - w } else { x };
    let y = if bottom { size[1] - y - h } else { y };
    [x, y, w, h]
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

/// Columns and rows of the largest part of a picture that has the shape of `rows` x `columns`.
fn fitting((width, height): (u32, u32), rows: u32, columns: u32) -> (u32, u32) {
    let scaled = |n: u32, by: u32, of: u32| {
        (u64::from(n) * u64::from(by)).div_ceil(u64::from(of)).min(MAX_SIDE.into()) as u32
    };
    (width.min(scaled(height, columns, rows)), height.min(scaled(width, rows, columns)))
}

#[cfg(test)]
mod tests;
