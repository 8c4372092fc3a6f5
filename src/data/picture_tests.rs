//! Tests of reading and writing pictures.

use super::*;
use image::{ImageBuffer, Luma, LumaA, Rgb, Rgba};
use proptest::prelude::*;
use std::fs;
use std::io::Write;

/// Saves `picture` under `name`, reads it back as `height` x `width` x `channels`.
fn through(
    name: &str,
    picture: impl Into<DynamicImage>,
    [height, width, channels]: [usize; 3],
) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    picture.into().save(&path).unwrap();
    read(&path, height, width, channels).unwrap()
}

/// A palette PNG of 2 x 1: opaque (255, 10, 20), and (200, 100, 0) with alpha 51.
fn palette_png() -> Vec<u8> {
    fn chunk(kind: &[u8; 4], data: &[u8]) -> Vec<u8> {
        let mut crc = flate2::Crc::new();
        crc.update(kind);
        crc.update(data);
        let length = (data.len() as u32).to_be_bytes();
        [&length[..], kind, data, &crc.sum().to_be_bytes()].concat()
    }
    let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
    zlib.write_all(&[0, 0, 1]).unwrap();
    [
        b"\x89PNG\r\n\x1a\n".to_vec(),
        chunk(b"IHDR", &[0, 0, 0, 2, 0, 0, 0, 1, 8, 3, 0, 0, 0]),
        chunk(b"PLTE", &[255, 10, 20, 200, 100, 0]),
        chunk(b"tRNS", &[255, 51]),
        chunk(b"IDAT", &zlib.finish().unwrap()),
        chunk(b"IEND", &[]),
    ]
    .concat()
}

#[test]
fn grey_of_the_right_size_is_untouched() {
    let picture = ImageBuffer::from_fn(16, 16, |x, y| Luma([(16 * y + x) as u8]));
    let all: Vec<u8> = (0..=255).collect();
    assert_eq!(through("a.png", picture.clone(), [16, 16, 1]), all);
    assert_eq!(through("a.pgm", picture.clone(), [16, 16, 1]), all);
    let colour: Vec<u8> = all.iter().flat_map(|&value| [value; 3]).collect();
    assert_eq!(through("a.bmp", picture.clone(), [16, 16, 3]), colour);
    // Grey in a colour file is the same grey.
    let rgb = DynamicImage::from(picture).into_rgb8();
    assert_eq!(through("a.png", rgb, [16, 16, 1]), all);
}

#[test]
fn transparency_lies_on_black() {
    let grey = ImageBuffer::from_fn(256, 1, |x, _| LumaA([x as u8, 255]));
    assert_eq!(through("a.png", grey, [1, 256, 1]), (0..=255).collect::<Vec<u8>>());
    let grey = ImageBuffer::from_pixel(1, 1, LumaA([200u8, 51]));
    assert_eq!(through("a.png", grey, [1, 1, 1]), [40]);
    let colour = ImageBuffer::from_pixel(1, 1, Rgba([200u8, 100, 255, 0]));
    assert_eq!(through("a.png", colour, [1, 1, 3]), [0, 0, 0]);
    let deep = ImageBuffer::from_pixel(1, 1, Rgba([200u16 * 257, 0, 65535, 51 * 257]));
    assert_eq!(through("a.png", deep, [1, 1, 3]), [40, 0, 51]);
}

#[test]
fn sixteen_bits_become_eight() {
    let grey = ImageBuffer::from_fn(256, 1, |x, _| Luma([x as u16 * 257]));
    assert_eq!(through("a.png", grey, [1, 256, 1]), (0..=255).collect::<Vec<u8>>());
    let colour = ImageBuffer::from_pixel(1, 1, Rgb([65535u16, 128, 1000]));
    assert_eq!(through("a.tiff", colour, [1, 1, 3]), [255, 0, 4]);
}

#[test]
fn palettes_become_colours() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.png");
    fs::write(&path, palette_png()).unwrap();
    assert_eq!(read(&path, 1, 2, 3).unwrap(), [255, 10, 20, 40, 20, 0]);
    let gif = ImageBuffer::from_fn(4, 4, |x, _| Rgba([(x % 2) as u8 * 255, 0, 255, 255]));
    let expected: Vec<u8> = gif.pixels().flat_map(|p| [p[0], p[1], p[2]]).collect();
    assert_eq!(through("a.gif", gif, [4, 4, 3]), expected);
}

