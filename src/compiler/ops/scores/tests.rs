use super::*;
use crate::compiler::ops::tests::{Table, assert_close};

#[test]
fn cross_entropy_of_large_scores_and_mixed_labels() {
    let mut t = Table::default();
    let (scores, labels) = (t.maps(1, 1, 1, 2), t.words(1));
    let (loss, dscores) = (t.maps(1, 1, 1, 1), t.maps(1, 1, 1, 2));
    let cross_entropy = |partners, scale| {
        let dscores = Some(dscores);
        CrossEntropy { scores, labels, partners, loss, dscores, scale }
    };
    let op = cross_entropy(None, 1.0);
    // The exponentials of these scores overflow.
    let r = t.run(&op, &[(scores, &[1000.0, 1000.0 + 3f64.ln()]), (labels, &[0.0])]);
    assert_close(r.get(loss), &[4f64.ln()]);
    assert_close(r.get(dscores), &[-0.75, 0.75]);

    // A quarter of the label is the other class.
    let partners = t.words(2);
    let op = cross_entropy(Some(partners), 4.0);
    let quarter = f64::from(0.25f32.to_bits());
    let inputs: [(TensorId, &[f64]); 3] =
        [(scores, &[0.0, 3f64.ln()]), (labels, &[0.0]), (partners, &[1.0, quarter])];
    let r = t.run(&op, &inputs);
    assert_close(r.get(loss), &[4f64.ln() - 0.25 * 3f64.ln()]);
    assert_close(r.get(dscores), &[-2.0, 2.0]);
}

#[test]
fn metrics_count_votes_of_valid_images() {
    const BLOCKS: usize = 4;
    // By image, then block: by how much class 0 leads class 1. All labels are 0.
    let leads: [[f64; BLOCKS]; 4] = [
        [5.0, -1.0, -1.0, -1.0], // right by the votes of all
        [-5.0, -5.0, 3.0, -1.0], // ... of the later half
        [-9.0, -1.0, -2.0, 1.0], // ... of the last block
        [0.0; BLOCKS],           // ... because the first of equals wins
    ];
    let expected = [
        [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0],
        [1.0, 0.0, 1.0, 0.0, 1.0, 1.0, 0.0],
        [1.0, 0.0, 1.0, 1.0, 1.0, 1.0, 1.0],
        [2.0, 1.0, 2.0, 2.0, 2.0, 2.0, 2.0],
    ];
    let mut t = Table::default();
    let [scores, losses] = [(); 2].map(|()| t.vector(99));
    let (labels, step, _scratch) = (t.words(4), t.vector(4), t.vector(1));
    let out = t.vector(result_words(BLOCKS));
    let op = Metrics { scores, losses, labels, step, out, blocks: BLOCKS, classes: 2 };
    let mut inputs = vec![(labels, vec![0.0; 4])];
    for block in (0..BLOCKS).rev() {
        let id = t.member(scores, 32 * block, Shape::rows(4, 2));
        inputs.push((id, leads.iter().flat_map(|lead| [1.0 + lead[block], 1.0]).collect()));
        let id = t.member(losses, 64 * block, Shape::rows(4, 1));
        inputs.push((id, vec![10f64.powi(block as i32); 4]));
    }
    for (valid, expected) in (1..).zip(expected) {
        let valid = f64::from(valid);
        let step: (TensorId, &[f64]) = (step, &[0.0, 0.0, 0.0, valid]);
        let inputs: Vec<_> = inputs.iter().map(|(id, v)| (*id, &v[..])).chain([step]).collect();
        let r = t.run(&op, &inputs);
        assert_close(&r.get(out)[..BLOCKS], &[1.0, 10.0, 100.0, 1000.0].map(|v| v * valid));
        assert_close(&r.get(out)[BLOCKS..2 * BLOCKS + 3], &expected);
        assert_eq!(r.get(out)[2 * BLOCKS + 3..], [0.0; BLOCKS]);
    }
}

#[test]
fn metrics_of_a_single_block_need_no_slab() {
    let mut t = Table::default();
    let (scores, losses) = (t.maps(2, 1, 1, 3), t.maps(2, 1, 1, 1));
    let (labels, step, _scratch, out) = (t.words(2), t.vector(4), t.vector(1), t.vector(6));
    let op = Metrics { scores, losses, labels, step, out, blocks: 1, classes: 3 };
    let inputs: [(TensorId, &[f64]); 4] = [
        (scores, &[0.0, 1.0, 2.0, 3.0, 1.0, 2.0]),
        (losses, &[0.5, 0.25]),
        (labels, &[2.0, 2.0]),
        (step, &[0.0, 0.0, 0.0, 2.0]),
    ];
    assert_close(t.run(&op, &inputs).get(out), &[0.75, 1.0, 1.0, 1.0, 1.0, 0.0]);
}
