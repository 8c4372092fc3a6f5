//! Sliding windows: convolution and pooling.

use crate::base::shape::{LANES, Shape, Window};

/// A window's position over a map joins one input pixel with one output pixel.
struct Tap {
    /// Input pixel, counted over the whole batch.
    x: usize,
    /// Output pixel, counted over the whole batch.
    y: usize,
    /// Place in the window, row-major.
    k: usize,
}

/// Calls `f` for all taps inside the maps: output pixels in order, and places in order in each.
fn for_each_tap(x: Shape, window: Window, mut f: impl FnMut(Tap)) {
    let y = output(x, window);
    let inside = |out: usize, place: usize, side: usize| {
        (out * window.stride + place).checked_sub(window.pad).filter(|at| *at < side)
    };
    for pixel in 0..y.pixels() {
        let (image, row, column) = (pixel / (y.h * y.w), pixel / y.w % y.h, pixel % y.w);
        for k in 0..window.kernel * window.kernel {
            let row = inside(row, k / window.kernel, x.h);
            let column = inside(column, k % window.kernel, x.w);
            if let (Some(row), Some(column)) = (row, column) {
                f(Tap { x: (image * x.h + row) * x.w + column, y: pixel, k });
            }
        }
    }
}

fn output(x: Shape, window: Window) -> Shape {
    // The program gives its output the shape that `Window::output` gave it, or is not built.
    window.output(x).expect("a window no larger than the padded map")
}

/// A convolution's shapes; its three products walk the same taps.
pub struct Conv {
    x: Shape,
    w: Shape,
    window: Window,
}

impl Conv {
    pub fn new(x: Shape, w: Shape, window: Window) -> Self {
        assert_eq!(w, Shape::weight(window.kernel, x.c, w.c), "weight for maps {x}");
        Self { x, w, window }
    }

    /// Shape of the output.
    pub fn y(&self) -> Shape {
        output(self.x, self.window).with_c(self.w.c)
    }

    pub fn forward(&self, x: &[f64], w: &[f64]) -> Vec<f64> {
        let mut y = vec![0.0; self.y().elements()];
        self.for_each_row(|x_at, w_at, y_at| {
            for (y, w) in y[y_at..][..self.w.c].iter_mut().zip(&w[w_at..]) {
                *y += x[x_at] * w;
            }
        });
        y
    }

    pub fn dgrad(&self, dy: &[f64], w: &[f64]) -> Vec<f64> {
        assert_eq!(dy.len(), self.y().elements());
        let mut dx = vec![0.0; self.x.elements()];
        self.for_each_row(|x_at, w_at, y_at| {
            let products = dy[y_at..][..self.w.c].iter().zip(&w[w_at..]).map(|(dy, w)| dy * w);
            dx[x_at] += products.sum::<f64>();
        });
        dx
    }

    pub fn wgrad(&self, x: &[f64], dy: &[f64]) -> Vec<f64> {
        assert_eq!(dy.len(), self.y().elements());
        let mut dw = vec![0.0; self.w.elements()];
        self.for_each_row(|x_at, w_at, y_at| {
            for (dw, dy) in dw[w_at..][..self.w.c].iter_mut().zip(&dy[y_at..]) {
                *dw += x[x_at] * dy;
            }
        });
        dw
    }

    /// Calls `f` with the offsets of an input value, and of the rows of output channels in the
    /// weight and in the output that it meets.
    fn for_each_row(&self, mut f: impl FnMut(usize, usize, usize)) {
        let (cin, cout) = (self.x.c, self.w.c);
        for_each_tap(self.x, self.window, |tap| {
            for ci in 0..cin {
                f(tap.x * cin + ci, (tap.k * cin + ci) * cout, tap.y * cout);
            }
        });
    }
}

/// A convolution of each channel by itself.
pub struct Depthwise {
    x: Shape,
    window: Window,
}

impl Depthwise {
    pub fn new(x: Shape, w: Shape, window: Window) -> Self {
        assert_eq!(w, Shape::weight(window.kernel, 1, x.c), "weight for maps {x}");
        Self { x, window }
    }

    pub fn forward(&self, x: &[f64], w: &[f64]) -> Vec<f64> {
        let mut y = vec![0.0; output(self.x, self.window).elements()];
        self.for_each_value(|x_at, w_at, y_at| y[y_at] += x[x_at] * w[w_at]);
        y
    }

    pub fn dgrad(&self, dy: &[f64], w: &[f64]) -> Vec<f64> {
        let mut dx = vec![0.0; self.x.elements()];
        self.for_each_value(|x_at, w_at, y_at| dx[x_at] += dy[y_at] * w[w_at]);
        dx
    }

    pub fn wgrad(&self, x: &[f64], dy: &[f64]) -> Vec<f64> {
        let taps = self.window.kernel * self.window.kernel;
        let mut dw = vec![0.0; taps * self.x.c];
        self.for_each_value(|x_at, w_at, y_at| dw[w_at] += x[x_at] * dy[y_at]);
        dw
    }

