//! How records stand in an entry of the chain.
//!
//! Numbers are little-endian. A block: format (1), end of the run (1: 0 or 1), run (8), number of its first record in
//! the run (8), lost records of open and of core requests in front of it (8, 8), count of places (2), places, count of
//! records (2), records. A place: kind (1: 1 owned, 2 rented), length of the name (1), name, family (1: 4 or 6),
//! address (4 or 16), port (2). A record: request id (16), time (8), plan (8), place (2, from 0; 65535 for none),
//! class (1: 0 none, 1 core, 2 open), reason (1, by the numbers of [`reason`]).

use std::net::{IpAddr, SocketAddr};

use naru_model::{Class, SiteKind};

use super::record::{Place, Record, SiteName};
use crate::policy::Reason;

/// The format that is written, and the only one that is read.
const FORMAT: u8 = 1;

/// Most records of a block. One hash and one write then cost each record little, and a block stays below 64 KiB.
pub(super) const RECORDS_MAX: usize = 512;

const NO_PLACE: u16 = u16::MAX;

/// Records that were taken from the queue together.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Block {
    /// The start of the writer, milliseconds since 1970: numbers count within it.
    pub(super) run: u64,
    /// The number of the first record, or of the next when there is none.
    pub(super) first: u64,
    /// Records of open requests, and of those on no route, that did not fit in front of this block.
    pub(super) lost_open: u64,
    /// Records of core requests that did not fit.
    pub(super) lost_core: u64,
    /// Whether the writer ended behind this block, and nothing of the run is missing.
    pub(super) is_end: bool,
    pub(super) records: Vec<Record>,
}

impl Block {
    /// The block as bytes.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.clear();
        out.extend_from_slice(&[FORMAT, u8::from(self.is_end)]);
        for number in [self.run, self.first, self.lost_open, self.lost_core] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        let mut places: Vec<Place> = Vec::new();
        let mut indexes = Vec::with_capacity(self.records.len());
        for record in &self.records {
            indexes.push(match record.place {
                None => NO_PLACE,
                Some(place) => {
                    let known = places.iter().rposition(|known| *known == place);
                    known.unwrap_or_else(|| {
                        places.push(place);
                        places.len() - 1
                    }) as u16 // at most one place per record
                }
            });
        }
        out.extend_from_slice(&(places.len() as u16).to_le_bytes());
        places.iter().for_each(|place| put_place(out, place));
        out.extend_from_slice(&(self.records.len() as u16).to_le_bytes());
        for (record, place) in self.records.iter().zip(indexes) {
            out.extend_from_slice(&record.request_id.to_le_bytes());
            out.extend_from_slice(&record.unix_ms.to_le_bytes());
            out.extend_from_slice(&record.plan.to_le_bytes());
            out.extend_from_slice(&place.to_le_bytes());
            let class = match record.class {
                None => 0,
                Some(Class::Core) => 1,
                Some(Class::Open) => 2,
            };
            out.extend_from_slice(&[class, record.reason as u8]);
        }
    }

    /// The block that these bytes are; none when they are no block, or more than one.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes;
        let [FORMAT, is_end @ (0 | 1)] = *take::<2>(&mut rest)? else { return None };
        let mut number = || take(&mut rest).map(|bytes| u64::from_le_bytes(*bytes));
        let (run, first, lost_open, lost_core) = (number()?, number()?, number()?, number()?);
        let places = (0..count(&mut rest)?).map(|_| place(&mut rest)).collect::<Option<Vec<_>>>()?;
        let records = (0..count(&mut rest)?).map(|_| record(&mut rest, &places)).collect::<Option<Vec<_>>>()?;
        let block = Self { run, first, lost_open, lost_core, is_end: is_end == 1, records };
        (rest.is_empty() && block.records.len() <= RECORDS_MAX).then_some(block)
    }
}

fn put_place(out: &mut Vec<u8>, place: &Place) {
    let kind = match place.kind {
        SiteKind::Owned => 1,
        SiteKind::Rented => 2,
    };
    let name = place.site.as_str().as_bytes();
    out.extend_from_slice(&[kind, name.len() as u8]);
    out.extend_from_slice(name);
    match place.address.ip() {
        IpAddr::V4(address) => {
            out.push(4);
            out.extend_from_slice(&address.octets());
        }
        IpAddr::V6(address) => {
            out.push(6);
            out.extend_from_slice(&address.octets());
        }
    }
    out.extend_from_slice(&place.address.port().to_le_bytes());
}

fn place(rest: &mut &[u8]) -> Option<Place> {
    let [kind, length] = *take(rest)?;
    let kind = match kind {
        1 => SiteKind::Owned,
        2 => SiteKind::Rented,
        _ => return None,
    };
    let (name, behind) = rest.split_at_checked(usize::from(length))?;
    *rest = behind;
    let site = SiteName::from_bytes(name)?;
    let ip = match take(rest)? {
        [4] => IpAddr::from(*take::<4>(rest)?),
        [6] => IpAddr::from(*take::<16>(rest)?),
        _ => return None,
    };
    let port = u16::from_le_bytes(*take(rest)?);
    Some(Place { site, kind, address: SocketAddr::new(ip, port) })
}

fn record(rest: &mut &[u8], places: &[Place]) -> Option<Record> {
    let request_id = u128::from_le_bytes(*take(rest)?);
    let unix_ms = u64::from_le_bytes(*take(rest)?);
    let plan = u64::from_le_bytes(*take(rest)?);
    let place = match u16::from_le_bytes(*take(rest)?) {
        NO_PLACE => None,
        index => Some(*places.get(usize::from(index))?),
    };
    let [class, code] = *take(rest)?;
    let class = match class {
        0 => None,
        1 => Some(Class::Core),
        2 => Some(Class::Open),
        _ => return None,
    };
    Some(Record { request_id, unix_ms, class, place, plan, reason: reason(code)? })
}

/// The reason with this number. Numbers are never given twice: old logs are read for years.
fn reason(code: u8) -> Option<Reason> {
    use Reason::*;
    let reason = Reason::ALL.into_iter().find(|reason| *reason as u8 == code)?;
    // A new reason fails to build here until it is in the list above.
    match reason {
        Stays | First | NextOwned | PreRented | Autoscaled | Retry | Full | Down | Behind | NotYet | NoRetry
        | Unrouted => Some(reason),
    }
}

fn count(rest: &mut &[u8]) -> Option<u16> {
    take(rest).map(|bytes| u16::from_le_bytes(*bytes))
}

fn take<'b, const N: usize>(rest: &mut &'b [u8]) -> Option<&'b [u8; N]> {
    let (taken, behind) = rest.split_first_chunk()?;
    *rest = behind;
    Some(taken)
}
