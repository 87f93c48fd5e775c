//! Reading the fields of a TOML table one by one, so that every mistake is found and every unknown key refused.

use std::ops::{Range, RangeInclusive};
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{Mistake, PHASE_SECONDS_MAX};

pub(super) type Value<'i> = Spanned<DeValue<'i>>;

/// Mistakes of one file that are reported; the rest is left out. More do not help, and a hostile file makes millions.
const MISTAKES_MAX: usize = 100;

/// The file's text and what was found wrong with it.
pub(super) struct Reader<'i> {
    text: &'i str,
    pub(super) mistakes: Vec<Mistake>,
}

impl<'i> Reader<'i> {
    pub(super) fn new(text: &'i str) -> Self {
        Self { text, mistakes: Vec::new() }
    }

    pub(super) fn mistake(&mut self, at: Range<usize>, what: impl Into<String>, fix: impl Into<String>) {
        if self.mistakes.len() < MISTAKES_MAX {
            self.mistakes.push(Mistake::new(self.text, at, what.into(), fix.into()));
        }
    }

    pub(super) fn wrong_kind(&mut self, key: &str, value: &Value<'_>, wanted: &str) {
        let found = value.get_ref().type_str();
        self.mistake(value.span(), format!("`{key}` is {found}"), format!("write {wanted}"));
    }
}

/// The fields of one table. Every key that is asked for is known; what is left over at the end is refused.
pub(super) struct Fields<'a, 'i> {
    /// As the user would write the table: `[[fault]]`.
    name: &'static str,
    table: &'a DeTable<'i>,
    at: Range<usize>,
    pub(super) known: Vec<&'static str>,
}

impl<'a, 'i> Fields<'a, 'i> {
    pub(super) fn new(name: &'static str, table: &'a DeTable<'i>, at: Range<usize>) -> Self {
        Self { name, table, at, known: Vec::new() }
    }

    pub(super) fn find(&mut self, key: &'static str) -> Option<&'a Value<'i>> {
        if !self.known.contains(&key) {
            self.known.push(key);
        }
        self.table.iter().find(|(name, _)| name.get_ref().as_ref() == key).map(|(_, value)| value)
    }

    /// Where to point when `key` itself is right but does not fit the rest.
    pub(super) fn span_of(&self, key: &str) -> Range<usize> {
        self.table
            .iter()
            .find(|(name, _)| name.get_ref().as_ref() == key)
            .map_or(self.at.clone(), |(_, value)| value.span())
    }

    pub(super) fn required(
        &mut self,
        reader: &mut Reader<'_>,
        key: &'static str,
        example: &str,
    ) -> Option<&'a Value<'i>> {
        let found = self.find(key);
        if found.is_none() {
            reader.mistake(
                self.at.clone(),
                format!("{} has no `{key}`", self.name),
                format!("add `{key} = {example}`"),
            );
        }
        found
    }

    pub(super) fn text(
        &mut self,
        reader: &mut Reader<'_>,
        key: &'static str,
        example: &str,
    ) -> Option<(&'a str, Range<usize>)> {
        let value = self.required(reader, key, &format!("\"{example}\""))?;
        match value.get_ref().as_str() {
            Some("") => {
                reader.mistake(value.span(), format!("`{key}` is empty"), format!("write `{key} = \"{example}\"`"));
                None
            }
            Some(text) => Some((text, value.span())),
            None => {
                reader.wrong_kind(key, value, &format!("text, such as `{key} = \"{example}\"`"));
                None
            }
        }
    }

    /// A name that ends up in file names, topics and pictures.
    pub(super) fn name(
        &mut self,
        reader: &mut Reader<'_>,
        key: &'static str,
        example: &str,
    ) -> Option<(&'a str, Range<usize>)> {
        let (text, at) = self.text(reader, key, example)?;
        let fits = text.len() <= 32 && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
        if fits {
            return Some((text, at));
        }
        reader.mistake(
            at,
            format!("`{key}` is {text:?}"),
            "use up to 32 lower-case letters, digits and hyphens".to_owned(),
        );
        None
    }

