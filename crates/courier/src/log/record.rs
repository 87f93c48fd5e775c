//! What stands in the log; the body of each frame is one of these as JSON.

use serde::{Deserialize, Serialize};

use crate::batch::Member;

/// A campaign as it was asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CampaignSpec {
    /// Its name: 1 to 40 of a-z, 0-9, `-` and `_`. The same name is the same campaign, however often it is asked for.
    pub id: String,
    /// The recipient file.
    pub recipients: String,
    /// What is said, without the advert mark.
    pub text: String,
    /// How to want no more: a number that is free to call.
    pub opt_out: String,
    /// The plan's sending curve; without it the provider's rate and the sites' headroom are the only limits.
    #[serde(default)]
    pub curve: Vec<CurveStep>,
    /// What the forecast says of people's clicks; without it headroom is looked at as it is measured, not ahead.
    #[serde(default)]
    pub forecast: Option<Forecast>,
}

/// A stretch of the sending curve.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CurveStep {
    /// When it begins, in minutes since the campaign's beginning.
    pub from_minute: f64,
    /// Messages a minute.
    pub per_minute: f64,
}

/// What a message brings.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Forecast {
    /// The share of recipients who click.
    pub click_rate: f64,
    /// Requests that a click makes.
    pub requests_per_click: f64,
    /// Over how many minutes it makes them.
    pub visit_minutes: f64,
    /// What a request costs, in units.
    pub units_per_request: f64,
}

/// How far a campaign's file was read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// The reading of the file, from 0: recipients whose hours had not come are met again in a later one.
    pub pass: u32,
    /// The next line, from 0, without the head.
    pub line: u32,
    /// Where it begins.
    pub byte: u64,
}

/// A receipt of one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// The batch.
    #[serde(rename = "b")]
    pub batch: u64,
    /// The message within it.
    #[serde(rename = "i")]
    pub index: u32,
    /// Whether it arrived.
    #[serde(rename = "d")]
    pub delivered: bool,
}

/// A usage notification that became durable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notification {
    /// The batch of this one message.
    pub batch: u64,
    /// Its key, made of the transaction's id.
    pub key: String,
    /// The transaction's id.
    pub transaction: String,
    /// The vault's token of the address.
    pub token: String,
    /// What is said.
    pub text: String,
}

/// One durable step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Record {
    /// The log begins: a random name that keys and references carry, so that no two logs' ever meet.
    Origin(String),
    /// A campaign was taken on, at this time.
    Campaign {
        /// Its number.
        number: u16,
        /// When, in milliseconds since 1970.
        at_ms: i64,
        /// As it was asked for.
        spec: CampaignSpec,
    },
    /// A campaign's batch, exactly as it will be sent, and how far the file is done with it.
    Batch {
        /// The campaign's number.
        campaign: u16,
        /// The batch's number.
        batch: u64,
        /// Its key.
        key: String,
        /// When, in milliseconds since 1970.
        at_ms: i64,
        /// Its messages; may be none, where lines were only skipped.
        members: Vec<Member>,
        /// Lines that get nothing, and why, as [`crate::admit::LineState`] numbers it.
        skipped: Vec<(u32, u8)>,
        /// Where reading goes on.
        place: Place,
    },
    /// Notifications, and how far the log that they come from was read: both, or neither.
    Usage {
        /// The topic.
        topic: String,
        /// Its partition.
        partition: i32,
        /// The next offset to read.
        next_offset: i64,
        /// When, in milliseconds since 1970.
        at_ms: i64,
        /// One for each new transaction.
        notifications: Vec<Notification>,
        /// Records that could not be read as a transaction.
        unreadable: u64,
    },
    /// A batch that nobody can have taken has another key.
    Renewed {
        /// The batch.
        batch: u64,
        /// The key in force.
        key: String,
        /// When, in milliseconds since 1970.
        at_ms: i64,
    },
    /// The provider has a batch.
    Accepted {
        /// The batch.
        batch: u64,
        /// When that was known, in milliseconds since 1970.
        at_ms: i64,
    },
    /// A key is too old to be sent again, and nobody knows whether it was taken.
    InDoubt {
        /// The batch.
        batch: u64,
        /// When, in milliseconds since 1970.
        at_ms: i64,
    },
    /// The vault has no address for a message: it was in no attempt, and will be in none.
    Unresolved {
        /// The batch.
        batch: u64,
        /// The message within it.
        index: u32,
    },
    /// Receipts.
    Receipts(Vec<Receipt>),
    /// What is still open of a batch will never be known, or is refused.
    Dead {
        /// The batch.
        batch: u64,
        /// Why, in words without personal data.
        reason: String,
    },
    /// Somebody stopped a campaign, or let it go on.
    Stopped {
        /// The campaign's number.
        campaign: u16,
        /// Whether it is stopped now.
        stopped: bool,
    },
    /// The file was read to its end, and nobody of it waits for his hours.
    Finished {
        /// The campaign's number.
        campaign: u16,
    },
}
