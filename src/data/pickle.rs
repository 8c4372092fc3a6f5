//! A reader of Python pickles, for CIFAR's Python version: arrays, lists and texts.
//!
//! A pickle is a program for a stack machine; its opcodes are described in Python's `pickletools`.
//! No code of it is executed: a function call gives an opaque value, except for the two NumPy
//! functions that make an array.

use std::collections::HashMap;

/// How deep values may be nested.
const DEPTH: usize = 16;

/// A value in a pickle.
#[derive(Clone, Debug, PartialEq)]
pub enum Value<'a> {
    Int(i64),
    /// Text or bytes: Python 2 does not distinguish them.
    Bytes(&'a [u8]),
    Tuple(Vec<Value<'a>>),
    List(Vec<Value<'a>>),
    /// Keys and values, alternating.
    Dict(Vec<Value<'a>>),
    /// An array of bytes in row-major order.
    Array {
        shape: Vec<i64>,
        bytes: &'a [u8],
    },
    /// The name of a class or function, with its module.
    Global(&'a [u8], &'a [u8]),
    /// Anything else.
    Opaque,
}

impl<'a> Value<'a> {
    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&Self> {
        let Self::Dict(items) = self else { return None };
        let mut pairs = items.as_chunks().0.iter();
        pairs.find(|[k, _]| *k == Value::Bytes(key.as_bytes())).map(|[_, value]| value)
    }

    fn items(&self) -> &[Self] {
        match self {
            Self::Tuple(items) | Self::List(items) | Self::Dict(items) => items,
            _ => &[],
        }
    }

    fn depth(&self) -> usize {
        self.items().iter().map(Self::depth).max().map_or(0, |depth| depth + 1)
    }

    /// The array from the state that NumPy saves: version, shape, type, order and bytes or, in
    /// protocol 5, bytes, type, shape and order.
    fn array(parts: &Self) -> Option<Self> {
        let ([_, Self::Tuple(shape), _, _, Self::Bytes(bytes)]
        | [Self::Bytes(bytes), _, Self::Tuple(shape), _]) = parts.items()
        else {
            return None;
        };
        let side = |value: &Self| match value {
            Self::Int(side) => Some(*side),
            _ => None,
        };
        let shape: Vec<i64> = shape.iter().map(side).collect::<Option<_>>()?;
        let product = shape.iter().try_fold(1i64, |product, side| product.checked_mul(*side));
        // Elements of other types take more bytes.
        (product == i64::try_from(bytes.len()).ok()).then_some(Self::Array { shape, bytes })
    }
}

/// Whether these may be the first bytes of a pickle in one of the binary protocols.
pub fn is_pickle(bytes: &[u8]) -> bool {
    matches!(bytes, [0x80, 2..=5, ..])
}

/// Reads a pickle.
///
/// # Errors
/// A message with the byte offset where the pickle ends or has an unsupported opcode.
pub fn parse(bytes: &[u8]) -> Result<Value<'_>, String> {
    let mut machine = Machine { bytes, at: 0, ..Machine::default() };
    loop {
        let at = machine.at;
        match machine.step() {
            Some(None) => {}
            Some(Some(value)) => return Ok(value),
            None => return Err(format!("at byte {at}: this is no pickle that can be read")),
        }
    }
}

#[derive(Default)]
struct Machine<'a> {
    bytes: &'a [u8],
    at: usize,
    stack: Vec<Value<'a>>,
    /// Stack lengths at each MARK opcode.
    marks: Vec<usize>,
    memo: HashMap<usize, Value<'a>>,
}

impl<'a> Machine<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let taken = self.bytes.get(self.at..self.at.checked_add(count)?)?;
        self.at += count;
        Some(taken)
    }

    /// An unsigned little-endian integer of `count` bytes.
    fn number(&mut self, count: usize) -> Option<usize> {
        let bytes = self.take(count)?.iter().rev();
        bytes.into_iter().try_fold(0usize, |n, byte| Some(n.checked_mul(256)? + usize::from(*byte)))
    }

    fn line(&mut self) -> Option<&'a [u8]> {
        let length = self.bytes.get(self.at..)?.iter().position(|byte| *byte == b'\n')?;
        let line = self.take(length)?;
        self.take(1)?;
        Some(line)
    }

    fn push(&mut self, value: Value<'a>) -> Option<()> {
        // Dropping a deep value would recurse as deeply.
        (value.depth() < DEPTH).then(|| self.stack.push(value))
    }

    /// The values pushed since the last mark.
    fn marked(&mut self) -> Option<Vec<Value<'a>>> {
        let mark = self.marks.pop()?;
        (mark <= self.stack.len()).then(|| self.stack.split_off(mark))
    }

    fn tuple(&mut self, count: usize) -> Option<()> {
        let items = self.stack.split_off(self.stack.len().checked_sub(count)?);
        self.push(Value::Tuple(items))
    }

    /// Adds to the list or dictionary on top of the stack.
    fn extend(&mut self, items: Vec<Value<'a>>) -> Option<()> {
        if items.iter().any(|item| item.depth() + 2 > DEPTH) {
            return None;
        }
        match self.stack.last_mut()? {
            Value::List(all) | Value::Dict(all) => all.extend(items),
            Value::Opaque => {}
            _ => return None,
        }
        Some(())
    }

    fn remember(&mut self, key: usize) -> Option<()> {
        let value = match self.stack.last()? {
            // Containers may grow later or be large, and are not needed again.
            Value::Tuple(_) | Value::List(_) | Value::Dict(_) => Value::Opaque,
            value => value.clone(),
        };
        self.memo.insert(key, value);
        Some(())
    }

    /// Runs one opcode. Gives the result at the STOP opcode, and `None` for a bad pickle.
    fn step(&mut self) -> Option<Option<Value<'a>>> {
        match self.number(1)? as u8 {
            0x80 => drop(self.take(1)?),
            // FRAME
            0x95 => drop(self.take(8)?),
            b'(' => self.marks.push(self.stack.len()),
            b'0' => drop(self.stack.pop()?),
            b'N' | 0x88 | 0x89 => self.push(Value::Opaque)?,
            b'K' => self.integer(1)?,
            b'M' => self.integer(2)?,
            b'J' => {
                let bytes = self.take(4)?.try_into().ok()?;
                self.push(Value::Int(i32::from_le_bytes(bytes).into()))?;
            }
            b'U' | b'C' | 0x8c => self.sized(1)?,
            b'T' | b'X' | b'B' => self.sized(4)?,
            0x8d | 0x8e | 0x96 => self.sized(8)?,
            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                self.push(Value::Global(module, name))?;
            }
            0x93 => {
                let (name, module) = (self.stack.pop()?, self.stack.pop()?);
                let (Value::Bytes(module), Value::Bytes(name)) = (module, name) else {
                    return None;
                };
                self.push(Value::Global(module, name))?;
            }
            b')' => self.push(Value::Tuple(Vec::new()))?,
            count @ 0x85..=0x87 => self.tuple(usize::from(count - 0x84))?,
            b't' => {
                let items = self.marked()?;
                self.push(Value::Tuple(items))?;
            }
            b']' => self.push(Value::List(Vec::new()))?,
            b'}' => self.push(Value::Dict(Vec::new()))?,
            b'e' | b'u' => {
                let items = self.marked()?;
                self.extend(items)?;
            }
            b'a' => {
                let item = self.stack.pop()?;
                self.extend(vec![item])?;
            }
            b's' => {
                let (value, key) = (self.stack.pop()?, self.stack.pop()?);
                self.extend(vec![key, value])?;
            }
            b'R' | 0x81 => {
                let (parts, function) = (self.stack.pop()?, self.stack.pop()?);
                self.push(match function {
                    // BUILD sets its state next.
                    Value::Global(_, b"_reconstruct") => {
                        Value::Array { shape: vec![0], bytes: &[] }
                    }
                    Value::Global(_, b"_frombuffer") => Value::array(&parts)?,
                    _ => Value::Opaque,
                })?;
            }
            b'b' => {
                let (state, object) = (self.stack.pop()?, self.stack.pop()?);
                self.push(match object {
                    Value::Array { .. } => Value::array(&state)?,
                    _ => Value::Opaque,
                })?;
            }
            b'q' => {
                let key = self.number(1)?;
                self.remember(key)?;
            }
            b'r' => {
                let key = self.number(4)?;
                self.remember(key)?;
            }
            0x94 => self.remember(self.memo.len())?,
            b'h' => self.recall(1)?,
            b'j' => self.recall(4)?,
            b'.' => return Some(Some(self.stack.pop()?)),
            _ => return None,
        }
        Some(None)
    }

    fn integer(&mut self, bytes: usize) -> Option<()> {
        let number = self.number(bytes)?;
        self.push(Value::Int(i64::try_from(number).ok()?))
    }

    /// Bytes with a length prefix.
    fn sized(&mut self, bytes: usize) -> Option<()> {
        let count = self.number(bytes)?;
        let content = self.take(count)?;
        self.push(Value::Bytes(content))
    }

    fn recall(&mut self, bytes: usize) -> Option<()> {
        let key = self.number(bytes)?;
        let value = self.memo.get(&key)?.clone();
        self.push(value)
    }
}

