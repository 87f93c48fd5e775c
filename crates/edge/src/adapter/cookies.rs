//! What a browser carries for the edge: who it is to the waiting room, its visit, its ticket.

use http::header;
use pingora_core::Result;
use pingora_http::{RequestHeader, ResponseHeader};

use crate::gateway::Gateway;
use crate::policy::visit::CLIENT_MS_MAX;
use crate::policy::{ClientKey, Ticket, Visit};

/// Who a browser is to the waiting room and to the order of sites, and its visit, signed.
const VISIT: &str = "naru_visit";
/// The ticket of the waiting room, signed; it says whose it is, too.
const TICKET: &str = "naru_ticket";
/// What no server ever sees.
pub(super) const VISIT_COOKIES: [&str; 2] = [VISIT, TICKET];
/// How long a browser keeps them.
const COOKIE_S: u64 = CLIENT_MS_MAX / 1000;
/// A visit is written again when it is older than this, so that most answers carry no cookie.
pub(super) const VISIT_AGE_MS: u64 = 60_000;

/// A browser, by what it carries.
#[derive(Debug)]
pub(super) struct Carried {
    pub client: ClientKey,
    pub visit: Option<Visit>,
    pub ticket: Option<Ticket>,
}

impl Carried {
    /// Nobody, until cookies were read.
    pub fn nobody() -> Self {
        Self { client: ClientKey(0), visit: None, ticket: None }
    }

    /// The ticket by which somebody enters who is not inside yet.
    pub fn entry(&self) -> Option<Ticket> {
        self.ticket.filter(|_| !self.visit.is_some_and(|visit| visit.is_inside()))
    }

    /// Reads the cookies. What is expired, forged or somebody else's counts for nothing, and is replaced. Who carries
    /// nothing that counts is somebody new: a random number, which nobody but the edge can give him.
    pub fn read(request: &RequestHeader, gateway: &Gateway, now: u64) -> Self {
        let (visit, ticket) = cookies(request);
        let tokens = &gateway.tokens;
        let (known, visit) = match visit.and_then(|text| Visit::read(text, tokens, now).ok()) {
            Some((client, visit)) => (Some(client), visit),
            None => (None, None),
        };
        let ticket = ticket.and_then(|text| Ticket::read(text, tokens, known, now).ok());
        let client = known.or_else(|| ticket.map(|ticket| ticket.client()));
        Self { client: client.unwrap_or_else(|| ClientKey(rand::random())), visit, ticket }
    }

    /// Writes what the browser carries from here on, where it is not what it has.
    ///
    /// # Errors
    /// What Pingora says of a header; ours are plain.
    pub fn set(
        &self,
        head: &mut ResponseHeader,
        visit: Option<Visit>,
        ticket: Option<Ticket>,
        gateway: &Gateway,
        is_tls: bool,
    ) -> Result<()> {
        let mut set = |name: &str, value: &str, age_s: u64| {
            let secure = if is_tls { "; Secure" } else { "" };
            let text = format!("{name}={value}; Path=/; Max-Age={age_s}; HttpOnly; SameSite=Lax{secure}");
            head.append_header(header::SET_COOKIE, text).map(drop)
        };
        if let Some(visit) = visit {
            set(VISIT, &visit.sign(&gateway.tokens), COOKIE_S)?;
            if self.ticket.is_some() {
                set(TICKET, "", 0)?;
            }
        }
        if let Some(ticket) = ticket.filter(|ticket| self.ticket != Some(*ticket)) {
            set(TICKET, &ticket.sign(&gateway.tokens), COOKIE_S)?;
        }
        Ok(())
    }
}

/// The first visit and the first ticket among the cookies.
fn cookies(request: &RequestHeader) -> (Option<&str>, Option<&str>) {
    let fields = request.headers.get_all(header::COOKIE).iter().filter_map(|field| field.to_str().ok());
    let pairs = fields.flat_map(|field| field.split(';')).map(str::trim);
    let named = pairs.filter_map(|pair| pair.strip_prefix("naru_")?.split_once('='));
    named.fold((None, None), |(visit, ticket), (name, value)| match name {
        "visit" => (visit.or(Some(value)), ticket),
        "ticket" => (visit, ticket.or(Some(value))),
        _ => (visit, ticket),
    })
}
