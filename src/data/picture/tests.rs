//! Tests of reading and writing pictures.

use super::*;
use image::{ImageBuffer, Luma, LumaA, Rgb, Rgba};
use proptest::prelude::*;
use std::fs;
use std::io::Write;

/// Saves `picture` as `name` and reads it back as `height` x `width` x `channels`.
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
fn grey_of_the_exact_size_is_unchanged() {
    let picture = ImageBuffer::from_fn(16, 16, |x, y| Luma([(16 * y + x) as u8]));
    let all: Vec<u8> = (0..=255).collect();
    assert_eq!(through("a.png", picture.clone(), [16, 16, 1]), all);
    assert_eq!(through("a.pgm", picture.clone(), [16, 16, 1]), all);
    let colour: Vec<u8> = all.iter().flat_map(|&value| [value; 3]).collect();
    assert_eq!(through("a.bmp", picture.clone(), [16, 16, 3]), colour);
    // An RGB file with equal channels gives the same grey.
    let rgb = DynamicImage::from(picture).into_rgb8();
    assert_eq!(through("a.png", rgb, [16, 16, 1]), all);
}

#[test]
fn transparency_is_blended_with_black() {
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
fn samples_of_sixteen_bits_are_scaled_to_eight() {
    let grey = ImageBuffer::from_fn(256, 1, |x, _| Luma([x as u16 * 257]));
    assert_eq!(through("a.png", grey, [1, 256, 1]), (0..=255).collect::<Vec<u8>>());
    let colour = ImageBuffer::from_pixel(1, 1, Rgb([65535u16, 128, 1000]));
    assert_eq!(through("a.tiff", colour, [1, 1, 3]), [255, 0, 4]);
}

#[test]
fn palettes_are_resolved() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.png");
    fs::write(&path, palette_png()).unwrap();
    assert_eq!(read(&path, 1, 2, 3).unwrap(), [255, 10, 20, 40, 20, 0]);
    let gif = ImageBuffer::from_fn(4, 4, |x, _| Rgba([(x % 2) as u8 * 255, 0, 255, 255]));
    let expected: Vec<u8> = gif.pixels().flat_map(|p| [p[0], p[1], p[2]]).collect();
    assert_eq!(through("a.gif", gif, [4, 4, 3]), expected);
}

#[test]
fn the_format_is_told_by_the_content() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("really-a-png.jpg");
    fs::write(&path, palette_png()).unwrap();
    assert!(read(&path, 1, 2, 3).is_ok());
}

