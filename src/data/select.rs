//! Some of a data set's classes.

use crate::{Error, Result, names};

/// Which classes are used, and in which order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Classes {
    names: Vec<String>,
    /// The number of each in the whole data set.
    numbers: Vec<usize>,
}

impl Classes {
    /// Those of `all` that `wanted` says: names, numbers from 0, and ranges of numbers such as
    /// `0-4`; all if it says nothing. A name wins over a number.
    ///
    /// # Errors
    /// [`Error::Usage`] for an unknown or repeated class, and for fewer than two.
    pub fn new(all: &[String], wanted: Option<&[String]>) -> Result<Self> {
        let mut numbers: Vec<usize> = Vec::new();
        match wanted {
            None => numbers.extend(0..all.len()),
            Some(wanted) => {
                for item in wanted {
                    numbers.extend(find(all, item.trim())?);
                }
            }
        }
        for (at, number) in numbers.iter().enumerate() {
            if numbers[..at].contains(number) {
                let name = &all[*number];
                return Err(Error::Usage(format!("--classes names '{name}' twice")));
            }
        }
        if numbers.len() < 2 {
            return Err(Error::Usage("--classes must name two classes or more".into()));
        }
        Ok(Self { names: numbers.iter().map(|n| all[*n].clone()).collect(), numbers })
    }

    /// Their names.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Their names.
    pub fn into_names(self) -> Vec<String> {
        self.names
    }

    /// Those elements of `all`, one for each class of the data set, that are of these classes.
    pub fn pick<T: Clone>(&self, all: &[T]) -> Vec<T> {
        self.numbers.iter().map(|number| all[*number].clone()).collect()
    }

    /// The new number of a class, if it is one of these.
    pub fn number(&self, label: u32) -> Option<u32> {
        let at = self.numbers.iter().position(|number| *number == label as usize);
        at.map(|at| at as u32)
    }
}

/// The classes that an item of `--classes` means.
fn find(all: &[String], item: &str) -> Result<std::ops::RangeInclusive<usize>> {
    let same = |name: &&String| **name == item;
    let similar = |name: &&String| name.to_lowercase() == item.to_lowercase();
    let named = all.iter().position(|name| same(&name));
    if let Some(at) = named.or_else(|| all.iter().position(|name| similar(&name))) {
        return Ok(at..=at);
    }
    let last = all.len().saturating_sub(1);
    let number = |text: &str| text.trim().parse::<usize>().ok();
    let range = match item.split_once('-') {
        Some((first, end)) => number(first).zip(number(end)),
        None => number(item).map(|n| (n, n)),
    };
    match range {
        Some((first, end)) if first <= end && end <= last => Ok(first..=end),
        Some(_) => Err(Error::Usage(format!(
            "--classes {item}: classes are numbered from 0 to {last}, a range is like 0-{last}"
        ))),
        None => {
            let hint = names::hint(item, all.iter().map(String::as_str));
            Err(Error::Usage(format!("--classes: there is no class `{item}`{hint}")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn classes(wanted: &str) -> Result<Classes> {
        let all = ["cat", "T-shirt/top", "dog", "7", "Ankle boot"].map(String::from);
        let wanted: Vec<String> = wanted.split(',').map(String::from).collect();
        Classes::new(&all, Some(&wanted))
    }

    #[test]
    fn by_number_range_and_name() {
        for (wanted, numbers) in [
            ("0-4", vec![0, 1, 2, 3, 4]),
            ("2,0", vec![2, 0]),
            ("1-2, 4", vec![1, 2, 4]),
            ("dog,t-shirt/top", vec![2, 1]),
            ("7,Ankle Boot", vec![3, 4]),
        ] {
            assert_eq!(classes(wanted).unwrap().numbers, numbers, "{wanted}");
        }
        let some = classes("dog,cat").unwrap();
        assert_eq!(some.names(), ["dog", "cat"]);
        assert_eq!([0, 1, 2].map(|label| some.number(label)), [Some(1), None, Some(0)]);
        assert_eq!(some.pick(&["a", "b", "c", "d", "e"]), ["c", "a"]);
        let all = Classes::new(&["a".into(), "b".into()], None).unwrap();
        assert_eq!((all.names().len(), all.number(1)), (2, Some(1)));
    }

    #[test]
    fn mistakes_are_named() {
        for (wanted, part) in [
            ("dgg,cat", "there is no class `dgg` (did you mean `dog`?)"),
            ("xxxxxxxxxxx,cat", "there is no class `xxxxxxxxxxx`"),
            ("0-5", "numbered from 0 to 4"),
            ("3-1", "numbered from 0 to 4"),
            ("99999999999999999999,1", "there is no class `99999999999999999999`"),
            ("", "there is no class ``"),
            ("0", "two classes or more"),
            ("0-2,dog", "names 'dog' twice"),
        ] {
            let message = classes(wanted).unwrap_err().to_string();
            assert!(message.contains(part), "{message}\nexpected: {part}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_an_error_or_classes(wanted in "[-0-9a-zA-Z, ]{0,20}") {
            let _ = classes(&wanted);
        }
    }
}
