//! Writing SVG: elements, attributes, escaping, and numbers short enough to read.

use std::fmt::{Display, Write as _};

/// A piece of SVG under construction.
#[derive(Debug, Default)]
pub(super) struct Svg {
    text: String,
    open: Vec<&'static str>,
}

/// A coordinate with one decimal, which is finer than a screen's pixel.
pub(super) struct Px(pub(super) f64);

impl Display for Px {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // A coordinate that is not a number would make a browser drop the whole path.
        let value = if self.0.is_finite() { (self.0 * 10.0).round() / 10.0 } else { 0.0 };
        write!(out, "{value}")
    }
}

impl Svg {
    /// Begins an element that has contents.
    pub(super) fn open(&mut self, tag: &'static str, attributes: &[(&str, &dyn Display)]) {
        self.start(tag, attributes);
        self.text.push('>');
        self.open.push(tag);
    }

    /// Ends the element begun last.
    pub(super) fn close(&mut self) {
        let tag = self.open.pop().expect("close follows open");
        self.push(format_args!("</{tag}>"));
    }

    /// An element without contents.
    pub(super) fn leaf(&mut self, tag: &'static str, attributes: &[(&str, &dyn Display)]) {
        self.start(tag, attributes);
        self.text.push_str("/>");
    }

    /// An element with text in it.
    pub(super) fn text(&mut self, tag: &'static str, attributes: &[(&str, &dyn Display)], contents: &str) {
        self.start(tag, attributes);
        self.push(format_args!(">{}</{tag}>", escape(contents)));
    }

    /// The whole piece.
    pub(super) fn finish(mut self) -> String {
        while !self.open.is_empty() {
            self.close();
        }
        self.text
    }

    fn start(&mut self, tag: &str, attributes: &[(&str, &dyn Display)]) {
        self.push(format_args!("<{tag}"));
        for (name, value) in attributes {
            self.push(format_args!(" {name}=\"{}\"", escape(&value.to_string())));
        }
    }

    fn push(&mut self, arguments: std::fmt::Arguments<'_>) {
        self.text.write_fmt(arguments).expect("writing to a string cannot fail");
    }
}

/// Text as it may stand in HTML and SVG, inside and outside of attributes.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            // Not allowed in XML at all, and of no use to a reader.
            c if c.is_control() && c != '\n' && c != '\t' => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contents_and_attributes_cannot_break_out() {
        let mut svg = Svg::default();
        svg.open("g", &[("class", &"\"><script>")]);
        svg.text("title", &[], "</title><script>&\u{0}");
        let text = svg.finish();
        assert_eq!(
            text,
            "<g class=\"&quot;&gt;&lt;script&gt;\"><title>&lt;/title&gt;&lt;script&gt;&amp;\u{fffd}</title></g>"
        );
    }

    #[test]
    fn coordinates_are_short_and_always_numbers() {
        let check = |value: f64, expect: &str| assert_eq!(Px(value).to_string(), expect);
        check(1.0, "1");
        check(2.0 / 3.0, "0.7");
        check(f64::NAN, "0");
        check(f64::INFINITY, "0");
    }
}
