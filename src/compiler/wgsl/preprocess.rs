//! Expands `#import`, `#if` and `#for`.

use std::collections::BTreeMap;

use super::{Composed, Source};
use crate::{Error, Result};

/// Definitions of a permutation: tile sizes, and flags (1 is on).
pub type Definitions = BTreeMap<&'static str, u32>;

type Variables<'a> = BTreeMap<&'a str, u32>;

struct Expander<'a> {
    sources: &'a [Source],
    out: Composed,
    /// Paths of imported files.
    imported: Vec<&'static str>,
    /// Number of open braces.
    depth: i32,
}

/// Expands `source`, which may import others of `sources`.
pub fn expand(source: Source, definitions: &Definitions, sources: &[Source]) -> Result<Composed> {
    let out = Composed { wgsl: String::new(), origins: Vec::new() };
    let mut expander = Expander { sources, out, imported: Vec::new(), depth: 0 };
    let extensions = [("F16", "f16"), ("COOPERATIVE", "wgpu_cooperative_matrix")];
    for (flag, extension) in extensions {
        if definitions.get(flag).is_some_and(|value| *value != 0) {
            expander.line(&format!("enable {extension};"), None);
        }
    }
    for (name, value) in definitions {
        expander.line(&format!("const {name}: u32 = {value}u;"), None);
    }
    let variables = definitions.iter().map(|(name, value)| (*name, *value)).collect();
    expander.file(source, &variables)?;
    Ok(expander.out)
}

/// A file, or some of its lines.
#[derive(Clone, Copy)]
struct Lines<'a> {
    path: &'static str,
    lines: &'a [&'static str],
    /// Lines before them in the file.
    first: usize,
}

impl Lines<'_> {
    fn range(&self, range: std::ops::Range<usize>) -> Self {
        Self { lines: &self.lines[range.clone()], first: self.first + range.start, ..*self }
    }

    fn fail(&self, at: usize, problem: &str) -> Error {
        let line = self.first + at + 1;
        Error::Shader { name: self.path.to_owned(), problem: format!("line {line}: {problem}") }
    }
}

impl Expander<'_> {
    fn line(&mut self, line: &str, origin: Option<(&'static str, usize)>) {
        let code = line.split("//").next().unwrap_or_default();
        self.depth += code.matches('{').count() as i32 - code.matches('}').count() as i32;
        self.out.wgsl.push_str(line);
        self.out.wgsl.push('\n');
        self.out.origins.push(origin);
    }

    fn file(&mut self, source: Source, vars: &Variables) -> Result<()> {
        self.imported.push(source.path);
        let lines: Vec<&'static str> = source.text.lines().collect();
        let lines = Lines { path: source.path, lines: &lines, first: 0 };
        self.lines(lines, vars)
    }

    fn lines(&mut self, from: Lines, vars: &Variables) -> Result<()> {
        let lines = from.lines;
        let mut at = 0;
        while at < lines.len() {
            let error = |problem: &str| from.fail(at, problem);
            let words: Vec<&str> = lines[at].split_whitespace().collect();
            match words.first().copied() {
                Some("#import") => {
                    let path = words.get(1).ok_or_else(|| error("#import needs a name"))?;
                    let source = self.sources.iter().find(|source| source.path == *path);
                    let source = *source
                        .ok_or_else(|| error(&format!("there is no shaders/{path}.wgsl")))?;
                    if self.depth != 0 {
                        return Err(error("#import stands outside of functions and types"));
                    }
                    if !self.imported.contains(&source.path) {
                        self.file(source, vars)?;
                    }
                    at += 1;
                }
                Some("#if") => {
                    let (middle, end) = matching(&lines[at..], "#if", "#endif")
                        .ok_or_else(|| error("#if without #endif"))?;
                    let flag = words.get(1).ok_or_else(|| error("#if needs a name"))?;
                    let on = |flag: &str| vars.get(flag).is_some_and(|v| *v != 0);
                    let holds = flag.strip_prefix('!').map_or_else(|| on(flag), |f| !on(f));
                    let range = if holds {
                        1..middle.unwrap_or(end)
                    } else {
                        middle.unwrap_or(end - 1) + 1..end
                    };
                    self.balanced(from.range(at + range.start..at + range.end), vars)?;
                    at += end + 1;
                }
                Some("#for") => {
                    let (_, end) = matching(&lines[at..], "#for", "#endfor")
                        .ok_or_else(|| error("#for without #endfor"))?;
                    let [_, variable, "in", bounds] = words[..] else {
                        return Err(error("expected `#for name in A..B`"));
                    };
                    let (low, high) = bounds
                        .split_once("..")
                        .and_then(|(a, b)| Some((value(a, vars).ok()?, value(b, vars).ok()?)))
                        .ok_or_else(|| error("loop bounds must be numbers or definitions"))?;
                    for value in low..high {
                        let mut inner = vars.clone();
                        inner.insert(variable, value);
                        self.balanced(from.range(at + 1..at + end), &inner)?;
                    }
                    at += end + 1;
                }
                Some(word) if word.starts_with('#') => {
                    return Err(error(&format!("unexpected {word}")));
                }
                _ => {
                    let line = substitute(lines[at], vars).map_err(|problem| error(&problem))?;
                    self.line(&line, Some((from.path, from.first + at + 1)));
                    at += 1;
                }
            }
        }
        Ok(())
    }

    /// Expands the lines between two directives. Their braces must balance, so that the file is well formed
    /// with and without them.
    fn balanced(&mut self, body: Lines, vars: &Variables) -> Result<()> {
        let depth = self.depth;
        self.lines(body, vars)?;
        match self.depth == depth {
            true => Ok(()),
            false => Err(body.fail(0, "braces do not match up to the next directive")),
        }
    }
}