    pub(super) fn integer(
        &mut self,
        reader: &mut Reader<'_>,
        key: &'static str,
        bounds: RangeInclusive<i64>,
        default: i64,
    ) -> Option<i64> {
        let Some(value) = self.find(key) else { return Some(default) };
        let (low, high) = (*bounds.start(), *bounds.end());
        let parsed = match value.get_ref() {
            DeValue::Integer(integer) => i64::from_str_radix(integer.as_str(), integer.radix()).ok(),
            _ => {
                reader.wrong_kind(key, value, &format!("a whole number from {low} to {high}"));
                return None;
            }
        };
        match parsed {
            Some(number) if bounds.contains(&number) => Some(number),
            _ => {
                reader.mistake(
                    value.span(),
                    format!("`{key}` is out of bounds"),
                    format!("write a whole number from {low} to {high}"),
                );
                None
            }
        }
    }

    pub(super) fn seconds(
        &mut self,
        reader: &mut Reader<'_>,
        key: &'static str,
        default: Option<f64>,
    ) -> Option<Duration> {
        let value = match default {
            None => self.required(reader, key, "5")?,
            Some(default) => match self.find(key) {
                Some(value) => value,
                None => return Some(Duration::from_secs_f64(default)),
            },
        };
        number(reader, key, value, 0.0..=PHASE_SECONDS_MAX).map(Duration::from_secs_f64)
    }

    pub(super) fn millis(&mut self, reader: &mut Reader<'_>, key: &'static str) -> Option<Duration> {
        let value = self.find(key)?;
        number(reader, key, value, 1.0..=600_000.0).map(|millis| Duration::from_secs_f64(millis / 1e3))
    }

    /// The index of the thing that `key` names.
    pub(super) fn refers(
        &mut self,
        reader: &mut Reader<'_>,
        key: &'static str,
        what: &str,
        names: &[String],
        default: Option<usize>,
    ) -> Option<usize> {
        if default.is_some() && self.find(key).is_none() {
            return default;
        }
        let (name, at) = self.text(reader, key, names.first().map_or("a", String::as_str))?;
        let found = names.iter().position(|known| known == name);
        if found.is_none() {
            reader.mistake(
                at,
                format!("no {what} is called {name:?}"),
                format!("use one of {}, or add a [[{what}]]", list(names)),
            );
        }
        found
    }

    pub(super) fn finish(self, reader: &mut Reader<'_>) {
        for (key, _) in self.table {
            let name = key.get_ref().as_ref();
            if self.known.contains(&name) {
                continue;
            }
            let fix = match nearest(name, &self.known) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("remove it; {} takes {}", self.name, list(&self.known)),
            };
            reader.mistake(key.span(), format!("{} does not take `{name}`", self.name), fix);
        }
    }
}

pub(super) fn number(
    reader: &mut Reader<'_>,
    key: &str,
    value: &Value<'_>,
    bounds: RangeInclusive<f64>,
) -> Option<f64> {
    let parsed = match value.get_ref() {
        DeValue::Integer(integer) if integer.radix() == 10 => integer.as_str().parse::<f64>().ok(),
        DeValue::Float(float) => float.as_str().parse::<f64>().ok(),
        _ => {
            reader.wrong_kind(key, value, &format!("a number from {} to {}", bounds.start(), bounds.end()));
            return None;
        }
    };
    let within = parsed.filter(|number| bounds.contains(number));
    if within.is_none() {
        reader.mistake(
            value.span(),
            format!("`{key}` is out of bounds"),
            format!("write a number from {} to {}", bounds.start(), bounds.end()),
        );
    }
    within
}

pub(super) fn list<T: AsRef<str>>(names: &[T]) -> String {
    names.iter().map(|name| format!("`{}`", name.as_ref())).collect::<Vec<_>>().join(", ")
}

