//! Where values come from, and how the sources are laid over one another.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::{ConfigErrors, Mistake, Origin, Problem};
use super::field::{
    Field, Form, Given, OptionSpec, Place, Problems, Role, Shape, flag_name, suggestion, variable_name, variable_prefix,
};
use super::scalar::Literal;

/// Most bytes of a configuration file: far above any that a person writes, and small enough to read at once.
pub const CONFIG_BYTES_MAX: u64 = 1 << 20;

/// The keys of a table.
pub(crate) type Table = BTreeMap<String, Entry>;

/// A key with its value.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) key_origin: Origin,
    pub(crate) node: Node,
}

/// A value with its place.
#[derive(Debug, Clone)]
pub struct Node {
    pub(crate) origin: Origin,
    pub(crate) value: Value,
}

impl Node {
    pub(crate) fn built_in(text: &str) -> Self {
        Self { origin: Origin::BuiltIn, value: Value::Literal(Literal::Text(text.to_owned())) }
    }
}

/// What a source holds at a key.
#[derive(Debug, Clone)]
pub(crate) enum Value {
    Literal(Literal),
    List(Vec<Node>),
    Table(Table),
}

impl Value {
    pub(crate) fn type_name(&self) -> &'static str {
        match self {
            Self::Literal(literal) => literal.type_name(),
            Self::List(_) => "a list",
            Self::Table(_) => "a table",
        }
    }
}

/// The process's environment: the only place of the project that reads it.
#[expect(clippy::disallowed_methods, reason = "this is the one place")]
pub fn process_environment() -> impl Iterator<Item = (OsString, OsString)> {
    std::env::vars_os()
}

/// Reads a typed document that is not a role's configuration (a scenario, say): no defaults from outside.
///
/// # Errors
/// Every mistake in the text.
pub fn read_document<T: Field>(path: impl AsRef<Path>, text: &str) -> Result<T, ConfigErrors> {
    let path: Arc<Path> = path.as_ref().into();
    let mut problems = Problems::default();
    let root = parse(&path, text, &mut problems);
    finish(&root, path.display().to_string(), problems)
}

/// The sources of a role's configuration, weakest first: file, environment, flags.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    file: Option<PathBuf>,
    document: Option<(PathBuf, String)>,
    environment: Vec<(OsString, OsString)>,
    flags: Vec<(String, Vec<String>)>,
}

impl Sources {
    /// Reads this TOML file.
    pub fn file(mut self, path: impl Into<PathBuf>) -> Self {
        self.file = Some(path.into());
        self
    }

    /// Takes this text as the file, under the given name.
    pub fn document(mut self, name: impl Into<PathBuf>, text: impl Into<String>) -> Self {
        self.document = Some((name.into(), text.into()));
        self
    }

    /// Takes these variables; those without the role's prefix are passed over.
    pub fn environment<K: Into<OsString>, V: Into<OsString>>(
        mut self,
        variables: impl IntoIterator<Item = (K, V)>,
    ) -> Self {
        self.environment.extend(variables.into_iter().map(|(name, value)| (name.into(), value.into())));
        self
    }

    /// Takes a flag's value by the dotted key of its option.
    pub fn flag(self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.flag_values(key, vec![value.into()])
    }

    pub(crate) fn flag_values(mut self, key: impl Into<String>, values: Vec<String>) -> Self {
        self.flags.push((key.into(), values));
        self
    }

    /// Lays the sources over one another, reads the struct and checks it.
    ///
    /// # Errors
    /// Every mistake in every source.
    pub fn load<C: Role>(self) -> Result<C, ConfigErrors> {
        let mut problems = Problems { role: Some(C::ROLE), ..Problems::default() };
        let leaves = leaves::<C>();
        let (named_file, variables) = self.variables(C::ROLE, &leaves, &mut problems.found);
        let mut root = match (self.document, self.file.or(named_file)) {
            (Some((path, text)), _) => parse(&path.into(), &text, &mut problems),
            (None, Some(path)) => read_file(&path.into(), &mut problems),
            (None, None) => empty(Origin::BuiltIn),
        };
        for (key, node) in variables {
            overlay(&mut root, &key, node);
        }
        for (key, values) in self.flags {
            let Some((_, form)) = leaves.iter().find(|(leaf, _)| *leaf == key) else {
                let known: Vec<&str> = leaves.iter().map(|(leaf, _)| leaf.as_str()).collect();
                let mistake = Mistake::new("is not a known key", suggestion(&key, &known));
                problems.found.push(Problem { origin: Origin::Flag { flag: flag_name(&key) }, key, mistake });
                continue;
            };
            let suffix = if *form == Form::Secret { "-file" } else { "" };
            let origin = Origin::Flag { flag: format!("--{}{suffix}", flag_name(&key)) };
            let node = Node { origin, value: Value::Literal(Literal::Text(values.join(","))) };
            let node = if *form == Form::Secret { secret_file(node) } else { node };
            overlay(&mut root, &key, node);
        }
        finish_with(&root, format!("`naru {}`", C::ROLE), problems, C::flaws)
    }

