//! What a declared struct is made of, and how it is read from the merged sources.

use std::fmt;

use super::error::{Mistake, Origin, Problem};
use super::scalar::{Literal, Scalar};
use super::source::{Node, Table, Value};

/// What a required key is when nothing gives it.
pub(crate) const MISSING: &str = "is required and missing";

/// How a leaf is given on the command line and in text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// One value.
    One,
    /// A flag that may stand without a value.
    Switch,
    /// Several values: an array in a file, separated by commas in text, the flag repeated.
    List,
    /// A secret: never on the command line, only as a file there.
    Secret,
}

/// What stands at a key.
#[derive(Debug, Clone)]
pub enum Shape {
    /// One value or a list of values.
    Leaf {
        /// What is expected: `a duration such as 250ms`.
        kind: String,
        /// Stands for the value in `--help`.
        placeholder: &'static str,
        /// How it is given.
        form: Form,
    },
    /// A nested table.
    Table(Vec<OptionSpec>),
    /// An array of tables, which only a file can give.
    Tables(Vec<OptionSpec>),
}

/// One declared option.
#[derive(Debug, Clone)]
pub struct OptionSpec {
    /// The key in its table.
    pub key: &'static str,
    /// The documentation of the field, one line.
    pub doc: String,
    /// The default as text.
    pub default: Option<&'static str>,
    /// The bounds as text, both included.
    pub range: Option<(&'static str, &'static str)>,
    /// Whether the role cannot start without it.
    pub required: bool,
    /// What stands there.
    pub shape: Shape,
}

impl OptionSpec {
    /// Joins the lines of a doc comment into one.
    pub fn doc_line(lines: &[&str]) -> String {
        lines.iter().map(|line| line.trim()).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" ")
    }
}

/// The dotted key of a value, as `group[1].name`.
#[derive(Debug, Clone, Default)]
pub struct Place {
    key: String,
    /// Set once an array of tables is entered: environment and flags do not reach inside.
    file_only: bool,
}

impl Place {
    /// The key of a field of this table.
    pub fn child(&self, key: &str) -> Self {
        let key = if self.key.is_empty() { key.to_owned() } else { format!("{}.{key}", self.key) };
        Self { key, file_only: self.file_only }
    }

    /// The key of an element, counted from one as people count.
    pub fn index(&self, index: usize) -> Self {
        Self { key: format!("{}[{}]", self.key, index + 1), file_only: true }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.key)
    }
}

/// What a field is read from.
#[derive(Debug, Clone, Copy)]
pub enum Given<'n> {
    /// A value, from a file, the environment, a flag or the default.
    Present(&'n Node),
    /// Nothing; the origin is the table it is missing from.
    Absent(&'n Origin),
}

/// The mistakes found so far.
#[derive(Debug, Default)]
pub struct Problems {
    pub(crate) role: Option<&'static str>,
    /// Part of the file was not understood: what seems missing may stand there, and is not reported.
    pub(crate) file_is_partial: bool,
    pub(crate) found: Vec<Problem>,
}

impl Problems {
    /// Adds a mistake.
    pub fn add(&mut self, origin: &Origin, place: &Place, mistake: Mistake) {
        self.found.push(Problem { origin: origin.clone(), key: place.to_string(), mistake });
    }

    /// Adds that a required key is missing from the table at `origin`.
    pub fn add_missing(&mut self, origin: &Origin, place: &Place, kind: &str) {
        if self.file_is_partial {
            return;
        }
        let mut fix = format!("set it to {kind}");
        if let (Some(role), false) = (self.role, place.file_only) {
            let flag = flag_name(&place.key);
            fix = format!("{fix} in the file, or with --{flag} or {}", variable_name(role, &place.key));
        }
        self.add(origin, place, Mistake::new(MISSING, fix));
    }

    /// Enters a table: refuses what is not one, and every key that `options` does not name.
    pub fn table<'n>(&mut self, given: Given<'n>, at: &Place, options: &[OptionSpec]) -> Option<TableView<'n>> {
        let node = match given {
            Given::Absent(origin) => return Some(TableView { entries: None, origin, at: at.clone() }),
            Given::Present(node) => node,
        };
        let Value::Table(entries) = &node.value else {
            let what = format!("is {}, not a table", node.value.type_name());
            self.add(&node.origin, at, Mistake::new(what, format!("write it as [{at}] with its keys below")));
            return None;
        };
        let known: Vec<&str> = options.iter().map(|option| option.key).collect();
        for (key, entry) in entries {
            if !known.contains(&key.as_str()) {
                self.add(
                    &entry.key_origin,
                    &at.child(key),
                    Mistake::new("is not a known key", suggestion(key, &known)),
                );
            }
        }
        Some(TableView { entries: Some(entries), origin: &node.origin, at: at.clone() })
    }
}

/// A table that is being read.
#[derive(Debug)]
pub struct TableView<'n> {
    entries: Option<&'n Table>,
    origin: &'n Origin,
    at: Place,
}

impl TableView<'_> {
    /// Reads one field, from the sources or from its default, and checks it.
    pub fn field<T: Field>(
        &self,
        key: &str,
        default: Option<&str>,
        check: impl Fn(&T) -> Result<(), Mistake>,
        problems: &mut Problems,
    ) -> Option<T> {
        let place = self.at.child(key);
        let built_in = default.map(Node::built_in);
        let given = match (self.entries.and_then(|entries| entries.get(key)), &built_in) {
            (Some(entry), _) => Given::Present(&entry.node),
            (None, Some(node)) => Given::Present(node),
            (None, None) => Given::Absent(self.origin),
        };
        let value = T::read(given, &place, problems)?;
        match (check(&value), given) {
            (Ok(()), _) => Some(value),
            (Err(mistake), Given::Present(node)) => {
                problems.add(&node.origin, &place, mistake);
                None
            }
            (Err(mistake), Given::Absent(origin)) => {
                problems.add(origin, &place, mistake);
                None
            }
        }
    }

    /// Checks the finished struct as a whole.
    pub fn whole<T>(&self, value: T, check: impl Fn(&T) -> Result<(), Mistake>, problems: &mut Problems) -> Option<T> {
        match check(&value) {
            Ok(()) => Some(value),
            Err(mistake) => {
                problems.add(self.origin, &self.at, mistake);
                None
            }
        }
    }
}

