//! What is known of one request while it is carried.

use std::net::SocketAddr;
use std::sync::Arc;

use http::HeaderValue;
use naru_model::Class;
use tokio::time::Instant;

use super::asker::Asker;
use super::connection::Connection;
use super::cookies::Carried;
use super::held::Held;
use crate::decision::SiteName;
use crate::gateway::InForce;
use crate::policy::visit::push_hex;
use crate::policy::{Reason, Ticket, Visit};

/// One request.
#[derive(Debug)]
pub struct Exchange {
    pub in_force: Arc<InForce>,
    pub connection: Option<Arc<Connection>>,
    /// Whom a trusted proxy in front speaks for.
    pub forwarded: Option<Asker>,
    pub began: Instant,
    pub id: u128,
    pub id_value: HeaderValue,
    pub carried: Carried,
    /// The ticket by which somebody is about to enter, until he has the visit for it.
    pub entering: Option<Ticket>,
    /// The visit that the browser gets, if it is not the one that it has.
    pub next_visit: Option<Visit>,
    pub route: Option<usize>,
    pub class: Option<Class>,
    pub held: Option<Held>,
    /// The server of the last attempt that failed.
    pub failed_at: Option<SocketAddr>,
    pub attempts: u32,
    pub may_leave: bool,
    pub body_bytes: u64,
    pub last: Option<(Option<SiteName>, Reason)>,
}

impl Exchange {
    /// A request of which nothing is known yet.
    pub fn begin(in_force: Arc<InForce>) -> Self {
        let id: u128 = rand::random();
        let mut text = String::with_capacity(32);
        push_hex(&mut text, &id.to_be_bytes());
        Self {
            in_force,
            connection: None,
            forwarded: None,
            began: Instant::now(),
            id,
            id_value: HeaderValue::try_from(text).expect("hexadecimal digits"),
            carried: Carried::nobody(),
            entering: None,
            next_visit: None,
            route: None,
            class: None,
            held: None,
            failed_at: None,
            attempts: 0,
            may_leave: false,
            body_bytes: 0,
            last: None,
        }
    }

    /// The request's name, 32 hexadecimal digits.
    pub fn id_text(&self) -> &str {
        self.id_value.to_str().unwrap_or_default()
    }

    /// Who asks.
    pub fn asker(&self) -> Option<&Asker> {
        self.forwarded.as_ref().or_else(|| self.connection.as_ref().map(|connection| &connection.asker))
    }

    pub fn is_tls(&self) -> bool {
        self.asker().is_some_and(|asker| asker.is_tls)
    }
}
