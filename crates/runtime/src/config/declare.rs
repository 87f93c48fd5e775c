//! The declarations from which loader, flags and reference are generated.

/// Declares a configuration struct; see [`crate::config`] for an example.
///
/// `pub struct Name for "role" { ... }` declares a whole role, `pub struct Name { ... }` a nested table or a document.
/// A field is `pub name: Type = default,`; without a default it is required unless it is an `Option`, a `Vec` or a
/// nested table. Before it, in this order: its documentation, `#[key("other")]` when the key differs from the name,
/// `#[range("low", "high")]` (both included, as text), `#[check(function)]` with `fn(&Type) -> Result<(), Mistake>`.
/// `#[check(function)]` before the struct checks it as a whole; `#[flaws(function)]` before a role, with
/// `fn(&Self) -> Vec<Problem>`, holds its parts against one another and names the place of each mistake.
#[macro_export]
macro_rules! config {
    (
        $(#[doc = $about:expr])+
        $(#[derive($($derive:path),+ $(,)?)])?
        $(#[check($whole:path)])?
        $(#[flaws($flaws:path)])?
        $vis:vis struct $name:ident $(for $role:literal)? {
            $(
                $(#[doc = $doc:expr])+
                $(#[key($key:literal)])?
                $(#[range($low:literal, $high:literal)])?
                $(#[check($check:path)])?
                $field_vis:vis $field:ident : $ty:ty $(= $default:literal)?
            ),* $(,)?
        }
    ) => {
        $(#[doc = $about])+
        #[derive(Debug, Clone $(, $($derive),+)?)]
        $vis struct $name {
            $( $(#[doc = $doc])+ $field_vis $field: $ty, )*
        }

        impl $name {
            /// The declared options, in the order of the fields.
            fn declared_options() -> ::std::vec::Vec<$crate::config::OptionSpec> {
                ::std::vec![$(
                    $crate::config::OptionSpec {
                        key: $crate::config!(@key $field $($key)?),
                        doc: $crate::config::OptionSpec::doc_line(&[$($doc),+]),
                        default: $crate::config!(@text $($default)?),
                        range: $crate::config!(@range $($low, $high)?),
                        required: $crate::config!(@text $($default)?).is_none()
                            && <$ty as $crate::config::Field>::REQUIRED,
                        shape: <$ty as $crate::config::Field>::shape(),
                    }
                ),*]
            }
        }

        impl $crate::config::Field for $name {
            const REQUIRED: bool = false;

            fn shape() -> $crate::config::Shape {
                $crate::config::Shape::Table(Self::declared_options())
            }

            fn about() -> ::std::string::String {
                $crate::config::OptionSpec::doc_line(&[$($about),+])
            }

            fn read(
                given: $crate::config::Given<'_>,
                at: &$crate::config::Place,
                problems: &mut $crate::config::Problems,
            ) -> ::std::option::Option<Self> {
                let table = problems.table(given, at, &Self::declared_options())?;
                // Every field is read before the first one that failed ends the reading: all mistakes are wanted.
                $(
                    let $field = table.field::<$ty>(
                        $crate::config!(@key $field $($key)?),
                        $crate::config!(@text $($default)?),
                        |_value: &$ty| {
                            $( $crate::config::Ranged::within(_value, ::std::concat!($low), ::std::concat!($high))?; )?
                            $( $check(_value)?; )?
                            ::std::result::Result::Ok(())
                        },
                        problems,
                    );
                )*
                table.whole(
                    Self { $( $field: $field? ),* },
                    |_whole: &Self| { $( $whole(_whole)?; )? ::std::result::Result::Ok(()) },
                    problems,
                )
            }
        }

        $crate::config!(@role $name [$($role)?] [$($flaws)?]);
    };
    (@role $name:ident [] []) => {};
    (@role $name:ident [$role:literal] [$($flaws:path)?]) => {
        impl $crate::config::Role for $name {
            const ROLE: &'static str = $role;

            $(
                fn flaws(&self) -> ::std::vec::Vec<$crate::config::Problem> {
                    $flaws(self)
                }
            )?
        }
    };
    (@key $field:ident $key:literal) => { $key };
    (@key $field:ident) => { ::std::stringify!($field) };
    (@text $text:literal) => { ::std::option::Option::<&'static str>::Some(::std::concat!($text)) };
    (@text) => { ::std::option::Option::<&'static str>::None };
    (@range $low:literal, $high:literal) => { ::std::option::Option::Some((::std::concat!($low), ::std::concat!($high))) };
    (@range) => { ::std::option::Option::None };
}

/// Declares an enum that an option can hold: `pub enum Name { /// doc  Variant = "text", ... }`.
#[macro_export]
macro_rules! choice {
    (
        $(#[$meta:meta])*
        $vis:vis enum $name:ident {
            $( $(#[$variant_meta:meta])* $variant:ident = $text:literal ),+ $(,)?
        }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        $vis enum $name {
            $( $(#[$variant_meta])* $variant, )+
        }

        impl $name {
            /// Every choice with its text, in the order of the declaration.
            pub const ALL: &'static [(Self, &'static str)] = &[$( (Self::$variant, $text) ),+];

            /// The text of the choice.
            pub const fn as_str(self) -> &'static str {
                match self { $( Self::$variant => $text ),+ }
            }
        }

        impl ::std::fmt::Display for $name {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl $crate::config::Scalar for $name {
            const PLACEHOLDER: &'static str = $crate::choice!(@join $($text)+);

            fn kind() -> ::std::string::String {
                let texts: ::std::vec::Vec<_> = Self::ALL.iter().map(|(_, text)| ::std::format!("`{text}`")).collect();
                texts.join(" or ")
            }

            fn from_text(text: &str) -> ::std::result::Result<Self, $crate::config::Mistake> {
                Self::ALL.iter().find(|(_, known)| *known == text).map(|(choice, _)| *choice).ok_or_else(|| {
                    $crate::config::Mistake::new(
                        ::std::format!("is {text:?}, which is no choice here"),
                        ::std::format!("use {}", <Self as $crate::config::Scalar>::kind()),
                    )
                })
            }
        }
    };
    (@join $first:literal $($rest:literal)*) => { ::std::concat!($first $(, "|", $rest)*) };
}
