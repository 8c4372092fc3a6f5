//! The library's messages with options and commands as a user types them.

use crate::Error;
use crate::base::hint::{Hint, Message};

/// The message of an error, with its hints as options and commands to type.
pub fn error(error: &Error) -> String {
    error.worded(&typed)
}

/// The same for any other message.
pub fn message(message: &Message) -> String {
    message.worded(&typed)
}

fn typed(hint: &Hint) -> String {
    match hint {
        Hint::Option(name) => format!("--{name}"),
        Hint::Set(name, value) => format!("--{name} {value}"),
        Hint::Command(command, options) => {
            let options = options.iter().map(|(name, value)| format!(" --{name} {value}"));
            format!("`sff {command}{}`", options.collect::<String>())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::hint::message;

    #[test]
    fn hints_can_be_typed() {
        let import = Hint::Command("import w".into(), vec![("arch", "cnn".to_owned())]);
        let advice = message![import, " or ", Hint::set("data", "x"), " or ", Hint::Option("lr")];
        assert_eq!(message(&advice), "`sff import w --arch cnn` or --data x or --lr");
        assert_eq!(error(&Error::usage(advice.clone())), message(&advice));
        let stopped = Error::Stopped {
            source: Box::new(Error::NotFinite {
                what: "w".into(),
                value: f32::NAN,
                step: 1,
                epoch: 1,
            }),
            kept: "kept".into(),
        };
        assert!(error(&stopped).ends_with("try a lower --lr; kept"));
        assert!(stopped.to_string().ends_with("try a lower `lr`; kept"));
    }
}
