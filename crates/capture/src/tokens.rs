//! Tokens from the vault: one request per parcel, over mutual TLS. While the vault is away nothing is written: plain text
//! never leaves in a token's place.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use naru_runtime::config::HostPort;
use naru_runtime::mtls::{MtlsError, MtlsFiles, RoleClient};
use serde::{Deserialize, Serialize};

use crate::change::{Cell, Op};
use crate::status::Status;
use crate::table::Token;
use crate::writer::Item;

/// Capture's own role, which its certificate names, and the vault's.
const ROLE: &str = "capture";
const VAULT: &str = "vault";
/// For the record of the vault.
const PURPOSE: &str = "capture of changes";
/// What one request asks for at most: the vault takes 64 parts, 20,000 values and 4 MiB (where it is not told to take
/// less: it says so, and requests become smaller).
const PARTS_MAX: usize = 64;
const VALUES_MAX: usize = 4_096;
const REQUEST_BYTES_MAX: usize = 2 << 20;
/// What a request has beside its values, by part: field, kind, version and brackets.
const PART_BYTES: usize = 128;
/// The largest answer: each token of a request may be twice its value and 80 bytes.
const ANSWER_BYTES_MAX: usize = 16 << 20;
/// A session with the vault, and an answer, take at most this.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// Between two tries while it is away.
const AGAIN_FIRST: Duration = Duration::from_millis(100);
const AGAIN_MAX: Duration = Duration::from_secs(5);

naru_runtime::config! {
    /// The vault that makes tokens.
    pub struct VaultClientConfig {
        /// Where it listens.
        pub address: HostPort,
        /// Capture's own certificate, for the role capture, and the authority of the vault's.
        pub tls: MtlsFiles,
    }
}

/// Why there are no tokens.
#[derive(Debug, thiserror::Error)]
pub(crate) enum VaultError {
    /// It cannot be reached, or broke off. A retry helps.
    #[error("the vault is away")]
    Away(#[source] std::io::Error),
    /// It is busy, or cannot record the use. A retry helps.
    #[error("the vault answers {0}: {1}")]
    Later(u16, String),
    /// The request is beyond what it takes: with fewer values it may answer.
    #[error("the vault answers {0}: {1}")]
    TooMuch(u16, String),
    /// It refuses for good: the value cannot have a token.
    #[error("the vault refuses: {error}")]
    Refused {
        /// Its words, which say no value.
        error: String,
        /// The part at fault.
        part: usize,
        /// The value within it.
        index: Option<usize>,
    },
}

impl VaultError {
    fn retry_can_help(&self) -> bool {
        matches!(self, Self::Away(_) | Self::Later(..))
    }
}

#[derive(Serialize)]
struct Request<'r> {
    purpose: &'static str,
    parts: Vec<Part<'r>>,
}

#[derive(Serialize)]
struct Part<'r> {
    field: &'r str,
    kind: &'static str,
    version: Option<u32>,
    values: Vec<&'r str>,
}

#[derive(Deserialize)]
struct Answer {
    parts: Vec<AnswerPart>,
}

#[derive(Deserialize)]
struct AnswerPart {
    tokens: Vec<String>,
}

#[derive(Deserialize)]
struct Refusal {
    error: String,
    part: Option<usize>,
    index: Option<usize>,
}

/// A client of the vault, with one connection that is kept.
#[derive(Debug)]
pub(crate) struct Vault {
    client: RoleClient,
    /// Values and bytes of the next request: fewer, once it was told that those were too many.
    room: Room,
    status: Arc<Status>,
}

/// What a request may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Room {
    values: usize,
    bytes: usize,
}

impl Room {
    const ALL: Self = Self { values: VALUES_MAX, bytes: REQUEST_BYTES_MAX };
}

/// Where a value stands: the item, and the column within its row.
type At = (usize, usize);
/// A way of making tokens (field, kind, version), in an order of its own.
type Way<'t> = (&'t str, &'t str, Option<u32>);

