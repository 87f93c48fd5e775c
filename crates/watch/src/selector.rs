//! Which series are meant: `naru_edge_requests_total{class="core"}` of every target, or `edge-1/naru_edge_waiting` of one.

use std::fmt;
use std::str::FromStr;

use naru_runtime::config::{Mistake, Scalar};
use naru_runtime::exposition::series_id;

/// A name of a metric, by choice of one target, with labels that must be there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selector {
    target: Option<String>,
    name: String,
    labels: Vec<(String, String)>,
}

/// Text that selects nothing. Whoever wrote it is at fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is no selector: write NAME, NAME{{label=\"value\"}} or TARGET/NAME")]
pub struct NoSelector;

impl Selector {
    /// Whether a series is meant.
    pub fn matches(&self, target: &str, name: &str, labels: &[(String, String)]) -> bool {
        self.name == name
            && self.target.as_deref().is_none_or(|wanted| wanted == target)
            && self.labels.iter().all(|wanted| labels.contains(wanted))
    }

    /// The target that it is bound to.
    pub fn target(&self) -> Option<&str> {
        self.target.as_deref()
    }
}

impl FromStr for Selector {
    type Err = NoSelector;

    fn from_str(text: &str) -> Result<Self, NoSelector> {
        let (path, labels) = match text.split_once('{') {
            Some((path, rest)) => (path, rest.strip_suffix('}').ok_or(NoSelector)?),
            None => (text, ""),
        };
        let (target, name) = match path.split_once('/') {
            Some((target, name)) => (Some(target.to_owned()), name),
            None => (None, path),
        };
        let named = |name: &str| {
            !name.is_empty() && name.chars().all(|one| one.is_ascii_alphanumeric() || one == '_' || one == ':')
        };
        if !named(name) || target.as_deref() == Some("") {
            return Err(NoSelector);
        }
        let pairs = labels.split(',').filter(|pair| !pair.trim().is_empty());
        let label = |pair: &str| {
            let (name, value) = pair.split_once('=').ok_or(NoSelector)?;
            Ok((name.trim().to_owned(), value.trim().trim_matches('"').to_owned()))
        };
        let labels = pairs.map(label).collect::<Result<_, _>>()?;
        Ok(Self { target, name: name.to_owned(), labels })
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(target) = &self.target {
            write!(f, "{target}/")?;
        }
        f.write_str(&series_id(&self.name, &self.labels))
    }
}

impl Scalar for Selector {
    const PLACEHOLDER: &'static str = "SERIES";

    fn kind() -> String {
        "a selector such as `edge-1/naru_edge_requests_total{class=core}`".to_owned()
    }

    fn from_text(text: &str) -> Result<Self, Mistake> {
        text.parse().map_err(|NoSelector| {
            Mistake::new(format!("is {text:?}, which selects nothing"), format!("use {}", Self::kind()))
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a test panics on failure

    use super::*;

    #[test]
    fn a_selector_means_what_it_names_and_nothing_else() {
        let labels = [("class".to_owned(), "core".to_owned()), ("status".to_owned(), "5xx".to_owned())];
        let check = |text: &str, expect: Option<bool>| {
            let selector = text.parse::<Selector>().ok();
            assert_eq!(selector.map(|one| one.matches("edge-1", "requests_total", &labels)), expect, "{text}");
        };
        check("requests_total", Some(true));
        check("edge-1/requests_total{class=core}", Some(true));
        check("edge-2/requests_total", Some(false));
        check("requests_total{status=\"5xx\", class=\"core\"}", Some(true));
        check("requests_total{class=open}", Some(false));
        check("requests", Some(false));
        check("", None);
        check("a b", None);
        check("/x", None);
        check("x{class}", None);
        check("x{class=core", None);
        assert_eq!("a/x{c=d}".parse::<Selector>().unwrap().to_string(), "a/x{c=\"d\"}");
    }
}