#[test]
fn the_name_does_not_matter() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("really-a-png.jpg");
    fs::write(&path, palette_png()).unwrap();
    assert!(read(&path, 1, 2, 3).is_ok());
}

#[test]
fn other_shapes_are_cropped_to_the_middle() {
    // Three squares side by side, then one above the other: the middle one remains.
    let value = |i: u32| Luma([[10u8, 200, 90][i as usize]]);
    let wide = ImageBuffer::from_fn(12, 4, |x, _| value(x / 4));
    assert_eq!(through("a.png", wide.clone(), [4, 4, 1]), [200; 16]);
    assert_eq!(through("a.png", wide, [8, 8, 1]), [200; 64]);
    let tall = ImageBuffer::from_fn(4, 12, |_, y| value(y / 4));
    assert_eq!(through("a.png", tall, [2, 2, 1]), [200; 4]);
    let line = ImageBuffer::from_pixel(1, 300, Luma([77u8]));
    assert_eq!(through("a.png", line, [28, 28, 1]), [77; 784]);
    assert_eq!(through("a.png", ImageBuffer::from_pixel(1, 1, Luma([5u8])), [1, 30, 3]), [5; 90]);
}

#[test]
fn shrinking_averages() {
    let board = ImageBuffer::from_fn(64, 64, |x, y| Luma([((x + y) % 2) as u8 * 255]));
    let small = through("a.png", board, [8, 8, 1]);
    assert!(small.iter().all(|&value| value.abs_diff(127) < 8), "{small:?}");
}

#[test]
fn written_pictures_read_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out.png");
    for channels in [1, 3] {
        let pixels: Vec<u8> = (0..6 * channels as u8).map(|i| i * 13).collect();
        write(&path, &pixels, 2, 3, channels).unwrap();
        assert_eq!(read(&path, 2, 3, channels).unwrap(), pixels);
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no temporary file remains");
    assert!(matches!(write(&path, &[0; 5], 2, 3, 1), Err(Error::Usage(_))));
    assert!(matches!(write(&path, &[], 0, 3, 1), Err(Error::Usage(_))));
    assert!(matches!(write(&path, &[], usize::MAX, 3, 1), Err(Error::Usage(_))));
    let nowhere = folder.path().join("no/such/out.png");
    assert!(matches!(write(&nowhere, &[0], 1, 1, 1), Err(Error::Io { .. })));
    assert!(matches!(read(&path, 2, 3, 2), Err(Error::Usage(_))));
}

#[test]
fn bad_files_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bad.png");
    assert!(matches!(read(&path, 1, 1, 1), Err(Error::Io { .. })));
    let good = palette_png();
    let mut huge = good.clone();
    huge[16..24].copy_from_slice(&[0, 0, 0x7f, 0xff, 0, 0, 0x7f, 0xff]);
    let mut crc = flate2::Crc::new();
    crc.update(&huge[12..29]);
    huge[29..33].copy_from_slice(&crc.sum().to_be_bytes());
    let cases: [&[u8]; 8] = [
        b"GIF89a\0\0\0\0\0\0\0\x2c\0\0\0\0\0\0\0\0\0\x02\0\x3b",
        b"",
        b"just text",
        &good[..20],
        &good[..good.len() - 20],
        &huge,
        b"P5 32000 32000 255\n",
        b"P6 4000000000 4000000000 255\n",
    ];
    for bytes in cases {
        fs::write(&path, bytes).unwrap();
        let error = read(&path, 1, 1, 1).unwrap_err();
        assert!(matches!(error, Error::Corrupt { .. }), "{error}");
        let message = error.to_string();
        assert!(message.contains("bad.png") && !message.contains('\n'), "{message}");
    }
}

proptest! {
    #[test]
    fn spoilt_files_never_panic(
        format in 0usize..6,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(["a.png", "a.jpg", "a.webp", "a.bmp", "a.gif", "a.tiff"][format]);
        RgbImage::from_fn(9, 7, |x, y| Rgb([x as u8, y as u8, 200])).save(&path).unwrap();
        let mut bytes = fs::read(&path).unwrap();
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        fs::write(&path, bytes).unwrap();
        if let Ok(pixels) = read(&path, 4, 4, 3) {
            prop_assert_eq!(pixels.len(), 48);
        }
    }
}