/// A line with each `${expression}` replaced.
fn substitute(line: &str, vars: &Variables) -> Result<String, String> {
    let mut out = String::with_capacity(line.len());
    let mut rest = line;
    while let Some((before, after)) = rest.split_once("${") {
        let (expression, after) = after.split_once('}').ok_or("`${` without `}`")?;
        out.push_str(before);
        out.push_str(&value(expression, vars)?.to_string());
        rest = after;
    }
    out.push_str(rest);
    Ok(out)
}

/// The value of an expression of numbers and variables with `+ - * / %` and parentheses.
fn value(expression: &str, vars: &Variables) -> Result<u32, String> {
    let mut rest = expression.trim();
    let value = sum(&mut rest, vars)?;
    let left = format!("`{expression}` does not end before `{rest}`");
    if rest.is_empty() { Ok(value) } else { Err(left) }
}

/// Takes a token of characters for which `is` holds from the front of `rest`.
fn take<'a>(rest: &mut &'a str, is: impl Fn(char) -> bool) -> Option<&'a str> {
    let end = rest.find(|c| !is(c)).unwrap_or(rest.len());
    let (token, after) = rest.split_at(end);
    *rest = after.trim_start();
    (end > 0).then_some(token)
}

fn operator(rest: &mut &str, among: &str) -> Option<char> {
    let found = rest.chars().next().filter(|c| among.contains(*c))?;
    *rest = rest[1..].trim_start();
    Some(found)
}

fn sum(rest: &mut &str, vars: &Variables) -> Result<u32, String> {
    let mut total = product(rest, vars)?;
    while let Some(sign) = operator(rest, "+-") {
        let next = product(rest, vars)?;
        let sum = if sign == '+' { total.checked_add(next) } else { total.checked_sub(next) };
        total = sum.ok_or_else(|| format!("`{total}{sign}{next}` is not between 0 and 2^32"))?;
    }
    Ok(total)
}

fn product(rest: &mut &str, vars: &Variables) -> Result<u32, String> {
    let mut total = factor(rest, vars)?;
    while let Some(sign) = operator(rest, "*/%") {
        let next = factor(rest, vars)?;
        let product = match sign {
            '*' => total.checked_mul(next),
            '/' => total.checked_div(next),
            _ => total.checked_rem(next),
        };
        total =
            product.ok_or_else(|| format!("`{total}{sign}{next}` is not between 0 and 2^32"))?;
    }
    Ok(total)
}

fn factor(rest: &mut &str, vars: &Variables) -> Result<u32, String> {
    if operator(rest, "(").is_some() {
        let inner = sum(rest, vars)?;
        return operator(rest, ")").map(|_| inner).ok_or_else(|| "`(` without `)`".to_owned());
    }
    let name = take(rest, |c| c.is_alphanumeric() || c == '_').unwrap_or_default();
    let number = name.parse().ok().or_else(|| vars.get(name).copied());
    number.ok_or_else(|| format!("`{name}` is not defined"))
}

