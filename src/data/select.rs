//! `--classes`: a choice among the classes of a data set.

use crate::base::hint::{Hint, message};
use crate::base::suggest;
use crate::{Error, Result};

/// The classes to use, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Classes {
    names: Vec<String>,
    /// The label of each in the whole data set.
    numbers: Vec<usize>,
}

impl Classes {
    /// The classes of `all` that `wanted` lists: names, numbers from 0, and ranges of numbers such as
    /// `0-4`; all classes if it is `None`. A name takes precedence over a number, also at the ends of
    /// a range.
    ///
    /// # Errors
    /// [`Error::Usage`] for an unknown or repeated class, an ambiguous number, and fewer than two
    /// classes.
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
                return Err(refused(format!(" names '{name}' twice")));
            }
        }
        if numbers.len() < 2 {
            return Err(refused(" must name two classes or more".into()));
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

    /// Of `all`, which has an element for each class of the data set, those of the chosen classes.
    pub fn pick<T: Clone>(&self, all: &[T]) -> Vec<T> {
        self.numbers.iter().map(|number| all[*number].clone()).collect()
    }

    /// The new label of a class, if it is chosen.
    pub fn number(&self, label: u32) -> Option<u32> {
        let at = self.numbers.iter().position(|number| *number == label as usize);
        at.map(|at| at as u32)
    }
}

/// The classes that an item of `--classes` means.
///
/// Names may be numbers. They take precedence: `2` is the class called 2 (or 02) if there is one, and
/// `2-3` the classes called 2 and 3 if both exist. Otherwise numbers count classes from 0, unless
/// that is likely a misunderstanding.
fn find(all: &[String], item: &str) -> Result<Vec<usize>> {
    if let Some(at) = called(all, item)? {
        return Ok(vec![at]);
    }
    let number = |text: &str| text.trim().parse::<usize>().ok();
    let range = match item.split_once('-') {
        Some((first, end)) => number(first).zip(number(end)),
        None => number(item).map(|n| (n, n)),
    };
    let Some((first, end)) = range else {
        let hint = suggest::hint(item, all.iter().map(String::as_str));
        return Err(refused(format!(": there is no class `{item}`{hint}")));
    };
    let last = all.len().saturating_sub(1);
    let outside = || {
        Err(refused(format!(
            " {item}: classes are numbered from 0 to {last}, a range is like 0-{last}"
        )))
    };
    if first > end {
        return outside();
    }
    // The classes whose names are numbers, by number.
    let mut numbered: Vec<(usize, usize)> =
        all.iter().enumerate().filter_map(|(at, name)| Some((number(name)?, at))).collect();
    numbered.sort_unstable();
    let named = |n| numbered.iter().any(|(number, _)| *number == n);
    let by_name: Vec<usize> =
        numbered.iter().filter(|(n, _)| (first..=end).contains(n)).map(|(_, at)| *at).collect();
    if named(first) && named(end) {
        if by_name.len() <= end - first {
            let reading = format!("{} classes have names from {first} to {end}", by_name.len());
            return Err(ambiguous(all, item, &reading, first..=end));
        }
        let inside = |pair: &&[(usize, usize)]| (first..=end).contains(&pair[0].0);
        let twice = numbered.windows(2).filter(inside).find(|pair| pair[0].0 == pair[1].0);
        return match twice {
            Some(pair) => {
                let reading =
                    format!("`{}` and `{}` are the same number", all[pair[0].1], all[pair[1].1]);
                Err(ambiguous(all, item, &reading, first..=end))
            }
            None => Ok(by_name),
        };
    }
    if named(first) || named(end) || numbered.len() == all.len() {
        let missing = if named(first) { end } else { first };
        let reading = format!("there is no class called {missing}");
        return Err(ambiguous(all, item, &reading, first..=end));
    }
    if end > last {
        return outside();
    }
    Ok((first..=end).collect())
}

/// The class of this name; ignoring case if that is unique.
fn called(all: &[String], item: &str) -> Result<Option<usize>> {
    let item = suggest::composed(item);
    if let Some(at) = all.iter().position(|name| *name == item) {
        return Ok(Some(at));
    }
    let lower = item.to_lowercase();
    let mut similar = (0..all.len()).filter(|at| all[*at].to_lowercase() == lower);
    match (similar.next(), similar.next()) {
        (Some(one), Some(other)) => Err(refused(format!(
            ": `{item}` may be `{}` or `{}`: write it as it is called",
            all[one], all[other]
        ))),
        (one, _) => Ok(one),
    }
}

