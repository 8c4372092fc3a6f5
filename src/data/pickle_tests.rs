//! Tests of reading pickles, and the writing of small ones.

use super::*;
use proptest::prelude::*;

/// A text as Python 2 writes it.
fn text(text: &str) -> Vec<u8> {
    [&[b'U', text.len() as u8][..], text.as_bytes()].concat()
}

fn list(items: impl IntoIterator<Item = Vec<u8>>) -> Vec<u8> {
    let items: Vec<Vec<u8>> = items.into_iter().collect();
    [&b"]("[..], &items.concat(), b"e"].concat()
}

/// A batch as those of CIFAR's Python version are: `rows` of 3,072 bytes, and lists of labels.
pub fn batch(rows: &[Vec<u8>], labels: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let bytes = rows.concat();
    let lists = labels.iter().map(|(name, labels)| {
        [text(name), list(labels.iter().map(|label| vec![b'K', *label]))].concat()
    });
    [
        b"\x80\x02}q\x01(U\x04dataq\x02cnumpy.core.multiarray\n_reconstruct\nq\x03".to_vec(),
        b"cnumpy\nndarray\nq\x04K\x00\x85U\x01b\x87Rq\x05(K\x01".to_vec(),
        [&b"M"[..], &(rows.len() as u16).to_le_bytes(), b"M\x00\x0c\x86"].concat(),
        b"cnumpy\ndtype\nq\x06U\x02u1K\x00K\x01\x87Rq\x07(K\x03U\x01|NNN".to_vec(),
        b"J\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89T".to_vec(),
        [&(bytes.len() as u32).to_le_bytes()[..], &bytes, b"tb"].concat(),
        lists.collect::<Vec<_>>().concat(),
        [text("filenames"), list([text("a.png")])].concat(),
        b"u.".to_vec(),
    ]
    .concat()
}

/// The names of classes, as the Python version has them.
pub fn names(key: &str, names: &[String]) -> Vec<u8> {
    [&b"\x80\x02}("[..], &text(key), &list(names.iter().map(|name| text(name))), b"u."].concat()
}

#[test]
fn arrays_lists_and_texts_are_read() {
    let rows = [vec![7; 3072], vec![9; 3072]];
    let bytes = batch(&rows, &[("labels", vec![3, 4])]);
    assert!(is_pickle(&bytes) && !is_pickle(b"\x06\x02") && !is_pickle(b"\x80"));
    let value = parse(&bytes).unwrap();
    assert_eq!(value.get("labels"), Some(&Value::List(vec![Value::Int(3), Value::Int(4)])));
    let array = Value::Array { shape: vec![2, 3072], bytes: &rows.concat() };
    assert_eq!(value.get("data"), Some(&array));
    assert_eq!(value.get("filenames"), Some(&Value::List(vec![Value::Bytes(b"a.png")])));
    assert_eq!(value.get("nothing"), None);
    // Protocol 5 has arrays in one piece.
    let five = b"\x80\x05}(\x8c\x04data\x8c\x13numpy._core.numeric\x94\x8c\x0b_frombuffer\x94\x93(\x96\
        \x02\0\0\0\0\0\0\0\x07\x09cnumpy\ndtype\n\x8c\x02u1\x89\x88\x87RK\x01K\x02\x86\x8c\x01Ct\x94Ru.";
    let array = Value::Array { shape: vec![1, 2], bytes: &[7, 9] };
    assert_eq!(parse(five).unwrap().get("data"), Some(&array));
    // As Python 3 writes {"a": [1, 2], "b": (None, True)} in protocol 4.
    let four = b"\x80\x04\x95\x1c\0\0\0\0\0\0\0}\x94(\x8c\x01a\x94]\x94(K\x01K\x02e\x8c\x01b\x94N\x88\x86\x94u.";
    let value = parse(four).unwrap();
    assert_eq!(value.get("a"), Some(&Value::List(vec![Value::Int(1), Value::Int(2)])));
}

#[test]
fn what_is_cut_off_or_strange_is_refused() {
    let bytes = batch(&[vec![7; 3072]], &[("labels", vec![3])]);
    for length in (0..bytes.len()).step_by(7).chain(bytes.len() - 20..bytes.len()) {
        assert!(parse(&bytes[..length]).is_err(), "{length}");
    }
    // An array of another size than it says.
    let at = bytes.windows(3).position(|w| w == b"M\x00\x0c").unwrap();
    let mut other = bytes.clone();
    other[at + 1] = 1;
    assert!(parse(&other).unwrap_err().starts_with("at byte "));
    // Nested deeper than any stack.
    let deep = [&b"\x80\x02)"[..], &vec![0x85; 1 << 20], b"."].concat();
    assert!(parse(&deep).is_err());
    let deep = [&b"\x80\x02"[..], &vec![b']'; 1 << 16], &vec![b'a'; 1 << 16], b"."].concat();
    assert!(parse(&deep).is_err());
    assert!(parse(b"\x80\x02cos\nsystem\n(U\x02lstR.").is_ok_and(|value| value == Value::Opaque));
}

proptest! {
    #[test]
    fn random_bytes_never_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        codes in prop::collection::vec(prop::sample::select(&b"()]}K\x01eutabRqhsN\x85\x86\x87\x94.0"[..]), 0..200),
    ) {
        let _ = parse(&bytes);
        let _ = parse(&codes);
    }
}
