//! The macro that makes structs from the list of options.

/// Makes from a list of options:
///
/// - `Recipe`: the options that a recipe file or the command line gives, all optional;
/// - a struct for each section with a name: the same for the options of this section;
/// - `Config`: the options that a run uses. An option with a default always has a value.
macro_rules! options {
    ($(
        $(#[$about:meta])*
        $(pub struct $group:ident)? {
            $(
                $(#[doc = $doc:literal])* #[arg($($arg:tt)*)]
                $name:ident: $type:ty $(= $default:expr)?,
            )*
        }
    )*) => {
        /// Options of a run; one that is not given has a default, which may depend on the others.
        #[derive(Clone, Default, PartialEq, Debug, serde::Serialize, serde::Deserialize, clap::Args)]
        #[serde(deny_unknown_fields, rename_all = "kebab-case")]
        pub struct Recipe {
            $($($(#[doc = $doc])* #[arg($($arg)*)] pub $name: Option<$type>,)*)*
        }

        $(options!(@group [$(#[$about])*] [$($group)?]
            $($(#[doc = $doc])* #[arg($($arg)*)] $name: $type,)*
        );)*

        /// The effective configuration: an option with a default has a value, and all names are
        /// checked.
        #[derive(Clone, PartialEq, Debug)]
        pub struct Config {
            $($($(#[doc = $doc])* pub(crate) $name: options!(@effective $type $(, $default)?),)*)*
            pub(super) checked: super::Checked,
        }

        impl Recipe {
            /// Options given in `self` replace those of `base`.
            pub fn over(self, base: Self) -> Self {
                Self { $($($name: self.$name.or(base.$name),)*)* }
            }

            /// Names of the options that are given here and differ in `other`.
            pub(super) fn differing(&self, other: &Self) -> Vec<&'static str> {
                let all = [$($((stringify!($name), self.$name.is_some() && self.$name != other.$name),)*)*];
                all.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| name).collect()
            }
        }

        impl Config {
            /// The given options, and defaults for the others.
            pub(super) fn of(given: Recipe, checked: super::Checked) -> Self {
                $($(let $name = options!(@fill given.$name $(, $default)?);)*)*
                Self { $($($name,)*)* checked }
            }

            /// The configuration as a recipe.
            pub fn recipe(&self) -> Recipe {
                let this = self.clone();
                Recipe { $($($name: options!(@given this.$name $(, $default)?),)*)* }
            }
        }
    };
    (@group $about:tt [] $($rest:tt)*) => {};
    (@group [$($about:tt)*] [$group:ident]
        $($(#[doc = $doc:literal])* #[arg($($arg:tt)*)] $name:ident: $type:ty,)*
    ) => {
        $($about)*
        #[derive(Clone, Default, PartialEq, Debug, clap::Args)]
        pub struct $group {
            $($(#[doc = $doc])* #[arg($($arg)*)] pub $name: Option<$type>,)*
        }

        impl From<$group> for Recipe {
            fn from(given: $group) -> Self {
                Self { $($name: given.$name,)* ..Self::default() }
            }
        }
    };
    (@effective $type:ty) => { Option<$type> };
    (@effective $type:ty, $default:expr) => { $type };
    (@fill $given:expr) => { $given };
    (@fill $given:expr, $default:expr) => { $given.unwrap_or_else(|| $default) };
    (@given $value:expr) => { $value };
    (@given $value:expr, $default:expr) => { Some($value) };
}

pub(super) use options;