    /// Calls `f` with the offsets of an input value, of a weight, and of the output value that
    /// their product is part of.
    fn for_each_value(&self, mut f: impl FnMut(usize, usize, usize)) {
        let c = self.x.c;
        for_each_tap(self.x, self.window, |tap| {
            (0..c).for_each(|ch| f(tap.x * c + ch, tap.k * c + ch, tap.y * c + ch));
        });
    }
}

/// The largest values, and words that hold the place of the first of each, a byte per channel.
pub fn max_pool(x: &[f64], shape: Shape, window: Window) -> (Vec<f64>, Vec<f64>) {
    let (y, c) = (output(shape, window), shape.c);
    let mut best: Vec<Option<(f64, usize)>> = vec![None; y.elements()];
    for_each_tap(shape, window, |tap| {
        for ch in 0..c {
            let (value, best) = (x[tap.x * c + ch], &mut best[tap.y * c + ch]);
            if best.is_none_or(|(largest, _)| value > largest) {
                *best = Some((value, tap.k));
            }
        }
    });
    // The max pools of the networks pad by half of their window at most: each has a tap on the map.
    let (values, places): (Vec<f64>, Vec<usize>) =
        best.into_iter().map(|b| b.expect("a window that touches the map")).unzip();
    let word = |lanes: &[usize]| lanes.iter().rev().fold(0, |word, place| word << 8 | place);
    let words = places.chunks_exact(c).flat_map(|pixel| pixel.chunks(LANES).map(word));
    (values, words.map(|word| word as f64).collect())
}

pub fn max_pool_grad(dy: &[f64], argmax: &[f64], dx: Shape, window: Window) -> Vec<f64> {
    let c = dx.c;
    assert_eq!(dy.len(), output(dx, window).elements());
    let mut out = vec![0.0; dx.elements()];
    for_each_tap(dx, window, |tap| {
        for ch in 0..c {
            let word = argmax[tap.y * dx.c4() + ch / LANES] as u32;
            if usize::from(word.to_le_bytes()[ch % LANES]) == tap.k {
                out[tap.x * c + ch] += dy[tap.y * c + ch];
            }
        }
    });
    out
}

/// Position in a table of one value per image and channel that belongs to value `i` of maps.
fn map_of(i: usize, shape: Shape) -> usize {
    i / (shape.h * shape.w * shape.c) * shape.c + i % shape.c
}

/// Sum over rows and columns, per image and channel.
pub fn sum_of_maps(x: &[f64], shape: Shape) -> Vec<f64> {
    let mut sums = vec![0.0; shape.n * shape.c];
    for (i, value) in x.iter().enumerate() {
        sums[map_of(i, shape)] += value;
    }
    sums
}

/// Mean over rows and columns, per image and channel.
pub fn mean_of_maps(x: &[f64], shape: Shape) -> Vec<f64> {
    let pixels = (shape.h * shape.w) as f64;
    sum_of_maps(x, shape).into_iter().map(|sum| sum / pixels).collect()
}

/// Maps of the given shape, each times its own factor.
pub fn scale_maps(x: &[f64], factors: &[f64], shape: Shape) -> Vec<f64> {
    assert_eq!((x.len(), factors.len()), (shape.elements(), shape.n * shape.c));
    x.iter().enumerate().map(|(i, x)| x * factors[map_of(i, shape)]).collect()
}

/// Gradient of [`mean_of_maps`], for maps of the given shape.
pub fn spread_over_maps(dy: &[f64], shape: Shape) -> Vec<f64> {
    let pixels = (shape.h * shape.w) as f64;
    (0..shape.elements()).map(|i| dy[map_of(i, shape)] / pixels).collect()
}

/// Calls `f` with the offsets of an input value, of an output value that is a mean over parts of
/// the maps, and the input's share of it.
fn for_each_share(x: Shape, y: Shape, mut f: impl FnMut(usize, usize, f64)) {
    let part = |i: usize, from: usize, to: usize| i * from / to..((i + 1) * from).div_ceil(to);
    for pixel in 0..y.pixels() {
        let (image, row, column) = (pixel / (y.h * y.w), pixel / y.w % y.h, pixel % y.w);
        let (rows, columns) = (part(row, x.h, y.h), part(column, x.w, y.w));
        let share = 1.0 / (rows.len() * columns.len()) as f64;
        for (row, column) in rows.flat_map(|row| columns.clone().map(move |column| (row, column))) {
            let from = (image * x.h + row) * x.w + column;
            (0..x.c).for_each(|ch| f(from * x.c + ch, pixel * x.c + ch, share));
        }
    }
}

/// Means over the part of the maps of shape `from` that each value of those of shape `to` covers.
pub fn avg_pool(x: &[f64], from: Shape, to: Shape) -> Vec<f64> {
    let mut y = vec![0.0; to.elements()];
    for_each_share(from, to, |x_at, y_at, share| y[y_at] += share * x[x_at]);
    y
}

pub fn avg_pool_grad(dy: &[f64], from: Shape, to: Shape) -> Vec<f64> {
    let mut dx = vec![0.0; from.elements()];
    for_each_share(from, to, |x_at, y_at, share| dx[x_at] += share * dy[y_at]);
    dx
}
