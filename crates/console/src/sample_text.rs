//! Metrics as every role shows them: Prometheus' text form.

/// One line of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// The metric's name.
    pub name: String,
    labels: Vec<(String, String)>,
    /// Its value.
    pub value: f64,
}

impl Sample {
    /// A label's value; empty where it has none of that name.
    pub fn label(&self, name: &str) -> &str {
        self.labels.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value)
    }
}

/// Reads what can be read; a line of another form is left out.
pub fn samples(text: &str) -> Vec<Sample> {
    text.lines().filter(|line| !line.starts_with('#')).filter_map(sample).collect()
}

fn sample(line: &str) -> Option<Sample> {
    let (name, labels, rest) = match line.split_once('{') {
        Some((name, rest)) => {
            let (labels, rest) = labels(rest)?;
            (name, labels, rest)
        }
        None => {
            let (name, rest) = line.split_once(' ')?;
            (name, Vec::new(), rest)
        }
    };
    let value = rest.split_ascii_whitespace().next()?.parse().ok()?;
    Some(Sample { name: name.to_owned(), labels, value })
}

/// Labels up to the closing brace, and what stands behind it.
fn labels(mut rest: &str) -> Option<(Vec<(String, String)>, &str)> {
    let mut all = Vec::new();
    loop {
        if let Some(behind) = rest.strip_prefix('}') {
            return Some((all, behind));
        }
        let (name, behind) = rest.split_once("=\"")?;
        let mut value = String::new();
        let mut letters = behind.char_indices();
        let end = loop {
            match letters.next()? {
                (at, '"') => break at,
                (_, '\\') => match letters.next()? {
                    (_, 'n') => value.push('\n'),
                    (_, letter) => value.push(letter),
                },
                (_, letter) => value.push(letter),
            }
        };
        all.push((name.trim_start_matches(',').to_owned(), value));
        rest = &behind[end + 1..];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_with_their_labels() {
        type Expected<'e> = (&'e str, &'e [(&'e str, &'e str)], f64);
        let check = |line: &str, expect: Option<Expected<'_>>| {
            let expect = expect.map(|(name, labels, value)| Sample {
                name: name.to_owned(),
                labels: labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
                value,
            });
            assert_eq!(samples(line).pop(), expect, "{line}");
        };
        check("# TYPE a counter", None);
        check("", None);
        check("a_total 3", Some(("a_total", &[], 3.0)));
        check("a{site=\"idc-1\",class=\"core\"} 0.5 17", Some(("a", &[("site", "idc-1"), ("class", "core")], 0.5)));
        check("a{b=\"x\\\"} \\\\ \\n\"} 1", Some(("a", &[("b", "x\"} \\ \n")], 1.0)));
        check("a{} 1", Some(("a", &[], 1.0)));
        check("a{b=\"c} 1", None);
        check("a x", None);
    }
}