#[test]
fn other_aspect_ratios_are_cropped_to_the_centre() {
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
fn errors_name_the_file() {
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

/// In every format, a truncated file is refused, unless only bytes after the picture are missing.
#[test]
fn truncated_files_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let picture = RgbImage::from_fn(61, 47, |x, y| {
        let noise = (x * 7919 + y * 104_729 + x * y * 31) % 97;
        Rgb([(x * 4) as u8, (y * 5) as u8, noise as u8])
    });
    let ends = ["jpg", "png", "webp", "bmp", "gif", "tiff", "ppm", "pgm"];
    let mut files: Vec<(String, Vec<u8>)> = Vec::new();
    for end in ends {
        let path = folder.path().join(format!("whole.{end}"));
        match end {
            "pgm" => DynamicImage::from(picture.clone()).into_luma8().save(&path).unwrap(),
            _ => picture.save(&path).unwrap(),
        }
        files.push((end.into(), fs::read(&path).unwrap()));
    }
    // The `image` crate does not write these formats.
    for (name, bytes) in [
        ("progressive.jpg", &include_bytes!("../../../fuzz/corpus/picture/progressive.jpg")[..]),
        ("lossy.webp", include_bytes!("../../../fuzz/corpus/picture/lossy.webp")),
    ] {
        files.push((name.into(), bytes.to_vec()));
    }
    for (name, bytes) in files {
        let path = folder.path().join(&name);
        let read_first = |length: usize| {
            fs::write(&path, &bytes[..length]).unwrap();
            photo(&path, Fit { side: 24, short: 24 })
        };
        let whole = read_first(bytes.len()).unwrap();
        let mut lengths: Vec<usize> = (0..32).map(|i| bytes.len() * i / 32).collect();
        lengths.extend(bytes.len() - 40..bytes.len());
        let mut refused = 0;
        for length in lengths {
            match read_first(length) {
                Ok(pixels) => assert!(pixels == whole, "{name}: {length} of {}", bytes.len()),
                Err(error) => {
                    assert!(matches!(error, Error::Corrupt { .. }), "{name}: {error}");
                    refused += 1;
                }
            }
        }
        assert!(refused >= 31, "{name}: {refused}");
    }
}

#[test]
fn a_jpeg_may_have_previews_and_trailing_data() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.jpg");
    let save = |side: u32| -> Vec<u8> {
        let picture = RgbImage::from_fn(side, side, |x, y| Rgb([(9 * x) as u8, (7 * y) as u8, 5]));
        picture.save(&path).unwrap();
        fs::read(&path).unwrap()
    };
    let (preview, good) = (save(8), save(24));
    assert!(jpeg::ends(&good));
    let whole = read(&path, 24, 24, 3).unwrap();
    // A preview in an application segment, and another picture after the end.
    let segment = |code: u8, bytes: &[u8]| {
        [&[0xff, code][..], &(bytes.len() as u16 + 2).to_be_bytes(), bytes].concat()
    };
    let more = [&good[..2], &segment(0xe5, &preview), &[0xff, 0xff], &good[3..], &preview].concat();
    fs::write(&path, &more).unwrap();
    assert_eq!(read(&path, 24, 24, 3).unwrap(), whole);
    // The preview's end is not that of the picture.
    let cut = &more[..preview.len() + good.len() / 2];
    assert!(!jpeg::ends(cut));
    fs::write(&path, cut).unwrap();
    let message = read(&path, 24, 24, 3).unwrap_err().to_string();
    assert!(message.contains("a.jpg: not a readable picture: it is cut off"), "{message}");
    // An interrupted download into a preallocated file.
    let holes = [&good[..good.len() / 2], &vec![0; good.len() / 2]].concat();
    fs::write(&path, holes).unwrap();
    assert!(read(&path, 24, 24, 3).is_err());
}

#[test]
fn cropping_commutes_with_orientation() {
    let picture = DynamicImage::from(RgbImage::from_fn(7, 5, |x, y| Rgb([x as u8, y as u8, 0])));
    for code in 1..=8 {
        let orientation = Orientation::from_exif(code).unwrap();
        let mut upright = picture.clone();
        upright.apply_orientation(orientation);
        let raw = || Raw { picture: picture.clone(), orientation, _permit: None };
        assert_eq!(raw().size(), (upright.width(), upright.height()));
        for (width, height) in [(2, 2), (3, 4), (4, 1), (5, 5)] {
            let (x, y) = ((upright.width() - width) / 2, (upright.height() - height) / 2);
            let part = upright.crop_imm(x, y, width, height);
            assert_eq!(raw().middle(width, height), part, "{code}: {width} x {height}");
        }
    }
}

#[test]
fn pictures_are_read_up_to_the_size_limit() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("large.pgm");
    // A PGM is a header and its pixels; the file is sparse in their place.
    let large = |width: u64, height: u64| {
        let header = format!("P5 {width} {height} 255\n");
        fs::write(&path, &header).unwrap();
        let file = fs::File::options().write(true).open(&path).unwrap();
        file.set_len(header.len() as u64 + width * height).unwrap();
        photo(&path, Fit { side: 8, short: 8 })
    };
    assert_eq!(large(15_000, 12_667).unwrap(), [0; 192]);
    assert_eq!(large(60_000, 3000).unwrap(), [0; 192]);
    for (size, problem) in [
        ((20_100, 10_000), "20100 x 10000 pixels in 201 MB: pictures of up to 200 megapixels"),
        ((65_536, 10), "it is too large: pictures of up to 200 megapixels, 65535 pixels a side"),
        ((40_000, 30_000), "a file of 1200 MB: pictures of up to "),
    ] {
        let message = large(size.0, size.1).unwrap_err().to_string();
        assert!(message.contains(problem) && message.contains("make it smaller"), "{message}");
    }
}

proptest! {
    #[test]
    fn corrupt_files_do_not_panic(
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
