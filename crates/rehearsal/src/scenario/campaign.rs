//! The campaign of a scenario: who is sent a message when, and how people answer it.

use std::time::Duration;

use super::edge::whole;
use super::fields::{Fields, Reader, number, tables};

/// Recipients of one rehearsal.
const RECIPIENTS_MAX: i64 = 1_000_000;
/// Parts that a response may be made of, as the planner takes them.
const DELAYS_MAX: usize = 8;
/// How far the shares of the parts may be from 1: they are written with two digits.
const SHARES_SLIP: f64 = 0.001;

/// Messages that bring visitors. Times and rates are those of the rehearsal: the planner is asked at real size, see
/// [`crate::campaign::scale`].
#[derive(Debug, Clone, PartialEq)]
pub struct Campaign {
    /// Index into [`super::Scenario::phases`]: sending begins with it.
    pub phase: usize,
    /// How many are sent a message.
    pub recipients: u32,
    /// How long sending takes.
    pub lasts: Duration,
    /// The share of recipients who come.
    pub click_rate: f64,
    /// The share that the planner is told.
    pub click_rate_forecast: f64,
    /// How long after the message they come.
    pub delays: Vec<Delay>,
}

/// A part of those who come, whose delays are exponential.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Delay {
    /// How large a part.
    pub share: f64,
    /// The mean.
    pub mean: Duration,
}

pub(super) fn campaign(
    reader: &mut Reader<'_>,
    mut fields: Fields<'_, '_>,
    (phases, has_edge): (&[String], bool),
) -> Option<Campaign> {
    if !has_edge {
        reader.mistake(fields.span_of("recipients"), "a campaign without an [edge] goes nowhere", "add an [edge]");
    }
    let phase = fields.refers(reader, "phase", "phase", phases, None);
    let recipients = whole(reader, &mut fields, "recipients", RECIPIENTS_MAX, 10_000);
    let lasts = fields.seconds(reader, "seconds", None);
    if lasts.is_some_and(|lasts| lasts.is_zero()) {
        reader.mistake(fields.span_of("seconds"), "sending takes no time", "write how many `seconds` it takes");
    }
    let click_rate = share(reader, &mut fields, "click_rate", "0.1152");
    let click_rate_forecast = share(reader, &mut fields, "click_rate_forecast", "0.06");
    let delays = tables(reader, &mut fields, "delays", "[[campaign.delays]]", 1..=DELAYS_MAX, delay);
    if let Some(delays) = &delays {
        let whole: f64 = delays.iter().map(|delay| delay.share).sum();
        if (whole - 1.0).abs() > SHARES_SLIP {
            let what = format!("the shares of `delays` add up to {whole}");
            reader.mistake(fields.span_of("delays"), what, "let them add up to 1");
        }
    }
    fields.finish(reader);
    Some(Campaign {
        phase: phase?,
        recipients: recipients?,
        lasts: lasts?,
        click_rate: click_rate?,
        click_rate_forecast: click_rate_forecast?,
        delays: delays?,
    })
}

/// A part of 1.
fn share(reader: &mut Reader<'_>, fields: &mut Fields<'_, '_>, key: &'static str, example: &str) -> Option<f64> {
    let value = fields.required(reader, key, example)?;
    number(reader, key, value, 0.0..=1.0)
}

fn delay(reader: &mut Reader<'_>, mut fields: Fields<'_, '_>) -> Option<Delay> {
    let share = share(reader, &mut fields, "share", "0.45");
    let mean = fields.seconds(reader, "mean_seconds", None);
    fields.finish(reader);
    Some(Delay { share: share?, mean: mean? })
}