    /// The role's variables as keys and values, and the file that one of them may name.
    fn variables(
        &self,
        role: &str,
        leaves: &[(String, Form)],
        problems: &mut Vec<Problem>,
    ) -> (Option<PathBuf>, Vec<(String, Node)>) {
        let prefix = variable_prefix(role);
        let config_variable = format!("{prefix}CONFIG");
        let mut named: BTreeMap<String, (&str, bool)> = BTreeMap::new();
        for (key, form) in leaves {
            named.insert(variable_name(role, key), (key, false));
            if *form == Form::Secret {
                named.insert(variable_name(role, &format!("{key}_file")), (key, true));
            }
        }
        let (mut config, mut found) = (None, Vec::new());
        for (variable, value) in &self.environment {
            let Some(variable) = variable.to_str().filter(|name| name.starts_with(&prefix)) else { continue };
            if *variable == config_variable {
                config = Some(PathBuf::from(value));
                continue;
            }
            let origin = Origin::Environment { variable: variable.to_owned() };
            let refuse = |key: &str, what: &str, fix: String| Problem {
                origin: origin.clone(),
                key: key.to_owned(),
                mistake: Mistake::new(what, fix),
            };
            let Some((key, is_file)) = named.get(variable) else {
                if !made_by_kubernetes(variable.trim_start_matches(&prefix)) {
                    let known: Vec<&str> = named.keys().map(String::as_str).chain([config_variable.as_str()]).collect();
                    problems.push(refuse("", "no option has this variable", suggestion(variable, &known)));
                }
                continue;
            };
            let Some(text) = value.to_str() else {
                problems.push(refuse(key, "is not UTF-8", "set it to UTF-8 text".to_owned()));
                continue;
            };
            let node = Node { origin: origin.clone(), value: Value::Literal(Literal::Text(text.to_owned())) };
            if found.iter().any(|(other, _)| other == key) {
                let fix = format!("unset {variable} or its twin");
                problems.push(refuse(key, "is set twice, as itself and as a file", fix));
            }
            found.push(((*key).to_owned(), if *is_file { secret_file(node) } else { node }));
        }
        (config, found)
    }
}

/// Kubernetes sets NAME_SERVICE_HOST, NAME_PORT_80_TCP and the like for every service of a namespace; a service called
/// like one of our roles must not stop that role.
fn made_by_kubernetes(rest: &str) -> bool {
    let protocols = ["_TCP", "_UDP", "_SCTP"];
    rest == "PORT"
        || rest.starts_with("SERVICE_HOST")
        || rest.starts_with("SERVICE_PORT")
        || (rest.starts_with("PORT_") && protocols.iter().any(|protocol| rest.contains(protocol)))
}

/// A value that is the name of a file holding a secret, in the form that a file has: `{ file = "..." }`.
fn secret_file(node: Node) -> Node {
    let origin = node.origin.clone();
    let entry = Entry { key_origin: origin.clone(), node };
    Node { origin, value: Value::Table(Table::from([("file".to_owned(), entry)])) }
}

/// Every leaf that environment and flags can give, by dotted key.
pub(crate) fn leaves<C: Role>() -> Vec<(String, Form)> {
    fn walk(prefix: &str, options: &[OptionSpec], found: &mut Vec<(String, Form)>) {
        for option in options {
            let key = if prefix.is_empty() { option.key.to_owned() } else { format!("{prefix}.{}", option.key) };
            match &option.shape {
                Shape::Leaf { form, .. } => found.push((key, *form)),
                Shape::Table(options) => walk(&key, options, found),
                Shape::Tables(_) => {}
            }
        }
    }
    let mut found = Vec::new();
    if let Shape::Table(options) = C::shape() {
        walk("", &options, &mut found);
    }
    found
}

fn empty(origin: Origin) -> Node {
    Node { origin, value: Value::Table(Table::new()) }
}

/// Puts a stronger value over what stands at a key. A parent that is no table is left: reading it reports it.
fn overlay(root: &mut Node, key: &str, node: Node) {
    let mut table = root;
    let mut steps = key.split('.').peekable();
    while let Some(step) = steps.next() {
        let Value::Table(entries) = &mut table.value else { return };
        let entry = |node: Node| Entry { key_origin: node.origin.clone(), node };
        if steps.peek().is_none() {
            entries.insert(step.to_owned(), entry(node));
            return;
        }
        table = &mut entries.entry(step.to_owned()).or_insert_with(|| entry(empty(node.origin.clone()))).node;
    }
}

