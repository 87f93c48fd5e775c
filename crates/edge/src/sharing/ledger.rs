//! Who may have what of each site, and until when it has to be counted: pure.

use std::collections::BTreeMap;

use super::message::Question;
use super::{LEASE_MS, SITES_MAX};
use crate::policy::Millis;
use crate::policy::share::WHOLE;

/// What holds for all gateways.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// How many there are.
    pub gateways: u32,
    /// What part of each site each has without a lease.
    pub safe: u32,
    /// How long requests of one that is heard of no more are counted behind the end of its lease.
    pub settle_ms: Millis,
}

/// Why a question gets no answer. The gateway's configuration is at fault, or the network brought it twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It was told other numbers than the coordinator.
    #[error("it has other `sharing.gateways` or `sharing.safe_percent`, or a number above them")]
    Terms,
    /// Another process has this number, and asked a moment ago.
    #[error("another gateway has its number")]
    Number,
    /// It is older than the last of its process.
    #[error("it is an old question")]
    Old,
}

/// The coordinator's book.
#[derive(Debug)]
pub struct Ledger {
    terms: Terms,
    /// When it was opened: what was given before is not in it.
    began: Millis,
    sites: BTreeMap<String, Vec<Account>>,
    sessions: Vec<Session>,
}

/// What one gateway has of one site.
#[derive(Debug, Clone, Copy, Default)]
struct Account {
    /// The most that its requests may hold, until then; behind that, the safe part.
    counted: u32,
    until: Millis,
    /// The same of a process that had its number before and did not say that it goes.
    former: (u32, Millis),
    demand: u32,
    /// Until then it is asked for, and its demand counts.
    asks: Millis,
    /// Whether it was ever heard of.
    known: bool,
}

/// The process behind a number.
#[derive(Debug, Clone, Copy, Default)]
struct Session {
    run: u64,
    sequence: u64,
    /// Until then nobody else has the number.
    until: Millis,
    /// Whether it said that another process goes on.
    left: bool,
}

impl Ledger {
    /// An empty one.
    pub fn new(terms: Terms, now: Millis) -> Self {
        Self { terms, began: now, sites: BTreeMap::new(), sessions: vec![Session::default(); terms.gateways as usize] }
    }

    /// Answers a question with what the gateway may have of each site.
    ///
    /// # Errors
    /// When it may have no more than its safe parts.
    pub fn ask(&mut self, now: Millis, question: &Question) -> Result<Vec<(String, u32)>, Refused> {
        let terms = self.terms;
        let place = question.number.checked_sub(1).filter(|_| question.number <= terms.gateways);
        let place = place.filter(|_| (question.gateways, question.safe) == (terms.gateways, terms.safe));
        let place = place.ok_or(Refused::Terms)? as usize;
        let session = &mut self.sessions[place];
        if session.run == question.run && question.sequence <= session.sequence {
            return Err(Refused::Old);
        }
        if session.run != question.run && now < session.until {
            return Err(Refused::Number);
        }
        let is_another = session.run != 0 && session.run != question.run && !session.left;
        let until = if question.leaves { now } else { now.saturating_add(LEASE_MS) };
        *session = Session { run: question.run, sequence: question.sequence, until, left: question.leaves };
        let mut grants = Vec::new();
        for wish in question.wishes.iter().take(SITES_MAX) {
            if !self.sites.contains_key(&wish.site) && self.sites.len() >= SITES_MAX {
                continue;
            }
            let accounts = self
                .sites
                .entry(wish.site.clone())
                .or_insert_with(|| vec![Account::default(); terms.gateways as usize]);
            if is_another {
                accounts[place].former = (accounts[place].counted, accounts[place].until);
            }
            accounts[place].demand = wish.demand.min(WHOLE);
            accounts[place].asks = until;
            let grant = match question.leaves {
                true => wish.granted,
                false => Self::grant(&terms, self.began, now, accounts, place, wish.granted),
            };
            let account = &mut accounts[place];
            account.known = true;
            // An answer to an earlier question is thrown away by whoever has asked again. So this is all that it can have.
            account.counted = wish.granted.max(wish.held).max(grant).min(WHOLE);
            account.until = now.saturating_add(LEASE_MS).saturating_add(terms.settle_ms);
            grants.push((wish.site.clone(), grant));
        }
        Ok(grants)
    }

    fn grant(terms: &Terms, began: Millis, now: Millis, accounts: &[Account], place: usize, has: u32) -> u32 {
        let within = |(part, until): (u32, Millis)| if now < until { part } else { 0 };
        let others = accounts.iter().enumerate().filter(|(at, _)| *at != place);
        let others = others.map(|(_, account)| within((account.counted, account.until)).max(terms.safe));
        let formers = accounts.iter().map(|account| within(account.former));
        let free = WHOLE.saturating_sub(others.chain(formers).fold(0, u32::saturating_add));
        // One more each, so that a pool that nobody wants is divided evenly.
        let asks = |account: &&Account| now < account.asks;
        let demand = |account: &Account| u64::from(account.demand) + 1;
        let all: u64 = accounts.iter().filter(asks).map(demand).sum();
        let pool = u64::from(WHOLE.saturating_sub(terms.safe.saturating_mul(terms.gateways)));
        let part = pool * demand(&accounts[place]) / all.max(1);
        let wanted = terms.safe.saturating_add(u32::try_from(part).unwrap_or(WHOLE));
        // What a coordinator before this one has given may still be held. Everybody keeps what he has, and nobody gets
        // more, until all have said what that is, or it is over.
        let is_over = now >= began.saturating_add(LEASE_MS).saturating_add(terms.settle_ms);
        let all_known = accounts.iter().enumerate().all(|(at, account)| at == place || account.known);
        let may = if is_over || all_known { free } else { free.min(has) };
        wanted.min(may).max(terms.safe)
    }
}

#[cfg(test)]
#[path = "ledger_tests.rs"]
mod tests;
