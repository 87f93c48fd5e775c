//! The options of a role as command-line flags.

use std::marker::PhantomData;
use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, Command};

use super::error::ConfigErrors;
use super::field::{Form, OptionSpec, Role, Shape, flag_name, variable_name};
use super::source::{Sources, leaves, process_environment};

/// What was given on the command line for a role's options. Use it as a variant of a `clap::Subcommand`, or flattened
/// into `clap::Args` that have more; then [`Flags::load`] makes the configuration.
#[derive(Debug, Clone)]
pub struct Flags<C> {
    config: Option<PathBuf>,
    given: Vec<(String, Vec<String>)>,
    role: PhantomData<fn() -> C>,
}

impl<C: Role> Flags<C> {
    /// Lays the flags over the process's environment and the file that `--config` names.
    ///
    /// # Errors
    /// Every mistake in every source; print them and exit with [`ConfigErrors::exit_code`].
    pub fn load(&self) -> Result<C, ConfigErrors> {
        self.over(Sources::default().environment(process_environment())).load()
    }

    /// The file that `--config` names, or the environment.
    pub fn file(&self) -> Option<PathBuf> {
        let variable = variable_name(C::ROLE, "config");
        let named = || process_environment().find(|(name, _)| *name == *variable).map(|(_, value)| value.into());
        self.config.clone().or_else(named)
    }

    /// Adds the flags, and the file that `--config` names, to other sources.
    pub fn over(&self, mut sources: Sources) -> Sources {
        if let Some(path) = &self.config {
            sources = sources.file(path);
        }
        self.given.iter().fold(sources, |sources, (key, values)| sources.flag_values(key, values.clone()))
    }
}

impl<C: Role> clap::FromArgMatches for Flags<C> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut flags = Self { config: None, given: Vec::new(), role: PhantomData };
        flags.update_from_arg_matches(matches)?;
        Ok(flags)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        if let Some(path) = matches.get_one::<PathBuf>("config") {
            self.config = Some(path.clone());
        }
        for (key, _) in leaves::<C>() {
            if let Some(values) = matches.get_many::<String>(&key) {
                self.given.push((key, values.cloned().collect()));
            }
        }
        Ok(())
    }
}

impl<C: Role> clap::Args for Flags<C> {
    fn augment_args(command: Command) -> Command {
        let config = Arg::new("config")
            .long("config")
            .value_name("FILE")
            .value_parser(clap::value_parser!(PathBuf))
            .help(format!("TOML file with these options [env: {}]", variable_name(C::ROLE, "config")));
        let command = command.arg(config);
        match C::shape() {
            Shape::Table(options) => add_all::<C>(command, "", &options),
            Shape::Leaf { .. } | Shape::Tables(_) => command,
        }
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

fn add_all<C: Role>(mut command: Command, prefix: &str, options: &[OptionSpec]) -> Command {
    for option in options {
        let key = if prefix.is_empty() { option.key.to_owned() } else { format!("{prefix}.{}", option.key) };
        command = match &option.shape {
            Shape::Leaf { placeholder, form, .. } => command.arg(flag::<C>(&key, option, placeholder, *form)),
            Shape::Table(options) => add_all::<C>(command, &key, options),
            Shape::Tables(_) => command,
        };
    }
    command
}

fn flag<C: Role>(key: &str, option: &OptionSpec, placeholder: &'static str, form: Form) -> Arg {
    let mut help = option.doc.trim_end_matches('.').to_owned();
    if let Some(default) = option.default {
        help.push_str(&format!(" [default: {default}]"));
    }
    help.push_str(&format!(" [env: {}]", variable_name(C::ROLE, key)));
    let arg = Arg::new(key.to_owned()).long(flag_name(key)).value_name(placeholder);
    let arg = match form {
        Form::One => arg.action(ArgAction::Set),
        Form::Switch => arg.action(ArgAction::Set).num_args(0..=1).require_equals(true).default_missing_value("true"),
        Form::List => arg.action(ArgAction::Append),
        Form::Secret => arg.long(format!("{}-file", flag_name(key))).action(ArgAction::Set),
    };
    arg.help(help)
}
