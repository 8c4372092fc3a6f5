//! Pictures inside a page: mistakes, and the filters of the first layer.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use image::codecs::png::PngEncoder;
use image::imageops::{FilterType, resize};
use image::{DynamicImage, ExtendedColorType, ImageEncoder, RgbaImage};
use maud::{Markup, html};

use super::parts::note;
use crate::base::shape::Shape;
use crate::data::Dataset;
use crate::train::detail::Mistake;
use crate::{Error, Result};

/// Longest side of a picture of a mistake, in pixels; larger pictures are scaled down.
const SIDE: u32 = 64;
/// Largest number of filters that are shown.
const FILTERS: usize = 64;
/// Filters per row.
const COLUMNS: usize = 16;
/// Side of a weight of a filter, in pixels.
const SCALE: usize = 4;
/// Pixels between two filters.
const GAP: usize = 2;

/// The worst mistakes as cards: the picture, its class, and the class that it was taken for.
///
/// # Errors
/// Those of reading photos.
pub fn mistakes(dataset: &Dataset, worst: &[Mistake]) -> Result<Markup> {
    let card = |mistake: &Mistake| {
        let Mistake { image, own, guess, .. } = mistake;
        let [is, taken] = [own.0, guess.0].map(|class| &dataset.classes[class]);
        let alt = format!("Test image {image}, class {is}, taken for {taken}");
        let picture = uri(&picture(dataset, *image)?)?;
        Ok(html! {
            figure {
                img src=(picture) alt=(alt);
                figcaption {
                    "is " b { (is) } (format_args!(" {:.2}", own.1)) br;
                    "taken for " b { (taken) } (format_args!(" {:.2}", guess.1)) br;
                    span.faint { "image " (image) }
                }
            }
        })
    };
    let cards: Vec<Markup> = worst.iter().map(card).collect::<Result<_>>()?;
    Ok(html! { div.grid.cards { @for card in &cards { (card) } } })
}

fn picture(dataset: &Dataset, index: usize) -> Result<DynamicImage> {
    let images = &dataset.test;
    let (width, height) = (images.width as u32, images.height as u32);
    let pixels = images.image(index)?.into_owned();
    let picture = match images.channels {
        1 => image::GrayImage::from_raw(width, height, pixels).map(DynamicImage::ImageLuma8),
        _ => image::RgbImage::from_raw(width, height, pixels).map(DynamicImage::ImageRgb8),
    };
    let wrong = || Error::Model(format!("test image {index} has another size than the others"));
    let picture = picture.ok_or_else(wrong)?;
    let larger = width.max(height) > SIDE;
    Ok(if larger { picture.resize(SIDE, SIDE, FilterType::Triangle) } else { picture })
}

/// The filters of a convolution that reads images, side by side: grey is 0, and the largest weight of
/// each filter is black or white. Three input channels are red, green and blue. Weights are in the order
/// row, column, input, output.
///
/// # Errors
/// [`Error::Model`] if the picture cannot be encoded.
pub fn filters(shape: Shape, weights: &[f32]) -> Result<Markup> {
    let Shape { n: rows, h: columns, w: inputs, c: outputs } = shape;
    let count = outputs.min(FILTERS);
    let (across, down) = (count.min(COLUMNS), count.div_ceil(COLUMNS));
    let place = |filter: usize, side: usize| filter * (side + GAP);
    let (width, height) = (place(across, columns * SCALE) - GAP, place(down, rows * SCALE) - GAP);
    let mut picture = RgbaImage::new(width as u32, height as u32);
    for filter in 0..count {
        let value = |y, x, input| weights[((y * columns + x) * inputs + input) * outputs + filter];
        let all = weights.iter().skip(filter).step_by(outputs);
        let largest = all.fold(f32::MIN_POSITIVE, |largest, w| largest.max(w.abs()));
        let tile = RgbaImage::from_fn(columns as u32, rows as u32, |x, y| {
            let level = |input: usize| {
                let value = value(y as usize, x as usize, input.min(inputs - 1));
                (127.5 + 127.5 * value / largest).round() as u8
            };
            image::Rgba([level(0), level(1), level(2), 255])
        });
        let (w, h) = ((columns * SCALE) as u32, (rows * SCALE) as u32);
        let tile = resize(&tile, w, h, FilterType::Nearest);
        let left = place(filter % COLUMNS, columns * SCALE);
        let top = place(filter / COLUMNS, rows * SCALE);
        image::imageops::replace(&mut picture, &tile, left as i64, top as i64);
    }
    let shown = if count < outputs {
        format!("the first {count} of {outputs}")
    } else {
        format!("all {outputs}")
    };
    let alt = format!(
        "The weights of {shown} filters of the first convolution, {rows} by {columns} pixels each"
    );
    let colours = if inputs == 3 { ", or a colour where channels differ" } else { "" };
    let picture = uri(&DynamicImage::ImageRgba8(picture))?;
    Ok(html! {
        figure { img.filters style={"max-width:" (4 * width) "px"} src=(picture) alt=(alt); }
        (note(&format!(
            "Here are {shown} filters of {rows}×{columns}: grey is 0, and the largest weight of \
             each is black or white{colours}."
        )))
    })
}

/// A picture as a `data:` URI of a PNG.
fn uri(picture: &DynamicImage) -> Result<String> {
    let colour = match picture {
        DynamicImage::ImageLuma8(_) => ExtendedColorType::L8,
        DynamicImage::ImageRgb8(_) => ExtendedColorType::Rgb8,
        _ => ExtendedColorType::Rgba8,
    };
    let mut png = Vec::new();
    PngEncoder::new(&mut png)
        .write_image(picture.as_bytes(), picture.width(), picture.height(), colour)
        .map_err(|e| Error::Model(format!("a picture of the report cannot be made: {e}")))?;
    Ok(format!("data:image/png;base64,{}", STANDARD.encode(png)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::shape::Weight;

    #[test]
    fn filters_are_tiles_of_a_picture() {
        // The largest weight is red, its opposite cyan, 0 grey.
        let shape = Weight::new(1, 3, 70).into();
        let mut weights = vec![0.0; 3 * 70];
        (weights[0], weights[1]) = (2.0, -0.5);
        let html = filters(shape, &weights).unwrap().into_string();
        assert!(html.contains("the first 64 of 70 filters of 1×1"), "{html}");
        let data = html.split("base64,").nth(1).and_then(|rest| rest.split('"').next()).unwrap();
        let png = image::load_from_memory(&STANDARD.decode(data).unwrap()).unwrap().into_rgba8();
        let side = |tiles: usize| (tiles * (SCALE + GAP) - GAP) as u32;
        assert_eq!(png.dimensions(), (side(COLUMNS), side(4)));
        let at = |tile: usize| png.get_pixel((tile * (SCALE + GAP)) as u32, 0).0;
        assert_eq!(
            [at(0), at(1), at(2)],
            [[255, 128, 128, 255], [0, 128, 128, 255], [128, 128, 128, 255]]
        );
        assert_eq!(png.get_pixel(SCALE as u32, 0).0[3], 0);
    }
}
