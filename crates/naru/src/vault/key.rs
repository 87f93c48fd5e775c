//! `naru vault key`: the keys of a field.

use std::path::PathBuf;
use std::process::ExitCode;

use naru_runtime::causes::with_causes;
use naru_runtime::clocks::{SystemClock, WallClock as _};
use naru_vault::keys;
use naru_vault::token::{Alphabet, Kind};

/// Arguments of `naru vault key`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

/// What can be done with keys.
#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Make the first key of a field
    Add {
        /// Directory of the fields' keys, as in the vault's configuration
        #[arg(long, value_name = "PATH")]
        keys: PathBuf,
        /// The field's name: columns whose tokens can be joined share a field
        #[arg(long, value_name = "NAME")]
        field: String,
        /// A kind of token that may be made of it: hmac, ff1 or siv; may be repeated
        #[arg(long = "kind", value_name = "KIND", required = true, value_parser = kind)]
        kinds: Vec<Kind>,
        /// What tokens of ff1 are made of: digits or alphanumeric
        #[arg(long, value_name = "ALPHABET", default_value = "digits", value_parser = alphabet)]
        alphabet: Alphabet,
    },
    /// Make a new version, which new tokens are made by; a running vault reads it at its next start
    Rotate {
        /// Directory of the fields' keys, as in the vault's configuration
        #[arg(long, value_name = "PATH")]
        keys: PathBuf,
        /// The field's name
        #[arg(long, value_name = "NAME")]
        field: String,
    },
}

fn kind(text: &str) -> Result<Kind, String> {
    match text {
        "hmac" => Ok(Kind::Hmac),
        "ff1" => Ok(Kind::Ff1),
        "siv" => Ok(Kind::Siv),
        _ => Err("use hmac, ff1 or siv".to_owned()),
    }
}

fn alphabet(text: &str) -> Result<Alphabet, String> {
    match text {
        "digits" => Ok(Alphabet::Digits),
        "alphanumeric" => Ok(Alphabet::Alphanumeric),
        _ => Err("use digits or alphanumeric".to_owned()),
    }
}

/// Does it, and says which version is the newest.
pub fn run(args: &Args) -> ExitCode {
    let now = SystemClock::new().unix_ms();
    let done = match &args.verb {
        Verb::Add { keys, field, kinds, alphabet } => {
            keys::add(keys, field, kinds, *alphabet, now).map(|()| format!("field {field}: version 1"))
        }
        Verb::Rotate { keys, field } => {
            keys::rotate(keys, field, now).map(|version| format!("field {field}: version {version}"))
        }
    };
    match done {
        Ok(said) => {
            println!("{said}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("naru vault key: {}", with_causes(&error));
            ExitCode::FAILURE
        }
    }
}