#[cfg(test)]
pub(super) mod tests {
    //! Tests, and writers of small pickles.

    use super::*;
    use proptest::prelude::*;

    /// A short string in the encoding of Python 2.
    fn text(text: &str) -> Vec<u8> {
        [&[b'U', text.len() as u8][..], text.as_bytes()].concat()
    }

    fn list(items: impl IntoIterator<Item = Vec<u8>>) -> Vec<u8> {
        let items: Vec<Vec<u8>> = items.into_iter().collect();
        [&b"]("[..], &items.concat(), b"e"].concat()
    }

    /// A batch of CIFAR's Python version: `rows` of 3,072 bytes, and lists of labels.
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

    /// The file of class names in the Python version.
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
        // Protocol 5 stores arrays by `_frombuffer`.
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
    fn truncated_and_malformed_pickles_are_refused() {
        let bytes = batch(&[vec![7; 3072]], &[("labels", vec![3])]);
        for length in (0..bytes.len()).step_by(7).chain(bytes.len() - 20..bytes.len()) {
            assert!(parse(&bytes[..length]).is_err(), "{length}");
        }
        // An array whose size differs from its shape.
        let at = bytes.windows(3).position(|w| w == b"M\x00\x0c").unwrap();
        let mut other = bytes.clone();
        other[at + 1] = 1;
        assert!(parse(&other).unwrap_err().starts_with("at byte "));
        // Nested too deeply for recursion.
        let deep = [&b"\x80\x02)"[..], &vec![0x85; 1 << 20], b"."].concat();
        assert!(parse(&deep).is_err());
        let deep = [&b"\x80\x02"[..], &vec![b']'; 1 << 16], &vec![b'a'; 1 << 16], b"."].concat();
        assert!(parse(&deep).is_err());
        assert!(
            parse(b"\x80\x02cos\nsystem\n(U\x02lstR.").is_ok_and(|value| value == Value::Opaque)
        );
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
}