/// Finds the line that closes the directive on line 0, and its `#else` if it has one.
fn matching(lines: &[&str], open: &str, close: &str) -> Option<(Option<usize>, usize)> {
    let mut depth = 0;
    let mut middle = None;
    for (at, line) in lines.iter().enumerate() {
        match line.split_whitespace().next() {
            Some(word) if word == open => depth += 1,
            Some(word) if word == close => depth -= 1,
            Some("#else") if depth == 1 => middle = Some(at),
            _ => {}
        }
        if depth == 0 {
            return Some((middle, at));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(text: &'static str, definitions: &[(&'static str, u32)]) -> Result<String> {
        let sources = [
            Source { path: "test", text },
            Source { path: "folder/shared", text: "shared ${N}" },
            Source { path: "loop", text: "#import loop\nonce" },
        ];
        let definitions = definitions.iter().copied().collect();
        expand(sources[0], &definitions, &sources).map(|composed| {
            let constants = definitions.len();
            composed.wgsl.split_inclusive('\n').skip(constants).collect()
        })
    }

    #[test]
    fn expands_every_directive() {
        let text = "#import folder/shared\n#if A\na\n#else\nb\n#endif\n#for i in 0..N\n#for j in 1..3\nx${i}_${j}\n#endfor\n#endfor\n#if !A\nc\n#endif";
        assert_eq!(
            run(text, &[("N", 2), ("A", 1)]).unwrap(),
            "shared 2\na\nx0_1\nx0_2\nx1_1\nx1_2\n"
        );
        assert_eq!(run(text, &[("N", 0)]).unwrap(), "shared 0\nb\nc\n");
        let sums = "#for i in N-1..2*N-1\n${10*i+3-N} ${7-1-2} ${(7*i+ 1)/(1+N) %N}\n#endfor";
        assert_eq!(run(sums, &[("N", 2)]).unwrap(), "11 4 0\n21 4 1\n");
    }

    #[test]
    fn a_file_is_imported_once() {
        assert_eq!(run("#import loop\n#import loop\nend", &[]).unwrap(), "once\nend\n");
    }

    #[test]
    fn definitions_are_constants() {
        let sources = [Source { path: "test", text: "x" }];
        let definitions = [("N", 2), ("F16", 1)].into();
        let composed = expand(sources[0], &definitions, &sources).unwrap();
        let expected = "enable f16;\nconst F16: u32 = 1u;\nconst N: u32 = 2u;\nx\n";
        assert_eq!(composed.wgsl, expected);
    }

    #[test]
    fn every_line_has_its_source_file_and_line() {
        let shared = "fn shared() {\n#for i in 0..2\n    ${i}\n#endfor\n}";
        let sources = [
            Source { path: "test", text: "// Doc.\n#import shared\nend" },
            Source { path: "shared", text: shared },
        ];
        let composed = expand(sources[0], &[("N", 2)].into(), &sources).unwrap();
        let origins: Vec<_> = (0..8).map(|line| composed.origin(line)).collect();
        let shared = |line| Some(("shared", line));
        let inside = [shared(1), shared(3), shared(3), shared(5)];
        assert_eq!(origins[..3], [None, None, Some(("test", 1))]);
        assert_eq!(origins[3..7], inside);
        assert_eq!(origins[7], Some(("test", 3)));
        assert_eq!(composed.origin(8), None);
    }

    #[test]
    fn errors_name_file_and_line() {
        for (text, expected) in [
            ("ok\n#if A", "line 2: #if without #endif"),
            ("#for i in 0..M\n#endfor", "line 1: loop bounds"),
            ("#import nothing", "no shaders/nothing.wgsl"),
            ("fn f() {\n#import loop\n}", "line 2: #import stands outside of functions"),
            ("#for i in 0..2\n{\n#endfor", "line 2: braces do not match"),
            ("#if !A\n}\n#endif", "line 2: braces do not match"),
            ("a\n\n${x}", "line 3: `x` is not defined"),
            ("#endif", "unexpected #endif"),
            ("${1-2}", "line 1: `1-2` is not between"),
            ("${1/0}", "line 1: `1/0` is not between"),
            ("${(1}", "line 1: `(` without `)`"),
            ("${1 2}", "line 1: `1 2` does not end before `2`"),
            ("#if A\n#else\n${y}\n#endif", "line 3"),
        ] {
            let message = run(text, &[]).unwrap_err().to_string();
            assert!(message.contains(expected), "{message}");
        }
    }
}
