//! What is left of a request when it has ended: counts, and a line of the access log.

use std::time::Duration;

use pingora_proxy::Session;

use super::asked::host;
use super::connection::Protocol;
use super::exchange::Exchange;
use crate::decision::SiteName;
use crate::gateway::Gateway;
use crate::operations::access::Line;
use crate::operations::meters::Ended;
use crate::policy::Reason;

/// Counts a request that has ended, and writes it down.
pub(super) fn count(gateway: &Gateway, session: &Session, exchange: &Exchange, took: Duration) {
    let (site, reason) = exchange.last.unzip();
    let site = site.flatten();
    let ended = Ended {
        class: exchange.class,
        site: site.as_ref(),
        reason,
        status: session.response_written().map(|response| response.status.as_u16()),
        attempts: exchange.attempts,
        took,
    };
    gateway.meters.ended(&exchange.in_force.meters, &ended);
    let (Some(log), Some(connection), Some(asker)) = (&gateway.access, &exchange.connection, exchange.asker()) else {
        return;
    };
    let request = session.req_header();
    let duration_us = u64::try_from(ended.took.as_micros()).unwrap_or(u64::MAX);
    log.write(&Line {
        unix_ms: gateway.unix_ms().saturating_sub(duration_us / 1000),
        request: exchange.id_text(),
        class: ended.class,
        site: site.as_ref().map(SiteName::as_str),
        reason: reason.map(Reason::as_str),
        method: request.method.as_str(),
        host: host(request),
        path: request.uri.path(),
        status: ended.status,
        bytes: session.body_bytes_sent() as u64,
        duration_us,
        client: &format!("{:016x}", asker.number),
        http: match connection.protocol {
            Protocol::Http2 => "2",
            Protocol::Http1 if request.version == http::Version::HTTP_10 => "1.0",
            Protocol::Http1 => "1.1",
        },
    });
}
