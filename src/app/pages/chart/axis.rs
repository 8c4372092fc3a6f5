//! Axes: positions of values, and the lines of a grid.

/// The unit of an axis.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unit {
    /// Fractions, shown in percent.
    Share,
    /// Numbers.
    Plain,
    /// Numbers whose distance from 0 matters.
    FromZero,
}

/// A linear axis with evenly spaced round numbers.
#[derive(Clone, Copy)]
pub(super) struct Axis {
    pub low: f64,
    pub high: f64,
    pub step: f64,
}

impl Axis {
    /// An axis around the range from `low` to `high`, with round steps of at least `least`.
    pub fn around(low: f64, high: f64, least: f64) -> Self {
        let range = (high - low).max(least).max(high.abs() * 0.02).max(f64::MIN_POSITIVE);
        let power = 10f64.powf((range / 4.0).log10().floor());
        let steps = [1.0, 2.0, 5.0, 10.0].map(|by| by * power);
        let step = steps.into_iter().find(|step| range / step <= 5.0).unwrap_or(power);
        Self::in_steps(low, high, step.max(least))
    }

    /// An axis of whole steps around the range from `low` to `high`, at least one step.
    pub fn in_steps(low: f64, high: f64, step: f64) -> Self {
        let low = (low / step + 1e-9).floor() * step;
        let high = ((high / step - 1e-9).ceil() * step).max(low + step);
        Self { low, high, step }
    }

    /// The values of grid lines.
    pub fn ticks(&self) -> impl Iterator<Item = f64> + use<> {
        let Self { low, high, step } = *self;
        (0..=((high - low) / step).round() as usize).map(move |i| low + i as f64 * step)
    }

    /// The position of a value: 0 at the low end, 1 at the high end.
    pub fn place(&self, value: f64) -> f64 {
        (value - self.low) / (self.high - self.low)
    }

    /// A value as text, with the decimals of a step.
    pub fn label(&self, value: f64, unit: Unit) -> String {
        let (factor, sign) = if unit == Unit::Share { (100.0, "%") } else { (1.0, "") };
        let decimals = (-(self.step * factor).log10()).ceil().clamp(0.0, 9.0) as usize;
        if decimals > 4 {
            format!("{value:.0e}")
        } else {
            format!("{:.decimals$}{sign}", factor * value)
        }
    }
}

/// A logarithmic axis over whole powers of ten.
pub(in crate::app::pages) struct LogAxis {
    /// Exponents of the first and the last power.
    from: f64,
    to: f64,
    /// Their positions in pixels.
    start: f64,
    end: f64,
}

impl LogAxis {
    /// An axis around the values above 0, drawn from `start` to `end`.
    pub fn new(values: impl Iterator<Item = f64>, start: f64, end: f64) -> Self {
        let (low, high) = values
            .filter(|value| *value > 0.0)
            .fold((f64::MAX, f64::MIN_POSITIVE), |(low, high), v| (low.min(v), high.max(v)));
        let from = low.min(high).log10().floor();
        Self { from, to: high.log10().ceil().max(from + 1.0), start, end }
    }

    /// The position of a value, in pixels.
    pub fn at(&self, value: f64) -> f64 {
        let part = (value.log10() - self.from) / (self.to - self.from);
        self.start + part * (self.end - self.start)
    }

    /// The value at the start.
    pub fn first(&self) -> f64 {
        10f64.powf(self.from)
    }

    /// The values of grid lines and their labels, of at most six characters.
    pub fn powers(&self) -> impl Iterator<Item = (f64, String)> + use<> {
        (self.from as i32..=self.to as i32).map(|exponent| {
            let value = 10f64.powi(exponent);
            let label = match exponent {
                -3..=4 => value.to_string(),
                _ => format!(
                    "10{}",
                    exponent.to_string().chars().map(superscript).collect::<String>()
                ),
            };
            (value, label)
        })
    }
}

fn superscript(c: char) -> char {
    match c {
        '-' => '⁻',
        '1' => '¹',
        '2' => '²',
        '3' => '³',
        digit => char::from_u32('⁰' as u32 + digit as u32 - '0' as u32).unwrap_or(digit),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_have_round_steps_around_the_values() {
        for (low, high, least, ticks) in [
            (0.61, 0.88, 0.0, "60% 70% 80% 90%"),
            (0.5, 0.5, 0.0, "50% 50%"),
            (1.0, 3.0, 1.0, "100% 200% 300%"),
            (0.0, 0.0, 0.0, "0e0 0e0"),
        ] {
            let axis = Axis::around(low, high, least);
            assert!(axis.low <= low + 1e-12 && axis.high >= high - 1e-12);
            let labels: Vec<_> = axis.ticks().map(|t| axis.label(t, Unit::Share)).collect();
            let wanted: Vec<_> = ticks.split(' ').collect();
            assert_eq!(labels.len(), wanted.len(), "{labels:?}");
            if axis.step > 0.01 {
                assert_eq!(labels, wanted);
            }
        }
    }

    #[test]
    fn logarithmic_axes_have_whole_powers_of_ten() {
        let axis = LogAxis::new([0.0, 3.0, 200.0].into_iter(), 10.0, 40.0);
        assert_eq!(
            axis.powers().map(|(value, _)| value).collect::<Vec<_>>(),
            [1.0, 10.0, 100.0, 1000.0]
        );
        assert_eq!((axis.first(), axis.at(1.0), axis.at(1000.0)), (1.0, 10.0, 40.0));
        assert!((axis.at(100.0) - 30.0).abs() < 1e-9);
        let axis = LogAxis::new([1e-5, 2e10].into_iter(), 0.0, 1.0);
        let labels: Vec<_> = axis.powers().map(|(_, label)| label).collect();
        assert_eq!((&labels[0][..], &labels[2][..], &labels[16][..]), ("10⁻⁵", "0.001", "10¹¹"));
    }
}
