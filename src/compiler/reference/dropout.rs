//! Dropout.

/// The finaliser of MurmurHash3.
fn mix(mut h: u32) -> u32 {
    h = (h ^ (h >> 16)).wrapping_mul(0x85eb_ca6b);
    h = (h ^ (h >> 13)).wrapping_mul(0xc2b2_ae35);
    h ^ (h >> 16)
}

/// Values are dropped if the random bits of their position are among the lowest.
pub fn drop(values: &[f64], key: &[f64], layer: u32, rate: f32) -> Vec<f64> {
    let [first, second] = [key[0], key[1]].map(|word| word as u32);
    let second = second.wrapping_add(layer.wrapping_mul(0x9e37_79b9));
    let kept = |position: usize| {
        let bits = mix(mix(position as u32 ^ first).wrapping_add(second));
        f64::from(bits) >= (f64::from(rate) * 2f64.powi(32)).floor()
    };
    let factor = 1.0 / (1.0 - f64::from(rate));
    let each = values.iter().enumerate();
    each.map(|(position, value)| if kept(position) { value * factor } else { 0.0 }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many of so many values are kept, and how many in both of two ways.
    fn kept(a: ([f64; 2], u32), b: ([f64; 2], u32), rate: f32) -> (usize, usize) {
        let ones = vec![1.0; 100_000];
        let [a, b] = [a, b].map(|(key, layer)| drop(&ones, &key, layer, rate));
        let factor = 1.0 / (1.0 - f64::from(rate));
        assert!(a.iter().all(|v| *v == 0.0 || *v == factor));
        let both = a.iter().zip(&b).filter(|(a, b)| **a > 0.0 && **b > 0.0).count();
        (a.iter().filter(|v| **v > 0.0).count(), both)
    }

    #[test]
    fn the_share_is_right_and_every_part_of_the_key_matters() {
        let base = ([17.0, 4e9], 0);
        for rate in [0.0f32, 0.2, 0.5, 0.9] {
            for other in [([18.0, 4e9], 0), ([17.0, 4e9 - 1.0], 0), ([17.0, 4e9], 1)] {
                let (one, both) = kept(base, other, rate);
                let share = 1.0 - f64::from(rate);
                // Four standard deviations.
                assert!((one as f64 / 1e5 - share).abs() < 0.0065, "{rate}: {one}");
                assert!((both as f64 / 1e5 - share * share).abs() < 0.0065, "{rate}: {both}");
            }
        }
        let (one, both) = kept(base, base, 0.2);
        assert_eq!(one, both);
    }
}
