//! Every gradient op against central differences of its forward op, in the f64 reference.

use std::collections::BTreeSet;

use crate::cases::{FAMILIES, Purpose};
use sff::internals::compiler::ops::Op;
use sff::internals::net::options::Precision;

#[test]
fn gradients_match_finite_differences() {
    for (family, cases) in FAMILIES {
        let cases = cases(Purpose::Gradient, Precision::F32);
        let checked = cases.iter().map(|case| case.check_gradients());
        let expected = if *family == "update" { 0 } else { 1 };
        assert!(checked.sum::<usize>() >= expected, "{family}");
    }
}

/// A new op has cases, or is listed here with the tests that cover it.
#[test]
fn every_op_has_a_case() {
    let cases = FAMILIES.iter().flat_map(|(_, cases)| cases(Purpose::Kernel, Precision::F32));
    let mut kinds: BTreeSet<_> = cases.flat_map(|case| case.kinds()).collect();
    // In `tests/train/augment.rs`.
    kinds.insert("Input");
    assert_eq!(kinds, Op::KINDS.iter().copied().collect());
}
