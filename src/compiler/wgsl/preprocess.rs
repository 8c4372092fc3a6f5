//! Expands `#import`, `#if` and `#for`.

use std::collections::BTreeMap;

use crate::{Error, Result};

/// Names that a permutation gives to its shader: tile sizes, and flags (1 is on).
pub type Definitions = BTreeMap<&'static str, u32>;

type Variables<'a> = BTreeMap<&'a str, u32>;

/// Imports may nest this deep; more means a cycle.
const MAX_DEPTH: usize = 8;

struct Expander<'a> {
    find: &'a dyn Fn(&str) -> Option<&'static str>,
    out: String,
}

/// Expands `text`, finding imports with `find`.
pub fn expand(
    name: &str,
    text: &str,
    definitions: &Definitions,
    find: &dyn Fn(&str) -> Option<&'static str>,
) -> Result<String> {
    let mut expander = Expander { find, out: String::new() };
    let variables = definitions.iter().map(|(k, v)| (*k, *v)).collect();
    expander.file(name, text, &variables, 0)?;
    Ok(expander.out)
}

impl Expander<'_> {
    fn file(&mut self, name: &str, text: &str, vars: &Variables, depth: usize) -> Result<()> {
        if depth > MAX_DEPTH {
            return Err(fail(name, 0, "imports are nested too deep; is there a cycle?"));
        }
        let lines: Vec<&str> = text.lines().collect();
        self.lines(name, &lines, 0, vars, depth)
    }

    /// Expands whole lines; `first` is the number of lines before them in the file.
    fn lines(
        &mut self,
        name: &str,
        lines: &[&str],
        first: usize,
        vars: &Variables,
        depth: usize,
    ) -> Result<()> {
        let mut at = 0;
        while at < lines.len() {
            let line = lines[at];
            let error = |problem: &str| fail(name, first + at + 1, problem);
            let words: Vec<&str> = line.split_whitespace().collect();
            match words.first().copied() {
                Some("#import") => {
                    let file = words.get(1).ok_or_else(|| error("#import needs a name"))?;
                    let text = (self.find)(file)
                        .ok_or_else(|| error(&format!("there is no shaders/{file}.wgsl")))?;
                    self.file(file, text, vars, depth + 1)?;
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
                    let body = &lines[at + range.start..at + range.end];
                    self.lines(name, body, first + at + range.start, vars, depth)?;
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
                        self.lines(name, &lines[at + 1..at + end], first + at + 1, &inner, depth)?;
                    }
                    at += end + 1;
                }
                Some(word) if word.starts_with('#') => {
                    return Err(error(&format!("unexpected {word}")));
                }
                _ => {
                    self.substitute(line, vars).map_err(|problem| error(&problem))?;
                    at += 1;
                }
            }
        }
        Ok(())
    }

    /// Appends a line with each `${expression}` replaced.
    fn substitute(&mut self, line: &str, vars: &Variables) -> Result<(), String> {
        let mut rest = line;
        while let Some((before, after)) = rest.split_once("${") {
            let (expression, after) = after.split_once('}').ok_or("`${` without `}`")?;
            self.out.push_str(before);
            self.out.push_str(&value(expression, vars)?.to_string());
            rest = after;
        }
        self.out.push_str(rest);
        self.out.push('\n');
        Ok(())
    }
}

/// The value of an expression of numbers and variables with `+ - * / %` and parentheses.
fn value(expression: &str, vars: &Variables) -> Result<u32, String> {
    let mut rest = expression.trim();
    let value = sum(&mut rest, vars)?;
    let left = format!("`{expression}` does not end before `{rest}`");
    if rest.is_empty() { Ok(value) } else { Err(left) }
}

/// Takes a token of which `is` holds from the front of `rest`.
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

fn fail(name: &str, line: usize, problem: &str) -> Error {
    Error::Shader { name: name.to_owned(), problem: format!("line {line}: {problem}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(text: &str, definitions: &[(&'static str, u32)]) -> Result<String> {
        let find = |name: &str| match name {
            "shared" => Some("shared ${N}"),
            "loop" => Some("#import loop"),
            _ => None,
        };
        expand("test", text, &definitions.iter().copied().collect(), &find)
    }

    #[test]
    fn expands_every_directive() {
        let text = "#import shared\n#if A\na\n#else\nb\n#endif\n#for i in 0..N\n#for j in 1..3\nx${i}_${j}\n#endfor\n#endfor\n#if !A\nc\n#endif";
        assert_eq!(
            run(text, &[("N", 2), ("A", 1)]).unwrap(),
            "shared 2\na\nx0_1\nx0_2\nx1_1\nx1_2\n"
        );
        assert_eq!(run(text, &[("N", 0)]).unwrap(), "shared 0\nb\nc\n");
        let sums = "#for i in N-1..2*N-1\n${10*i+3-N} ${7-1-2} ${(7*i+ 1)/(1+N) %N}\n#endfor";
        assert_eq!(run(sums, &[("N", 2)]).unwrap(), "11 4 0\n21 4 1\n");
    }

    #[test]
    fn a_mistake_names_file_and_line() {
        for (text, expected) in [
            ("ok\n#if A", "line 2: #if without #endif"),
            ("#for i in 0..M\n#endfor", "line 1: loop bounds"),
            ("#import nothing", "no shaders/nothing.wgsl"),
            ("#import loop", "cycle"),
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