/// Reads the struct from the merged tree.
fn finish<T: Field>(root: &Node, subject: String, problems: Problems) -> Result<T, ConfigErrors> {
    finish_with(root, subject, problems, |_| Vec::new())
}

/// Reads the struct from the merged tree, and holds its parts against one another.
fn finish_with<T: Field>(
    root: &Node,
    subject: String,
    mut problems: Problems,
    flaws: impl FnOnce(&T) -> Vec<Problem>,
) -> Result<T, ConfigErrors> {
    let value = T::read(Given::Present(root), &Place::default(), &mut problems);
    problems.found.extend(value.as_ref().map(flaws).unwrap_or_default());
    match value {
        Some(value) if problems.found.is_empty() => Ok(value),
        _ => Err(ConfigErrors::new(subject, problems.found)),
    }
}

fn read_file(path: &Arc<Path>, problems: &mut Problems) -> Node {
    let mut refuse = |what: String, fix: &str| {
        let origin = Origin::WholeFile { path: path.clone() };
        problems.add(&origin, &Place::default(), Mistake::new(what, fix));
        problems.file_is_partial = true;
        empty(origin)
    };
    match std::fs::metadata(path) {
        Ok(metadata) if metadata.len() > CONFIG_BYTES_MAX => {
            return refuse(
                format!("is {} bytes, more than {CONFIG_BYTES_MAX}", metadata.len()),
                "name a configuration file",
            );
        }
        _ => {}
    }
    match std::fs::read(path).map(String::from_utf8) {
        Ok(Ok(text)) => parse(path, &text, problems),
        Ok(Err(_)) => refuse("is not UTF-8".to_owned(), "save the file as UTF-8"),
        Err(error) => refuse(format!("cannot be read: {error}"), "check the path and its permissions"),
    }
}

/// Parses a TOML text, as much of it as can be understood.
fn parse(path: &Arc<Path>, text: &str, problems: &mut Problems) -> Node {
    let text_lines = Lines { path, text };
    let (table, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        let origin = match error.span() {
            Some(span) => text_lines.origin(span.start),
            None => Origin::WholeFile { path: path.clone() },
        };
        let what = format!("is not TOML here: {}", error.message().trim().replace('\n', ", "));
        problems.add(&origin, &Place::default(), Mistake::new(what, "mend the syntax; texts stand in quotes"));
    }
    problems.file_is_partial |= !errors.is_empty();
    Node { origin: Origin::WholeFile { path: path.clone() }, value: text_lines.table(table.get_ref()) }
}

struct Lines<'t> {
    path: &'t Arc<Path>,
    text: &'t str,
}

impl Lines<'_> {
    fn origin(&self, offset: usize) -> Origin {
        let before = self.text.get(..offset).unwrap_or(self.text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let line = before.matches('\n').count() + 1;
        Origin::File { path: self.path.clone(), line, column: before[line_start..].chars().count() + 1 }
    }

    fn table(&self, table: &DeTable<'_>) -> Value {
        let entries = table.iter().map(|(key, value)| {
            let entry = Entry { key_origin: self.origin(key.span().start), node: self.node(value) };
            (key.get_ref().to_string(), entry)
        });
        Value::Table(entries.collect())
    }

    fn node(&self, value: &Spanned<DeValue<'_>>) -> Node {
        let literal = match value.get_ref() {
            DeValue::Table(table) => return Node { origin: self.origin(value.span().start), value: self.table(table) },
            DeValue::Array(array) => {
                let elements = array.iter().map(|element| self.node(element)).collect();
                return Node { origin: self.origin(value.span().start), value: Value::List(elements) };
            }
            DeValue::String(text) => Literal::Str(text.to_string()),
            DeValue::Integer(integer) => {
                let digits = integer.as_str().replace('_', "");
                match i64::from_str_radix(&digits, integer.radix()) {
                    Ok(value) => Literal::Int(value),
                    // Beyond 64 signed bits: as text, so that an unsigned option can still take it.
                    Err(_) => Literal::Text(digits),
                }
            }
            DeValue::Float(float) => match float.as_str().replace('_', "").parse() {
                Ok(value) => Literal::Float(value),
                Err(_) => Literal::Text(float.as_str().to_owned()),
            },
            DeValue::Boolean(value) => Literal::Bool(*value),
            DeValue::Datetime(date) => Literal::Date(date.to_string()),
        };
        Node { origin: self.origin(value.span().start), value: Value::Literal(literal) }
    }
}
