//! What goes to every browser that follows: made once for each moment and language, however many there are.

use serde::Serialize;

use crate::gather::Snapshot;
use crate::history::Points;
use crate::marks::Mark;
use crate::page::cards;
use crate::words::Lang;

/// The page at one moment, in every language.
#[derive(Debug, Default)]
pub struct Frame {
    /// When, in seconds since 1970.
    pub t: f64,
    /// The numbers of the charts.
    pub points: Points,
    /// What happened in the last while: a browser that was slow gets it twice, and knows what it has.
    pub marks: Vec<Mark>,
    cards: [Vec<(&'static str, String)>; 2],
}

/// What is sent of one.
#[derive(Serialize)]
pub struct News<'f> {
    t: f64,
    points: &'f Points,
    marks: &'f [Mark],
    /// The cards that are not as this browser has them, as HTML.
    cards: std::collections::BTreeMap<&'static str, &'f str>,
}

impl Frame {
    /// Of a moment.
    pub fn of(snapshot: &Snapshot, all_marks: &[Mark], new_marks: Vec<Mark>) -> Self {
        Self {
            t: snapshot.at_unix_ms as f64 / 1_000.0,
            points: snapshot.points.clone(),
            marks: new_marks,
            cards: Lang::ALL.map(|lang| cards::all(snapshot, all_marks, lang)),
        }
    }

    /// The cards, in a language.
    pub fn cards(&self, lang: Lang) -> &[(&'static str, String)] {
        &self.cards[lang as usize]
    }

    /// What a browser lacks that has the page as it was at another moment.
    pub fn news<'f>(&'f self, before: Option<&Self>, lang: Lang) -> News<'f> {
        let had = before.map_or(&[][..], |before| before.cards(lang));
        let is_new = |(name, text): &&(&'static str, String)| !had.iter().any(|had| had.0 == *name && had.1 == *text);
        News {
            t: self.t,
            points: &self.points,
            marks: &self.marks,
            cards: self.cards(lang).iter().filter(is_new).map(|(name, text)| (*name, text.as_str())).collect(),
        }
    }
}