/// The error for a number that may be a name or a position.
fn ambiguous(
    all: &[String],
    item: &str,
    by_name: &str,
    numbers: std::ops::RangeInclusive<usize>,
) -> Error {
    let counted: Vec<String> =
        numbers.take(5).filter_map(|n| Some(format!("`{}`", all.get(n)?))).collect();
    let by_number = match counted.is_empty() {
        true => "no class has such a number".to_owned(),
        false => format!("counted from 0 they are {}", counted.join(", ")),
    };
    let some = all.iter().take(2).map(String::as_str).collect::<Vec<_>>().join(",");
    Error::usage(message![
        Hint::set("classes", item),
        format!(" has two readings: by name, {by_name}; {by_number}; name each class, such as "),
        Hint::set("classes", some),
    ])
}

/// The error for classes that cannot be chosen; `why` goes on after the option's name.
fn refused(why: String) -> Error {
    Error::usage(message![Hint::Option("classes"), why])
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
    fn classes_are_chosen_by_number_range_and_name() {
        for (wanted, numbers) in [
            ("0-4", vec![0, 1, 2, 3, 4]),
            ("2,0", vec![2, 0]),
            ("1-2, 4", vec![1, 2, 4]),
            ("dog,t-shirt/top", vec![2, 1]),
            ("7,Ankle Boot", vec![3, 4]),
            ("2, 7", vec![2, 3]),
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
    fn wrong_classes_are_refused() {
        for (wanted, part) in [
            ("dgg,cat", "there is no class `dgg` (did you mean `dog`?)"),
            ("xxxxxxxxxxx,cat", "there is no class `xxxxxxxxxxx`"),
            ("0-5", "numbered from 0 to 4"),
            ("3-1", "numbered from 0 to 4"),
            ("99999999999999999999,1", "there is no class `99999999999999999999`"),
            ("", "there is no class ``"),
            ("0", "two classes or more"),
            ("0-2,dog", "names 'dog' twice"),
            ("2-7", "`classes` 2-7 has two readings: by name, there is no class called 2; counted"),
        ] {
            let message = classes(wanted).unwrap_err().to_string();
            assert!(message.contains(part), "{message}\nexpected: {part}");
        }
    }

    #[test]
    fn numeric_names_take_precedence_over_positions() {
        let of = |names: &[&str], wanted: &str| {
            let names: Vec<String> = names.iter().map(|name| name.to_string()).collect();
            let wanted: Vec<String> = wanted.split(',').map(String::from).collect();
            Classes::new(&names, Some(&wanted)).map(Classes::into_names).map_err(|e| e.to_string())
        };
        // As folders are sorted.
        let twelve = ["0", "1", "10", "11", "2", "3", "4", "5", "6", "7", "8", "9"];
        for (wanted, names) in [
            ("2-3", vec!["2", "3"]),
            ("2,3", vec!["2", "3"]),
            ("9-11", vec!["9", "10", "11"]),
            ("11,0-1", vec!["11", "0", "1"]),
        ] {
            assert_eq!(of(&twelve, wanted).unwrap(), names, "{wanted}");
        }
        let padded = ["01", "02", "03", "10"];
        assert_eq!(of(&padded, "1,3").unwrap(), ["01", "03"]);
        assert_eq!(of(&padded, "1-3").unwrap(), ["01", "02", "03"]);
        for (names, wanted, parts) in [
            // No class 0: is `01` meant?
            (&padded[..], "0,1", &["two readings", "no class called 0", "they are `01`"][..]),
            (&padded, "0-3", &["no class called 0", "`01`, `02`, `03`, `10`"]),
            (&padded, "3-10", &["2 classes have names from 3 to 10", "`10`", "`classes` 01,02"]),
            (&["5", "7", "cat"], "0-5", &["no class called 0"]),
            (&["1", "01", "2"], "1-2", &["`1` and `01` are the same number"]),
            (&["0", "00", "2", "02"], "2-2", &["`2` and `02` are the same number"]),
            (&["Cat", "cat", "dog"], "CAT,dog", &["`Cat` or `cat`"]),
            (&["3", "1"], "3-1", &["numbered from 0 to 1"]),
        ] {
            let message = of(names, wanted).unwrap_err();
            for part in parts {
                assert!(message.contains(part), "{message}\nexpected: {part}");
            }
            // Following the advice works.
            if let Some((_, advice)) = message.rsplit_once("such as `classes` ") {
                assert!(of(names, advice).is_ok(), "{advice}");
            }
        }
        // Composed and decomposed accents are equal.
        assert_eq!(of(&["caf\u{e9}", "the"], "cafe\u{301},the").unwrap().len(), 2);
    }

    proptest::proptest! {
        #[test]
        fn random_text_does_not_panic(wanted in "[-0-9a-zA-Z, ]{0,20}") {
            let _ = classes(&wanted);
        }
    }
}