impl Vault {
    /// Reads the certificates. Connects to nothing yet.
    ///
    /// # Errors
    /// When the files do not fit.
    pub(crate) fn open(config: &VaultClientConfig, status: Arc<Status>) -> Result<Self, MtlsError> {
        let client = RoleClient::open(&config.tls, ROLE, (VAULT, config.address.clone()), ANSWER_BYTES_MAX)?;
        Ok(Self { client, room: Room::ALL, status })
    }

    /// Puts tokens in the place of the values that have a policy. Waits while the vault is away. A table whose value can
    /// have no token is stopped, and its later items are left out.
    pub(crate) async fn tokenise(&mut self, items: Vec<Item>) -> Vec<Item> {
        let mut items = items;
        let mut begin = 0;
        while begin < items.len() {
            let end = self.some(&mut items, begin).await;
            begin = end;
        }
        items
    }

    /// As many items from `begin` on as one request takes; where it ended.
    async fn some(&mut self, items: &mut Vec<Item>, begin: usize) -> usize {
        let (wanted, end) = wanted(items, begin, self.room);
        if wanted.is_empty() {
            return end;
        }
        let answer = {
            let mut parts = Vec::with_capacity(wanted.len());
            for (token, places) in &wanted {
                let values = places.iter().map(|at| text(items, *at)).collect();
                parts.push(Part { field: &token.field, kind: token.kind.name(), version: token.version, values });
            }
            let body = serde_json::to_vec(&Request { purpose: PURPOSE, parts }).expect("values are text");
            self.ask(&body).await
        };
        match answer {
            Ok(answer) if fits(&answer, &wanted) => {
                for ((_, places), part) in wanted.iter().zip(answer.parts) {
                    for ((item, column), token) in places.iter().zip(part.tokens) {
                        if let Some(Item::Change(change)) = items.get_mut(*item) {
                            change.row[*column] = Cell::Token(token.into());
                        }
                    }
                }
                self.room = Room::ALL;
                end
            }
            Ok(_) => {
                self.stop(items, &wanted, 0, 0, "the vault answered with another number of tokens".to_owned(), begin)
            }
            // The row that is alone too much stops its table; the others are asked for in smaller requests.
            Err(VaultError::TooMuch(..)) if rows(&wanted) > 1 => {
                let values: usize = wanted.iter().map(|(_, places)| places.len()).sum();
                self.room = Room { values: (values / 2).max(1), bytes: (self.room.bytes / 2).max(1) };
                begin
            }
            Err(VaultError::Refused { error, part, index }) => {
                self.stop(items, &wanted, part, index.unwrap_or(0), error, begin)
            }
            Err(error) => self.stop(items, &wanted, 0, 0, error.to_string(), begin),
        }
    }

    /// Stops the table of the value at fault, from its item on; the same request is made again without it.
    fn stop(
        &self,
        items: &mut Vec<Item>,
        wanted: &[(Token, Vec<At>)],
        part: usize,
        index: usize,
        error: String,
        begin: usize,
    ) -> usize {
        let at = wanted.get(part).and_then(|(_, places)| places.get(index)).or_else(|| wanted.first()?.1.first());
        let Some((item, column)) = at.copied() else { return begin };
        let Item::Change(change) = &items[item] else { return begin };
        let topic = change.table.topic.clone();
        let name = &change.table.columns[column].name;
        let reason = format!(
            "the column {name} has a value without a token: {error}; change the row or the policy, then start capture again, \
             which copies the table anew"
        );
        // Nothing of the table goes on from here, least of all in plain text.
        let is_later = |(at, item): &(usize, Item)| match item {
            Item::Change(change) => *at < begin || change.table.topic != topic || change.op == Op::Begin,
            Item::Stop { .. } => true,
        };
        let kept: Vec<Item> =
            std::mem::take(items).into_iter().enumerate().filter(is_later).map(|(_, item)| item).collect();
        *items = kept;
        items.insert(begin.min(items.len()), Item::Stop { topic, reason });
        begin
    }

