//! Types that one option holds.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use super::error::Mistake;
use super::quantity::{ByteSize, format_duration, parse_duration};

/// One value as it was written.
#[derive(Debug, Clone, PartialEq)]
pub enum Literal {
    /// Plain text from the environment, a flag or a default: it has no type of its own.
    Text(String),
    /// A TOML string.
    Str(String),
    /// A TOML integer.
    Int(i64),
    /// A TOML float.
    Float(f64),
    /// A TOML boolean.
    Bool(bool),
    /// A TOML date or time.
    Date(String),
}

impl Literal {
    /// What the value is, for a message.
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::Text(_) => "text",
            Self::Str(_) => "a string",
            Self::Int(_) => "an integer",
            Self::Float(_) => "a float",
            Self::Bool(_) => "a boolean",
            Self::Date(_) => "a date",
        }
    }
}

/// A type that one option can hold. Implement it for a domain type to use that type in a configuration.
pub trait Scalar: Sized {
    /// What is expected, for messages and the reference: `a duration such as 250ms`.
    fn kind() -> String;

    /// Stands for the value in `--help`: `ADDR`.
    const PLACEHOLDER: &'static str;

    /// Whether the flag may be given without a value.
    const SWITCH: bool = false;

    /// Reads plain text.
    ///
    /// # Errors
    /// A [`Mistake`] that says what is wrong with the text and what to write instead.
    fn from_text(text: &str) -> Result<Self, Mistake>;

    /// Reads a typed value of a file; a type that is not written as a TOML string overrides this.
    ///
    /// # Errors
    /// A [`Mistake`] that says what is wrong with the value and what to write instead.
    fn from_literal(literal: &Literal) -> Result<Self, Mistake> {
        match literal {
            Literal::Text(text) | Literal::Str(text) => Self::from_text(text),
            other => {
                Err(Mistake::new(format!("is {}", other.type_name()), format!("write {} in quotes", Self::kind())))
            }
        }
    }
}

/// A value that can be held against bounds written as text. Lists and options are held element by element.
pub trait Ranged {
    /// Whether the value lies within the bounds, both included.
    ///
    /// # Errors
    /// A [`Mistake`] naming the bounds.
    fn within(&self, low: &str, high: &str) -> Result<(), Mistake>;
}

impl<T: Scalar + PartialOrd> Ranged for T {
    fn within(&self, low: &str, high: &str) -> Result<(), Mistake> {
        if T::from_text(low).is_ok_and(|low| *self < low) {
            return Err(Mistake::new(format!("is below {low}"), format!("use a value from {low} to {high}")));
        }
        if T::from_text(high).is_ok_and(|high| *self > high) {
            return Err(Mistake::new(format!("is above {high}"), format!("use a value from {low} to {high}")));
        }
        Ok(())
    }
}

impl<T: Ranged> Ranged for Option<T> {
    fn within(&self, low: &str, high: &str) -> Result<(), Mistake> {
        self.iter().try_for_each(|value| value.within(low, high))
    }
}

impl<T: Ranged> Ranged for Vec<T> {
    fn within(&self, low: &str, high: &str) -> Result<(), Mistake> {
        self.iter().try_for_each(|value| value.within(low, high))
    }
}

/// Implements [`Scalar`] for integers; TOML holds 64 signed bits, text the whole range.
macro_rules! integers {
    ($($int:ty),+) => { $(
        impl Scalar for $int {
            const PLACEHOLDER: &'static str = "N";

            fn kind() -> String {
                "an integer".to_owned()
            }

            fn from_text(text: &str) -> Result<Self, Mistake> {
                text.parse().map_err(|_| {
                    let fix = format!("use an integer from {} to {}", Self::MIN, Self::MAX);
                    let what = match text.parse::<i128>() {
                        Ok(_) => format!("is {text}, out of range"),
                        Err(_) => format!("is {text:?}, not an integer"),
                    };
                    Mistake::new(what, fix)
                })
            }

            fn from_literal(literal: &Literal) -> Result<Self, Mistake> {
                match literal {
                    Literal::Text(text) => Self::from_text(text),
                    Literal::Int(value) => Self::from_text(&value.to_string()),
                    Literal::Str(text) if text.parse::<$int>().is_ok() => {
                        Err(Mistake::new("is a string", format!("write {text} without quotes")))
                    }
                    other => Err(Mistake::new(
                        format!("is {}", other.type_name()),
                        format!("use an integer from {} to {}", Self::MIN, Self::MAX),
                    )),
                }
            }
        }
    )+ };
}

integers!(u8, u16, u32, u64, usize, i8, i16, i32, i64);

impl Scalar for f64 {
    const PLACEHOLDER: &'static str = "X";

    fn kind() -> String {
        "a number".to_owned()
    }

    fn from_text(text: &str) -> Result<Self, Mistake> {
        match text.parse::<f64>() {
            Ok(value) if value.is_finite() => Ok(value),
            _ => Err(Mistake::new(format!("is {text:?}, not a finite number"), "use a number such as 0.5")),
        }
    }

