//! What messages name that a program and a command line call differently.
//!
//! The library says "`lr` must be a positive number", its command line "--lr must be a positive
//! number". So a [`Message`] keeps such names as [`Hint`]s, and who shows it chooses the words.

use std::borrow::Cow;
use std::fmt;

/// Something that can be given or done, as data.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Hint {
    /// An option, by its name in recipes.
    Option(&'static str),
    /// An option with a value.
    Set(&'static str, Cow<'static, str>),
    /// A command with its arguments, and options with their values.
    Command(Cow<'static, str>, Vec<(&'static str, String)>),
}

impl Hint {
    /// An option with a value.
    pub fn set(option: &'static str, value: impl fmt::Display) -> Self {
        Self::Set(option, value.to_string().into())
    }

    /// A command, such as `data fetch cifar10`, without options.
    pub const fn command(command: &'static str) -> Self {
        Self::Command(Cow::Borrowed(command), Vec::new())
    }
}

/// As the library words it: options are called as its fields are.
impl fmt::Display for Hint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Option(name) => write!(f, "`{}`", name.replace('-', "_")),
            Self::Set(name, value) => write!(f, "`{}` {value}", name.replace('-', "_")),
            Self::Command(command, options) => {
                write!(f, "`{command}` on the command line")?;
                let all: Vec<_> =
                    options.iter().map(|(name, value)| format!("{name} {value}")).collect();
                if all.is_empty() { Ok(()) } else { write!(f, " ({})", all.join(", ")) }
            }
        }
    }
}

/// A part of a message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Part {
    /// The same for everybody.
    Text(Cow<'static, str>),
    /// What each says in its own way.
    Hint(Hint),
}

impl Part {
    /// A text that is known beforehand.
    pub const fn text(text: &'static str) -> Self {
        Self::Text(Cow::Borrowed(text))
    }
}

/// A line for people. [`message!`](crate::base::hint::message) makes one.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Message(Vec<Part>);

impl Message {
    /// The message with more at its end.
    pub fn and(mut self, more: impl Into<Self>) -> Self {
        self.0.extend(more.into().0);
        self
    }

    /// All of them in a line.
    pub fn listed(all: &[Self]) -> Self {
        let join = |line: Option<Self>, next: &Self| match line {
            Some(line) => Some(line.and("; ").and(next.clone())),
            None => Some(next.clone()),
        };
        all.iter().fold(None, join).unwrap_or_default()
    }

    /// The message with its hints in the words of `say`.
    pub fn worded(&self, say: &dyn Fn(&Hint) -> String) -> String {
        let word = |part: &Part| match part {
            Part::Text(text) => text.to_string(),
            Part::Hint(hint) => say(hint),
        };
        self.0.iter().map(word).collect()
    }
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.worded(&Hint::to_string))
    }
}

impl From<String> for Message {
    fn from(text: String) -> Self {
        Self(vec![Part::Text(text.into())])
    }
}

impl From<&str> for Message {
    fn from(text: &str) -> Self {
        text.to_owned().into()
    }
}

impl From<Hint> for Message {
    fn from(hint: Hint) -> Self {
        Self(vec![Part::Hint(hint)])
    }
}

impl From<&[Part]> for Message {
    fn from(parts: &[Part]) -> Self {
        Self(parts.to_vec())
    }
}

/// Makes a [`Message`] of texts, hints and other messages.
macro_rules! message {
    ($($part:expr),+ $(,)?) => {
        $crate::base::hint::Message::default()$(.and($part))+
    };
}

pub(crate) use message;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hints_are_worded_by_who_shows_them() {
        let fetch = Hint::Command("data fetch x".into(), vec![("to", "there".to_owned())]);
        let message = message![
            Hint::Option("weight-decay"),
            format!(" is {}; ", 1),
            Hint::set("lr", 0.5),
            " or ",
            fetch
        ];
        assert_eq!(
            message.to_string(),
            "`weight_decay` is 1; `lr` 0.5 or `data fetch x` on the command line (to there)"
        );
        let terse = |hint: &Hint| match hint {
            Hint::Option(name) | Hint::Set(name, _) => name.to_string(),
            Hint::Command(command, _) => command.to_string(),
        };
        assert_eq!(message.worded(&terse), "weight-decay is 1; lr or data fetch x");
    }
}
