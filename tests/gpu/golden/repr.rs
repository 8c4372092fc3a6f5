//! Parses the `repr` of PyTorch modules.

use std::collections::BTreeMap;

/// A module: `Kind(arguments)`, or `Kind(` and a line for each child.
#[derive(PartialEq, Debug)]
pub struct Module {
    /// The name of its class.
    pub kind: String,
    /// By name, or by position for positional arguments.
    pub arguments: BTreeMap<String, String>,
    /// By name, in order.
    pub children: Vec<(String, Module)>,
}

impl Module {
    /// Whether the module or one inside it is of class `kind`.
    pub fn has(&self, kind: &str) -> bool {
        self.kind == kind || self.children.iter().any(|(_, child)| child.has(kind))
    }

    /// Parses the text of `repr(module)`.
    pub fn parse(text: &str) -> Self {
        let mut lines = text.lines().map(str::trim);
        let first = lines.next().expect("a module prints at least one line");
        Self::rest(first, &mut lines)
    }

    /// Parses a module whose first line is `first`, and whose other lines are next in `lines`.
    fn rest<'a>(first: &str, lines: &mut impl Iterator<Item = &'a str>) -> Self {
        let (kind, arguments) = first.split_once('(').expect("Kind(…");
        let mut module =
            Self { kind: kind.to_owned(), arguments: BTreeMap::new(), children: Vec::new() };
        if let Some(arguments) = arguments.strip_suffix(')') {
            module.arguments = split(arguments);
            return module;
        }
        while let Some(line) = lines.next().filter(|line| *line != ")") {
            let (name, child) = line.split_once(": ").expect("(name): Kind(…");
            let name = name.trim_matches(['(', ')']).to_owned();
            module.children.push((name, Self::rest(child, lines)));
        }
        module
    }
}

/// Splits `1, a=(2, 3)` at the commas outside of parentheses.
fn split(arguments: &str) -> BTreeMap<String, String> {
    let mut depth = 0;
    let pieces = arguments.split(|c| {
        depth += i32::from(c == '(') - i32::from(c == ')');
        c == ',' && depth == 0
    });
    let named = pieces.map(str::trim).filter(|piece| !piece.is_empty()).enumerate();
    let pair = |(position, piece): (usize, &str)| match piece.split_once('=') {
        Some((name, value)) => (name.to_owned(), value.to_owned()),
        None => (position.to_string(), piece.to_owned()),
    };
    named.map(pair).collect()
}

#[test]
fn the_repr_of_a_module_is_parsed() {
    let text = "Sequential(\n  (0): ConvUnit(\n    (conv): Conv2d(2, 6, kernel_size=(3, 3), bias=False)\n  )\n  (act): ReLU()\n)";
    let module = Module::parse(text);
    let [(zero, unit), (act, relu)] = &module.children[..] else { panic!("{module:?}") };
    assert_eq!((zero.as_str(), act.as_str(), relu.kind.as_str()), ("0", "act", "ReLU"));
    assert!(relu.arguments.is_empty() && unit.children.len() == 1);
    let arguments = &unit.children[0].1.arguments;
    let expected = [("0", "2"), ("1", "6"), ("bias", "False"), ("kernel_size", "(3, 3)")];
    assert!(arguments.iter().map(|(k, v)| (k.as_str(), v.as_str())).eq(expected), "{arguments:?}");
}
