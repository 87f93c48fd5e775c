//! Metrics as roles show them, read by other roles: the text that Prometheus reads, within bounds.

/// Longest line that is read: a name, some labels and a number.
const LINE_BYTES_MAX: usize = 4 << 10;
/// Most labels of a series; roles have at most four.
const LABELS_MAX: usize = 16;

/// One value of a text.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// The metric.
    pub name: String,
    /// Its labels, sorted by name.
    pub labels: Vec<(String, String)>,
    /// The value.
    pub value: f64,
}

impl Sample {
    /// A label's value; empty where it has none of that name.
    pub fn label(&self, name: &str) -> &str {
        self.labels.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value)
    }
}

/// A metric with its labels, as Prometheus writes it.
pub fn series_id(name: &str, labels: &[(String, String)]) -> String {
    if labels.is_empty() {
        return name.to_owned();
    }
    let pairs: Vec<String> = labels.iter().map(|(name, value)| format!("{name}={value:?}")).collect();
    format!("{name}{{{}}}", pairs.join(","))
}

/// What a text holds.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Parsed {
    /// Its values, as they stand.
    pub samples: Vec<Sample>,
    /// Lines that are none of the format: passed over.
    pub malformed: usize,
}

/// Reads the exposition format. Exemplars, timestamps and comments are passed over; so is when a counter was made, which is
/// not a level of anything.
pub fn parse(text: &str) -> Parsed {
    let mut parsed = Parsed::default();
    for line in text.lines() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        match sample(line) {
            Some(sample) if sample.name.ends_with("_created") => {}
            Some(sample) => parsed.samples.push(sample),
            None => parsed.malformed += 1,
        }
    }
    parsed
}

fn sample(line: &str) -> Option<Sample> {
    if line.len() > LINE_BYTES_MAX {
        return None;
    }
    let end = line.find(|one: char| one == '{' || one.is_whitespace())?;
    let (name, rest) = line.split_at(end);
    let (mut labels, rest) = match rest.strip_prefix('{') {
        Some(rest) => labels(rest)?,
        None => (Vec::new(), rest),
    };
    labels.sort();
    let value: f64 = rest.split_whitespace().next()?.parse().ok()?;
    // Not a number is no level: the series has no value now.
    (value.is_finite() && !name.is_empty()).then(|| Sample { name: name.to_owned(), labels, value })
}

/// The labels behind `{`, and what follows `}`.
fn labels(mut rest: &str) -> Option<(Vec<(String, String)>, &str)> {
    let mut labels = Vec::new();
    loop {
        rest = rest.trim_start_matches([',', ' ']);
        if let Some(rest) = rest.strip_prefix('}') {
            return Some((labels, rest));
        }
        let (name, quoted) = rest.split_once("=\"")?;
        let (value, behind) = unquote(quoted)?;
        labels.push((name.trim().to_owned(), value));
        if labels.len() > LABELS_MAX {
            return None;
        }
        rest = behind;
    }
}

/// A value up to its closing quote, and what follows that.
fn unquote(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, one)) = characters.next() {
        match one {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => match characters.next()?.1 {
                'n' => value.push('\n'),
                other => value.push(other),
            },
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_read_and_what_is_none_of_it_is_counted() {
        let check = |text: &str, expect: &[&str], malformed: usize| {
            let parsed = parse(text);
            let shown: Vec<String> = parsed
                .samples
                .iter()
                .map(|one| format!("{} {}", series_id(&one.name, &one.labels), one.value))
                .collect();
            assert_eq!((shown, parsed.malformed), (expect.iter().map(|one| (*one).to_owned()).collect(), malformed));
        };
        check("# HELP a b.\n# TYPE a gauge\na 1\n# EOF\n", &["a 1"], 0);
        check("a{y=\"2\",x=\"1\"} 0.5 1700000000 # {trace=\"x\"} 1\n", &["a{x=\"1\",y=\"2\"} 0.5"], 0);
        check("a{x=\"}, \\\"b\\\\\"} -3e2", &["a{x=\"}, \\\"b\\\\\"} -300"], 0);
        check("a_created 1\nb NaN\nc +Inf\nd\ne{x=1} 2\nf{x=\"1} 2\ng one\n", &[], 6);
        check(&format!("a{{x=\"{}\"}} 1", "y".repeat(5000)), &[], 1);
    }

    #[test]
    fn lines_are_read_with_their_labels() {
        type Expected<'e> = (&'e str, &'e [(&'e str, &'e str)], f64);
        let check = |line: &str, expect: Option<Expected<'_>>| {
            let expect = expect.map(|(name, labels, value)| Sample {
                name: name.to_owned(),
                labels: labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
                value,
            });
            assert_eq!(parse(line).samples.pop(), expect, "{line}");
        };
        check("# TYPE a counter", None);
        check("", None);
        check("a_total 3", Some(("a_total", &[], 3.0)));
        check("a{site=\"idc-1\",class=\"core\"} 0.5 17", Some(("a", &[("class", "core"), ("site", "idc-1")], 0.5)));
        check("a{b=\"x\\\"} \\\\ \\n\"} 1", Some(("a", &[("b", "x\"} \\ \n")], 1.0)));
        check("a{} 1", Some(("a", &[], 1.0)));
        check("a{b=\"c} 1", None);
        check("a x", None);
    }
}