    fn from_literal(literal: &Literal) -> Result<Self, Mistake> {
        match literal {
            Literal::Text(text) => Self::from_text(text),
            Literal::Int(value) => Self::from_text(&value.to_string()),
            Literal::Float(value) => Self::from_text(&value.to_string()),
            other => Err(Mistake::new(format!("is {}", other.type_name()), "use a number such as 0.5, without quotes")),
        }
    }
}

impl Scalar for bool {
    const PLACEHOLDER: &'static str = "true|false";
    const SWITCH: bool = true;

    fn kind() -> String {
        "`true` or `false`".to_owned()
    }

    fn from_text(text: &str) -> Result<Self, Mistake> {
        match text {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err(Mistake::new(format!("is {text:?}"), "use true or false")),
        }
    }

    fn from_literal(literal: &Literal) -> Result<Self, Mistake> {
        match literal {
            Literal::Text(text) => Self::from_text(text),
            Literal::Bool(value) => Ok(*value),
            other => Err(Mistake::new(format!("is {}", other.type_name()), "use true or false, without quotes")),
        }
    }
}

impl Scalar for String {
    const PLACEHOLDER: &'static str = "TEXT";

    fn kind() -> String {
        "text".to_owned()
    }

    fn from_text(text: &str) -> Result<Self, Mistake> {
        Ok(text.to_owned())
    }
}

impl Scalar for PathBuf {
    const PLACEHOLDER: &'static str = "PATH";

    fn kind() -> String {
        "a path".to_owned()
    }

    fn from_text(text: &str) -> Result<Self, Mistake> {
        if text.is_empty() {
            return Err(Mistake::new("is empty", "name a path; a relative one starts at the working directory"));
        }
        Ok(Self::from(text))
    }
}

impl Scalar for SocketAddr {
    const PLACEHOLDER: &'static str = "ADDR";

    fn kind() -> String {
        "an address such as 127.0.0.1:9092".to_owned()
    }

    fn from_text(text: &str) -> Result<Self, Mistake> {
        text.parse().map_err(|_| {
            let fix = match text.rsplit_once(':') {
                Some(("", port)) if port.parse::<u16>().is_ok() => {
                    format!(
                        "write the address too: 0.0.0.0:{port} for every interface, 127.0.0.1:{port} for this machine"
                    )
                }
                Some(("localhost", port)) => format!("write the number: 127.0.0.1:{port}"),
                None if text.parse::<IpAddr>().is_ok() => format!("add a port: {text}:9092"),
                _ => "use an IP address and a port, such as 127.0.0.1:9092 or [::1]:9092".to_owned(),
            };
            Mistake::new(format!("is {text:?}, not an IP address with a port"), fix)
        })
    }
}

/// A host name or address with a port, not yet resolved.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostPort {
    /// Host name or IP address, without the brackets of an IPv6 address.
    pub host: String,
    /// Port, never 0.
    pub port: u16,
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl Scalar for HostPort {
    const PLACEHOLDER: &'static str = "HOST:PORT";

    fn kind() -> String {
        "a host and port such as broker-1:9092".to_owned()
    }

    fn from_text(text: &str) -> Result<Self, Mistake> {
        let wrong = || {
            Mistake::new(
                format!("is {text:?}, not a host with a port"),
                "use HOST:PORT, such as broker-1:9092 or [::1]:9092",
            )
        };
        let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
        let port = port.parse::<u16>().ok().filter(|port| *port != 0).ok_or_else(wrong)?;
        let host = match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            Some(bare) => bare,
            None if host.contains(':') => return Err(wrong()),
            None => host,
        };
        if host.is_empty() || host.chars().any(|c| c.is_whitespace() || c == '/' || c == '@') {
            return Err(wrong());
        }
        Ok(Self { host: host.to_owned(), port })
    }
}

impl Scalar for Duration {
    const PLACEHOLDER: &'static str = "DURATION";

    fn kind() -> String {
        "a duration such as 250ms".to_owned()
    }

    fn from_text(text: &str) -> Result<Self, Mistake> {
        parse_duration(text)
    }

    fn from_literal(literal: &Literal) -> Result<Self, Mistake> {
        match literal {
            Literal::Text(text) | Literal::Str(text) => Self::from_text(text),
            Literal::Int(value) => Err(Mistake::new(
                "is an integer without a unit",
                format!("write the unit, in quotes: \"{value}ms\", \"{value}s\""),
            )),
            other => Err(Mistake::new(
                format!("is {}", other.type_name()),
                format!("write a duration in quotes, such as \"{}\"", format_duration(Duration::from_millis(250))),
            )),
        }
    }
}

impl Scalar for ByteSize {
    const PLACEHOLDER: &'static str = "SIZE";

    fn kind() -> String {
        "a size such as 64MiB".to_owned()
    }

    fn from_text(text: &str) -> Result<Self, Mistake> {
        Self::parse(text)
    }

    fn from_literal(literal: &Literal) -> Result<Self, Mistake> {
        match literal {
            Literal::Text(text) | Literal::Str(text) => Self::from_text(text),
            Literal::Int(value) => Err(Mistake::new(
                "is an integer without a unit",
                format!("write the unit, in quotes: \"{value}B\", \"64MiB\""),
            )),
            other => {
                Err(Mistake::new(format!("is {}", other.type_name()), "write a size in quotes, such as \"64MiB\""))
            }
        }
    }
}