/// A type that stands at a key: a scalar, an option or list of fields, or a declared struct.
pub trait Field: Sized {
    /// Whether the key must be given when it has no default.
    const REQUIRED: bool;

    /// What stands at the key.
    fn shape() -> Shape;

    /// What the struct is for, from its documentation; nothing for a value.
    fn about() -> String {
        String::new()
    }

    /// Reads the value; `None` after adding to `problems` what is wrong with it.
    fn read(given: Given<'_>, at: &Place, problems: &mut Problems) -> Option<Self>;
}

/// The declared struct of a whole process.
pub trait Role: Field {
    /// The role's name, as in `naru NAME` and `NARU_NAME_`.
    const ROLE: &'static str;

    /// What is wrong between its parts, each with its place; asked once every part has been read.
    fn flaws(&self) -> Vec<Problem> {
        Vec::new()
    }
}

impl<T: Scalar> Field for T {
    const REQUIRED: bool = true;

    fn shape() -> Shape {
        let form = if T::SWITCH { Form::Switch } else { Form::One };
        Shape::Leaf { kind: T::kind(), placeholder: T::PLACEHOLDER, form }
    }

    fn read(given: Given<'_>, at: &Place, problems: &mut Problems) -> Option<Self> {
        let node = match given {
            Given::Present(node) => node,
            Given::Absent(origin) => {
                problems.add_missing(origin, at, &T::kind());
                return None;
            }
        };
        let read = match &node.value {
            Value::Literal(literal) => T::from_literal(literal),
            other => Err(Mistake::new(format!("is {}", other.type_name()), format!("set it to {}", T::kind()))),
        };
        read.map_err(|mistake| problems.add(&node.origin, at, mistake)).ok()
    }
}

impl<T: Field> Field for Option<T> {
    const REQUIRED: bool = false;

    fn shape() -> Shape {
        T::shape()
    }

    fn read(given: Given<'_>, at: &Place, problems: &mut Problems) -> Option<Self> {
        match given {
            Given::Absent(_) => Some(None),
            Given::Present(_) => T::read(given, at, problems).map(Some),
        }
    }
}

impl<T: Field> Field for Vec<T> {
    const REQUIRED: bool = false;

    fn shape() -> Shape {
        match T::shape() {
            Shape::Leaf { kind, placeholder, .. } => {
                Shape::Leaf { kind: format!("a list, each {kind}"), placeholder, form: Form::List }
            }
            Shape::Table(options) | Shape::Tables(options) => Shape::Tables(options),
        }
    }

    fn read(given: Given<'_>, at: &Place, problems: &mut Problems) -> Option<Self> {
        let node = match given {
            Given::Absent(_) => return Some(Self::new()),
            Given::Present(node) => node,
        };
        let split;
        let elements = match &node.value {
            Value::List(elements) => elements,
            Value::Literal(Literal::Text(text)) => {
                let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
                split = parts
                    .map(|part| Node {
                        origin: node.origin.clone(),
                        value: Value::Literal(Literal::Text(part.to_owned())),
                    })
                    .collect();
                &split
            }
            other => {
                let fix = match T::shape() {
                    Shape::Leaf { .. } => format!("write it as {at} = [ ... ]"),
                    Shape::Table(_) | Shape::Tables(_) => format!("write it as [[{at}]], once per element"),
                };
                problems.add(&node.origin, at, Mistake::new(format!("is {}, not a list", other.type_name()), fix));
                return None;
            }
        };
        let read: Vec<Option<T>> = elements
            .iter()
            .enumerate()
            .map(|(index, element)| T::read(Given::Present(element), &at.index(index), problems))
            .collect();
        read.into_iter().collect()
    }
}

/// `tls.key_file` as `tls-key-file`.
pub(crate) fn flag_name(key: &str) -> String {
    key.replace(['.', '_'], "-")
}

/// `tls.key_file` of the role `store` as `NARU_STORE_TLS_KEY_FILE`.
pub(crate) fn variable_name(role: &str, key: &str) -> String {
    format!("{}{}", variable_prefix(role), key.replace(['.', '-'], "_").to_uppercase())
}

/// What every variable of a role begins with.
pub(crate) fn variable_prefix(role: &str) -> String {
    format!("NARU_{}_", role.replace('-', "_").to_uppercase())
}

/// The fix for an unknown name: the nearest known one if it is near, else all of them.
pub(crate) fn suggestion(given: &str, known: &[&str]) -> String {
    let plain = |name: &str| name.to_lowercase().replace(['-', '_'], "");
    let nearest = known.iter().min_by_key(|name| edit_distance(&plain(given), &plain(name)));
    match nearest {
        // A third of the letters wrong is still a slip of the fingers; more is another word.
        Some(name) if edit_distance(&plain(given), &plain(name)) <= (name.len() / 3).max(1) => {
            format!("did you mean `{name}`? else remove it")
        }
        Some(_) => format!("remove it; the keys here are {}", known.join(", ")),
        None => "remove it".to_owned(),
    }
}

/// Levenshtein distance in characters.
fn edit_distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(row[j + 1] + 1);
        }
    }
    row[b.len()]
}
