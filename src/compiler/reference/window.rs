//! Sliding windows and sums over maps, for the references of several ops.

use crate::base::shape::{Shape, Weight, Window};

/// One term of a sliding window: an input pixel, its position in the window, and the output pixel.
pub struct Tap {
    /// Input pixel, counted over the whole batch.
    pub x: usize,
    /// Output pixel, counted over the whole batch.
    pub y: usize,
    /// Position in the window, row-major.
    pub k: usize,
}

/// Calls `f` for all taps inside the maps, ordered by output pixel, then position.
pub fn for_each_tap(x: Shape, window: Window, mut f: impl FnMut(Tap)) {
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
    // Programs are built only if `Window::output` accepts their windows.
    window.output(x).expect("a window no larger than the padded map")
}

/// Shapes of a convolution; forward and both gradients visit the same taps.
pub struct Conv {
    x: Shape,
    w: Weight,
    window: Window,
}

impl Conv {
    /// The convolution of maps `x` with a weight `w`.
    pub fn new(x: Shape, w: Weight, window: Window) -> Self {
        assert_eq!(w, Weight::new(window.kernel, x.c, w.outputs), "weight for maps {x}");
        Self { x, w, window }
    }

    /// Shape of the output.
    pub fn y(&self) -> Shape {
        output(self.x, self.window).with_c(self.w.outputs)
    }

    /// `x * w`.
    pub fn forward(&self, x: &[f64], w: &[f64]) -> Vec<f64> {
        let mut y = vec![0.0; self.y().elements()];
        self.for_each_row(|x_at, w_at, y_at| {
            for (y, w) in y[y_at..][..self.w.outputs].iter_mut().zip(&w[w_at..]) {
                *y += x[x_at] * w;
            }
        });
        y
    }

    /// The gradient with respect to the input.
    pub fn dgrad(&self, dy: &[f64], w: &[f64]) -> Vec<f64> {
        assert_eq!(dy.len(), self.y().elements());
        let mut dx = vec![0.0; self.x.elements()];
        self.for_each_row(|x_at, w_at, y_at| {
            let products =
                dy[y_at..][..self.w.outputs].iter().zip(&w[w_at..]).map(|(dy, w)| dy * w);
            dx[x_at] += products.sum::<f64>();
        });
        dx
    }

    /// The gradient with respect to the weight.
    pub fn wgrad(&self, x: &[f64], dy: &[f64]) -> Vec<f64> {
        assert_eq!(dy.len(), self.y().elements());
        let mut dw = vec![0.0; self.w.elements()];
        self.for_each_row(|x_at, w_at, y_at| {
            for (dw, dy) in dw[w_at..][..self.w.outputs].iter_mut().zip(&dy[y_at..]) {
                *dw += x[x_at] * dy;
            }
        });
        dw
    }

    /// Calls `f` for every input value of every tap, with its offset and those of its rows of output
    /// channels in the weight and in the output.
    fn for_each_row(&self, mut f: impl FnMut(usize, usize, usize)) {
        let (cin, cout) = (self.x.c, self.w.outputs);
        for_each_tap(self.x, self.window, |tap| {
            for ci in 0..cin {
                f(tap.x * cin + ci, (tap.k * cin + ci) * cout, tap.y * cout);
            }
        });
    }
}

/// Index of value `i` of maps in a table of one value per image and channel.
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

/// Calls `f` for every term of an average pool, with the offsets of the input and output value and the
/// weight of the input.
pub fn for_each_share(x: Shape, y: Shape, mut f: impl FnMut(usize, usize, f64)) {
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