/// The known key that a misspelt one most likely stands for.
pub(super) fn nearest<'k>(name: &str, known: &[&'k str]) -> Option<&'k str> {
    // Two slips of the finger, but never most of a short word.
    let slips_max = 2.min(name.len() / 2);
    known
        .iter()
        .map(|candidate| (slips(name, candidate), *candidate))
        .filter(|(slips, _)| *slips <= slips_max)
        .min()
        .map(|(_, candidate)| candidate)
}

/// Levenshtein distance.
pub(super) fn slips(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    // A key longer than any known one cannot be near; the cut keeps a hostile file from costing time.
    for (i, l) in left.chars().take(64).enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, r) in right.iter().enumerate() {
            let above = row[j + 1];
            row[j + 1] = (diagonal + usize::from(l != *r)).min(above + 1).min(row[j] + 1);
            diagonal = above;
        }
    }
    row[right.len()]
}

/// Reads an array of tables. `None` as soon as one of them did not hold, after all of them were looked at.
pub(super) fn tables<'a, 'i, T>(
    reader: &mut Reader<'_>,
    fields: &mut Fields<'a, 'i>,
    key: &'static str,
    name: &'static str,
    count: RangeInclusive<usize>,
    mut read: impl FnMut(&mut Reader<'_>, Fields<'a, 'i>) -> Option<T>,
) -> Option<Vec<T>> {
    let Some(value) = fields.find(key) else {
        if *count.start() == 0 {
            return Some(Vec::new());
        }
        reader.mistake(0..0, format!("there is no {name}"), format!("add a {name} table"));
        return None;
    };
    let Some(array) = value.get_ref().as_array() else {
        reader.wrong_kind(key, value, &format!("one or more {name} tables"));
        return None;
    };
    if !count.contains(&array.len()) {
        reader.mistake(
            value.span(),
            format!("{} {name} tables", array.len()),
            format!("use {} to {} of them", count.start(), count.end()),
        );
        return None;
    }
    let mut whole = Vec::with_capacity(array.len());
    for item in array {
        match item.get_ref().as_table() {
            Some(table) => whole.push(read(reader, Fields::new(name, table, item.span()))),
            None => {
                reader.wrong_kind(key, item, &format!("a {name} table"));
                whole.push(None);
            }
        }
    }
    whole.into_iter().collect()
}

pub(super) fn table<'a, 'i, T>(
    reader: &mut Reader<'_>,
    fields: &mut Fields<'a, 'i>,
    key: &'static str,
    name: &'static str,
    read: impl FnOnce(&mut Reader<'_>, Fields<'a, 'i>) -> Option<T>,
) -> Option<T> {
    let Some(value) = fields.find(key) else {
        reader.mistake(0..0, format!("there is no {name}"), format!("add a {name} table"));
        return None;
    };
    match value.get_ref().as_table() {
        Some(table) => read(reader, Fields::new(name, table, value.span())),
        None => {
            reader.wrong_kind(key, value, &format!("a {name} table"));
            None
        }
    }
}

pub(super) fn choice<T: Copy>(
    reader: &mut Reader<'_>,
    key: &str,
    given: (&str, Range<usize>),
    all: &[(&str, T)],
) -> Option<T> {
    let found = all.iter().find(|(name, _)| *name == given.0).map(|(_, value)| *value);
    if found.is_none() {
        let names: Vec<&str> = all.iter().map(|(name, _)| *name).collect();
        reader.mistake(given.1, format!("`{key}` is {:?}", given.0), format!("use one of {}", list(&names)));
    }
    found
}

pub(super) fn flag(reader: &mut Reader<'_>, fields: &mut Fields<'_, '_>, key: &'static str) -> Option<bool> {
    let Some(value) = fields.find(key) else { return Some(false) };
    let found = value.get_ref().as_bool();
    if found.is_none() {
        reader.wrong_kind(key, value, "`true` or `false`");
    }
    found
}
