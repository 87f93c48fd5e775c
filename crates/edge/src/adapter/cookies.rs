//! What a browser carries for the edge: who it is to the waiting room, its visit, its ticket.

use http::header;
use pingora_core::Result;
use pingora_http::{RequestHeader, ResponseHeader};

use crate::gateway::Gateway;
use crate::policy::{ClientKey, Ticket, Visit};

/// Who a browser is to the waiting room and to the order of sites: random, and made by the edge.
const VISITOR: &str = "naru_visitor";
/// The visit, signed.
const VISIT: &str = "naru_visit";
/// The ticket of the waiting room, signed.
const TICKET: &str = "naru_ticket";
/// What no server ever sees.
pub(super) const VISIT_COOKIES: [&str; 3] = [VISITOR, VISIT, TICKET];
/// How long a browser keeps them: a day is longer than any promotion's line.
const COOKIE_S: u32 = 86_400;
/// A visit is written again when it is older than this, so that most answers carry no cookie.
pub(super) const VISIT_AGE_MS: u64 = 60_000;

/// A browser, by what it carries.
#[derive(Debug)]
pub(super) struct Carried {
    pub client: ClientKey,
    pub visit: Option<Visit>,
    pub ticket: Option<Ticket>,
    /// Who it is from here on, when it carried nothing.
    fresh: Option<u128>,
}

impl Carried {
    /// Nobody, until cookies were read.
    pub fn nobody() -> Self {
        Self { client: ClientKey(0), visit: None, ticket: None, fresh: None }
    }

    /// Reads the cookies. What is expired, forged or somebody else's counts for nothing, and is replaced.
    pub fn read(request: &RequestHeader, gateway: &Gateway) -> Self {
        let Some(visitor) = cookie(request, VISITOR).filter(|text| is_visitor(text)) else {
            let fresh: u128 = rand::random();
            let client = ClientKey(gateway.pseudonym(format!("{fresh:032x}").as_bytes()));
            return Self { client, visit: None, ticket: None, fresh: Some(fresh) };
        };
        let client = ClientKey(gateway.pseudonym(visitor.as_bytes()));
        let (tokens, now) = (&gateway.tokens, gateway.unix_ms());
        let visit = cookie(request, VISIT).and_then(|text| Visit::read(text, tokens, client, now).ok());
        let ticket = cookie(request, TICKET).and_then(|text| Ticket::read(text, tokens, client, now).ok());
        Self { client, visit, ticket, fresh: None }
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
        let secure = if is_tls { "; Secure" } else { "" };
        let mut set = |name: &str, value: &str, age_s: u32| {
            let text = format!("{name}={value}; Path=/; Max-Age={age_s}; HttpOnly; SameSite=Lax{secure}");
            head.append_header(header::SET_COOKIE, text).map(drop)
        };
        if let Some(fresh) = self.fresh {
            set(VISITOR, &format!("{fresh:032x}"), COOKIE_S)?;
        }
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

fn cookie<'r>(request: &'r RequestHeader, name: &str) -> Option<&'r str> {
    let fields = request.headers.get_all(header::COOKIE).iter().filter_map(|field| field.to_str().ok());
    let mut pairs = fields.flat_map(|field| field.split(';')).map(str::trim);
    pairs.find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
}

/// 32 hexadecimal digits, as the edge writes them.
fn is_visitor(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}
