//! What a client asks for: a page or data, and in which language.

use super::Language;

/// A weight as HTTP has it, in thousandths.
const WHOLE: u16 = 1_000;

/// What a client can make use of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Somebody looks at it.
    Page,
    /// A program reads it.
    Data,
}

impl Form {
    /// By `Accept`: browsers ask for `text/html` when somebody opens a page, and for something else, or anything, when a
    /// page of theirs asks for data, pictures or styles. Who says nothing is a program.
    pub fn from_accept(accept: &str) -> Self {
        let weight = |media: &str| members(accept).find(|(name, _)| name.eq_ignore_ascii_case(media)).map(|(_, q)| q);
        match (weight("text/html"), weight("application/json")) {
            (Some(html), json) if html > 0 && json.is_none_or(|json| html >= json) => Self::Page,
            _ => Self::Data,
        }
    }
}

impl Language {
    /// By `Accept-Language`: the one that is wanted most, the earlier of two that are wanted alike. Who names none gets
    /// Korean; who names only others reads English rather.
    pub fn from_accept(accept: &str) -> Self {
        let mut best: Option<(Self, u16)> = None;
        let mut names_any = false;
        for (range, weight) in members(accept) {
            names_any = true;
            let primary = range.split('-').next().unwrap_or(range);
            let language = match primary {
                "*" => Self::Korean,
                _ if primary.eq_ignore_ascii_case("ko") => Self::Korean,
                _ if primary.eq_ignore_ascii_case("en") => Self::English,
                _ => continue,
            };
            if weight > 0 && best.is_none_or(|(_, most)| weight > most) {
                best = Some((language, weight));
            }
        }
        match best {
            Some((language, _)) => language,
            None if names_any => Self::English,
            None => Self::Korean,
        }
    }
}

/// The members of a weighted list, each with its weight in thousandths. One whose weight is no weight counts for nothing.
fn members(list: &str) -> impl Iterator<Item = (&str, u16)> {
    list.split(',').filter_map(|member| {
        let mut parts = member.split(';').map(str::trim);
        let name = parts.next().filter(|name| !name.is_empty())?;
        let weight = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
        Some((name, weight.map_or(WHOLE, thousandths)))
    })
}

fn thousandths(weight: &str) -> u16 {
    match weight.parse::<f32>() {
        Ok(weight) if (0.0..=1.0).contains(&weight) => (weight * f32::from(WHOLE)).round() as u16,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_looks_at_a_page_is_told_from_a_program() {
        let check = |accept: &str, expect: Form| assert_eq!(Form::from_accept(accept), expect, "{accept:?}");
        check("text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8", Form::Page);
        check("TEXT/HTML", Form::Page);
        check("application/json;q=0.5, text/html;q=0.5", Form::Page);
        check("application/json, text/html;q=0.9", Form::Data);
        check("application/json, text/plain, */*", Form::Data);
        check("text/html;q=0", Form::Data);
        check("*/*", Form::Data);
        check("image/avif,image/webp,*/*;q=0.8", Form::Data);
        check("", Form::Data);
    }

    #[test]
    fn the_language_wanted_most_is_spoken() {
        let check = |accept: &str, expect: Language| assert_eq!(Language::from_accept(accept), expect, "{accept:?}");
        check("", Language::Korean);
        check("ko-KR,ko;q=0.9,en-US;q=0.8,en;q=0.7", Language::Korean);
        check("en-US,en;q=0.9,ko;q=0.8", Language::English);
        check("en;q=0.5, KO;q=0.6", Language::Korean);
        check("en;q=0.8,ko;q=0.8", Language::English);
        check("ja,en;q=0.3,ko;q=0.2", Language::English);
        check("ja-JP,ja;q=0.9", Language::English);
        check("ja, *;q=0.1", Language::Korean);
        check("ko;q=0,en;q=0.1", Language::English);
        check("ko;q=0", Language::English);
        check("en;q=x,ko;q=0.1", Language::Korean);
        check("en;q=7,ko;q=0.1", Language::Korean);
        check("kok,enq", Language::English);
        check(",;,", Language::Korean);
    }
}