    /// Asks until there is an answer, or a refusal that asking again does not mend.
    async fn ask(&mut self, body: &[u8]) -> Result<Answer, VaultError> {
        let mut wait = AGAIN_FIRST;
        loop {
            let was_kept = self.client.is_connected();
            let asked = tokio::time::timeout(ANSWER_WITHIN, self.once(body)).await;
            let late = |_| VaultError::Away(std::io::Error::new(std::io::ErrorKind::TimedOut, "no answer in time"));
            match asked.map_err(late).and_then(|answer| answer) {
                Ok(answer) => {
                    self.status.vault_answers();
                    return Ok(answer);
                }
                // One that was kept may have been closed while nothing was asked; a new one tells.
                Err(VaultError::Away(_)) if was_kept => self.client.forget(),
                Err(error) if error.retry_can_help() => {
                    self.client.forget();
                    let reason = naru_runtime::causes::with_causes(&error);
                    if self.status.vault_is_away(reason) {
                        let error = &error as &(dyn std::error::Error + 'static);
                        tracing::error!(error, "no tokens from the vault: nothing is written until there are");
                    }
                    tokio::time::sleep(wait).await;
                    wait = (wait * 2).min(AGAIN_MAX);
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn once(&mut self, body: &[u8]) -> Result<Answer, VaultError> {
        let (status, said) = self.client.post("/v1/tokenise", body).await.map_err(VaultError::Away)?;
        if status == 200 {
            return serde_json::from_slice(&said).map_err(|_| VaultError::Later(status, "not an answer".to_owned()));
        }
        let refusal: Option<Refusal> = serde_json::from_slice(&said).ok();
        match (status, refusal) {
            (422, Some(Refusal { error, part: Some(part), index })) => Err(VaultError::Refused { error, part, index }),
            (413 | 422, refusal) => {
                Err(VaultError::TooMuch(status, refusal.map(|said| said.error).unwrap_or_default()))
            }
            // One who may not ask, too: whoever runs the vault mends it, and waiting costs nothing.
            (status, refusal) => Err(VaultError::Later(status, refusal.map(|said| said.error).unwrap_or_default())),
        }
    }
}

/// How many items a request has values of.
fn rows(wanted: &[(Token, Vec<At>)]) -> usize {
    wanted.iter().flat_map(|(_, places)| places).map(|(item, _)| item).collect::<BTreeSet<_>>().len()
}

fn fits(answer: &Answer, wanted: &[(Token, Vec<At>)]) -> bool {
    answer.parts.len() == wanted.len() && { answer.parts.iter().zip(wanted) }
        .all(|(part, (_, places))| part.tokens.len() == places.len())
}

fn text(items: &[Item], (item, column): At) -> &str {
    let Some(Item::Change(change)) = items.get(item) else { return "" };
    match change.row.get(column) {
        Some(Cell::Text(text)) => std::str::from_utf8(text).unwrap_or_default(),
        _ => "",
    }
}

fn way(token: &Token) -> Way<'_> {
    (&token.field, token.kind.name(), token.version)
}

/// The values from `begin` on that want tokens, by how they are made; where the request is full. An item goes in whole; the
/// first does, whatever room there is.
fn wanted(items: &[Item], begin: usize, room: Room) -> (Vec<(Token, Vec<At>)>, usize) {
    let mut wanted: BTreeMap<Way<'_>, (Token, Vec<At>)> = BTreeMap::new();
    let (mut values, mut bytes) = (0, 0);
    let mut end = begin;
    for (number, item) in items.iter().enumerate().skip(begin) {
        let asked: Vec<(usize, &Token, usize)> = asked_of(item).collect();
        let fresh: BTreeSet<Way<'_>> =
            asked.iter().map(|(_, token, _)| way(token)).filter(|way| !wanted.contains_key(way)).collect();
        let more: usize = asked.iter().map(|(.., bytes)| bytes).sum::<usize>() + fresh.len() * PART_BYTES;
        let is_full =
            values + asked.len() > room.values || bytes + more > room.bytes || wanted.len() + fresh.len() > PARTS_MAX;
        if is_full && values > 0 {
            break;
        }
        (values, bytes) = (values + asked.len(), bytes + more);
        for (ordinal, token, _) in asked {
            wanted.entry(way(token)).or_insert_with(|| (token.clone(), Vec::new())).1.push((number, ordinal));
        }
        end = number + 1;
    }
    (wanted.into_values().collect(), end)
}

/// The values of an item that want tokens: column, how, and what it takes in a request. What is no UTF-8 is left as it is:
/// its record is refused.
fn asked_of(item: &Item) -> impl Iterator<Item = (usize, &Token, usize)> {
    let change = match item {
        Item::Change(change) => Some(change),
        Item::Stop { .. } => None,
    };
    change.into_iter().flat_map(|change| {
        { change.table.columns.iter().zip(&change.row).enumerate() }.filter_map(|(ordinal, (column, cell))| {
            let (Some(token), Cell::Text(text)) = (&column.token, cell) else { return None };
            let text = std::str::from_utf8(text).ok()?;
            Some((ordinal, token, json_bytes(text)))
        })
    })
}

/// What a text takes as a string of JSON, with its comma.
fn json_bytes(text: &str) -> usize {
    let bytes = text.bytes().map(|byte| match byte {
        b'"' | b'\\' => 2,
        0x00..0x20 => 6,
        _ => 1,
    });
    bytes.sum::<usize>() + 3
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a test panics on failure

    use super::*;
    use crate::change::{Change, Place, text};
    use crate::table::TokenKind;
    use crate::table::tests::{column, table};

    /// A row of columns that leave as tokens of so many fields.
    fn row(fields: usize, value: &Cell) -> Item {
        let token = |field: usize| Token { kind: TokenKind::Hmac, field: format!("f{field}"), version: None };
        let column = |at| crate::table::Column { token: Some(token(at)), ..column(at as i16 + 1, "c", 25, -1) };
        let table = Arc::new(table((0..fields).map(column).collect(), vec![0]));
        let place = Place { position: 1, sequence: 0 };
        Item::Change(Change { table, op: Op::Insert, place, transaction: 1, at: 0, row: vec![value.clone(); fields] })
    }

    #[test]
    fn a_request_is_full_before_a_row_that_does_not_fit_and_never_empty() {
        let check = |items: &[Item], room, values: usize, end: usize| {
            let (wanted, found) = wanted(items, 0, room);
            assert_eq!((wanted.iter().map(|(_, places)| places.len()).sum::<usize>(), found), (values, end));
        };
        let short = text("x");
        let long = text(&"y".repeat(REQUEST_BYTES_MAX));
        let control = text(&"\u{1}".repeat(REQUEST_BYTES_MAX / 5));
        check(&[row(2, &short), row(2, &short)], Room::ALL, 4, 2);
        check(&[row(1, &short), row(1, &long), row(1, &short)], Room::ALL, 1, 1);
        check(&[row(1, &long), row(1, &short)], Room::ALL, 1, 1);
        check(&[row(1, &short), row(1, &control)], Room::ALL, 1, 1);
        check(&[row(60, &short), row(65, &short)], Room::ALL, 60, 1);
        check(&[row(1, &short), row(1, &short)], Room { values: 1, ..Room::ALL }, 1, 1);
        let stop = Item::Stop { topic: "t".into(), reason: String::new() };
        check(&[stop, row(1, &short)], Room::ALL, 1, 2);
        // What is no text gets no token, least of all that of the empty one.
        check(&[row(1, &Cell::Text(bytes::Bytes::from_static(b"\xff")))], Room::ALL, 0, 1);
    }
}
