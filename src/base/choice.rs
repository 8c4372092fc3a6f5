//! Enums whose variants are chosen by name, on the command line and in files.

/// An enum whose variants have names.
pub trait Choice: Copy + Send + Sync + 'static {
    /// Every variant, its name, and what it means.
    const ALL: &'static [(Self, &'static str, &'static str)];

    /// The variant with this name.
    fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, known, _)| *known == name).map(|(variant, ..)| *variant)
    }

    /// All names.
    fn names() -> Vec<&'static str> {
        Self::ALL.iter().map(|(_, name, _)| *name).collect()
    }
}

/// Defines such an enum: variants with a doc comment and a name, and a default if there is one.
macro_rules! choice {
    (
        $(#[$meta:meta])*
        pub enum $name:ident $(: default $default:ident)? {
            $($(#[doc = $doc:literal])+ $variant:ident = $text:literal),* $(,)?
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
        pub enum $name {
            $($(#[doc = $doc])+ #[serde(rename = $text)] $variant),*
        }

        impl $crate::base::choice::Choice for $name {
            const ALL: &'static [(Self, &'static str, &'static str)] =
                &[$((Self::$variant, $text, concat!($($doc),+))),*];
        }

        $(impl Default for $name {
            fn default() -> Self {
                Self::$default
            }
        })?
    };
}

pub(crate) use choice;
