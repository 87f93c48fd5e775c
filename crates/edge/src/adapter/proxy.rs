//! One request along its stages: check, admit, route, forward, record.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{Method, header};
use naru_model::{Class, SiteKind};
use pingora_core::modules::http::HttpModules;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_core::{Error, ErrorSource, ErrorType, Result};
use pingora_http::{RequestHeader, ResponseHeader};
use pingora_proxy::{FailToProxy, ProxyHttp, ProxyWarnLogContext, Session};

use super::asked::{asks_for_stream, connection, declared_bytes, host, target};
use super::asker::Asker;
use super::connection::Protocol;
use super::cookies::{self, Carried};
use super::exchange::Exchange;
use super::forward::{self, To};
use super::held::Held;
use super::{answer, body, ended, upstream};
use crate::decision::{Record, Recorded};
use crate::gateway::{Gateway, Moment};
use crate::operations::rate::RETRY_AFTER;
use crate::page;
use crate::policy::{Asked, CoreDecision, Decision, OpenDecision, Outcome, Reason, Unrouted, Visit, Wait};
use crate::request::{Reason as Refused, check_parts};

/// The name under which a request is known in the decision log, in access logs and to servers.
pub(super) const REQUEST_ID: &str = "x-request-id";
/// Longest wait for a client that reads slowly, at one write; and how slowly it may read, bytes per second.
const WRITE_MAX: Duration = Duration::from_secs(20);
const SEND_RATE_MIN: usize = 1_000;
/// How long the rest of a body is read that nobody wanted, so that the connection can go on.
const DRAIN_BODY_MAX: Duration = Duration::from_secs(2);
/// When a request that met a server's failure may come again.
const FAILED_RETRY_AFTER: Duration = Duration::from_secs(1);

/// What a decision leads to.
enum Next {
    Forward,
    Wait(Wait),
    Unavailable(Duration),
    Unrouted(Unrouted),
}

/// The proxy.
#[derive(Debug)]
pub struct Proxy {
    gateway: Arc<Gateway>,
}

impl Proxy {
    pub(super) fn new(gateway: Arc<Gateway>) -> Self {
        Self { gateway }
    }

    /// Asks the policy, records what it said, and keeps the place.
    fn decide(&self, request: &RequestHeader, exchange: &mut Exchange, moment: Moment) -> Next {
        exchange.attempts += 1;
        let asked = Asked {
            now: moment.now(),
            unix_ms: moment.unix_ms,
            host: host(request),
            target: target(request),
            client: exchange.carried.client,
            visit: exchange.carried.visit,
            ticket: exchange.carried.ticket,
            may_leave: exchange.may_leave,
            attempt: (exchange.attempts, exchange.failed_at),
            random: rand::random(),
        };
        let in_force = exchange.in_force.clone();
        let decision = in_force.policy.decide(&asked);
        self.record(exchange, &decision.outcome(), asked.unix_ms);
        let fresh =
            |visit: &Visit, had: Option<Visit>| had.is_none_or(|had| visit.replaces(&had, cookies::VISIT_AGE_MS));
        match decision {
            Decision::Core(CoreDecision::Forward { place, visit, route, .. }) => {
                exchange.next_visit = Some(visit).filter(|visit| fresh(visit, exchange.carried.visit));
                exchange.route = Some(route);
                exchange.held = Some(Held::Core(place));
                Next::Forward
            }
            Decision::Core(CoreDecision::Unavailable { retry_after, route, .. }) => {
                exchange.route = Some(route);
                Next::Unavailable(retry_after)
            }
            Decision::Open(OpenDecision::Forward { place, visit, route, .. }) => {
                exchange.entering = exchange.carried.entry();
                exchange.next_visit = Some(visit).filter(|visit| fresh(visit, exchange.carried.visit));
                exchange.route = Some(route);
                exchange.held = Some(Held::Open(place));
                Next::Forward
            }
            Decision::Open(OpenDecision::Wait(wait)) => {
                exchange.route = Some(wait.route);
                Next::Wait(wait)
            }
            Decision::Unrouted(unrouted) => Next::Unrouted(unrouted),
        }
    }

    fn record(&self, exchange: &mut Exchange, outcome: &Outcome<'_>, unix_ms: u64) {
        exchange.class = outcome.class;
        let record = Record::of(outcome, exchange.id, unix_ms, exchange.in_force.plan);
        exchange.last = Some((record.place.map(|place| place.site), outcome.reason));
        match self.gateway.decisions.record(record) {
            Recorded::Queued | Recorded::GapOpen => {}
            // The log counts it, and the metrics show it; the request goes on to a server of ours.
            Recorded::GapCore => tracing::error!("a core request has no record in the decision log"),
        }
    }

    /// The waiting room in place of an answer; also where a server failed and no other is to be had.
    async fn wait(&self, session: &mut Session, exchange: &mut Exchange, wait: &Wait) -> Result<()> {
        let field = |name| session.req_header().headers.get(name).and_then(|value| value.to_str().ok());
        let accept = field(header::ACCEPT).unwrap_or_default();
        let page = page::answer(&wait.into(), accept, field(header::ACCEPT_LANGUAGE).unwrap_or_default());
        let mut head = ResponseHeader::build(page.status, Some(page.headers.len() + 4))?;
        for (name, value) in &page.headers {
            head.append_header(name.clone(), value.clone())?;
        }
        // Whoever waits is put nowhere yet.
        exchange.carried.set(&mut head, None, wait.ticket, &self.gateway, exchange.is_tls())?;
        head.insert_header(REQUEST_ID, exchange.id_value.clone())?;
        answer::send(session, head, page.body.into()).await
    }

    async fn unavailable(&self, session: &mut Session, retry_after: Duration) -> Result<()> {
        let text = "no capacity at this moment\n".to_owned();
        answer::text(session, 503, text, Some(retry_after), false).await
    }

    async fn refuse(&self, session: &mut Session, exchange: &Exchange, reason: Refused) -> Result<()> {
        if let Some(connection) = &exchange.connection {
            connection.count(reason);
        }
        answer::refused(session, reason).await
    }

    async fn act(&self, session: &mut Session, exchange: &mut Exchange, next: Next) -> Result<bool> {
        match next {
            Next::Forward => return Ok(false),
            Next::Wait(wait) => self.wait(session, exchange, &wait).await?,
            Next::Unavailable(retry_after) => self.unavailable(session, retry_after).await?,
            Next::Unrouted(Unrouted::NoRoute) => {
                answer::text(session, 404, "no such route\n".to_owned(), None, false).await?;
            }
            Next::Unrouted(Unrouted::Ambiguous(_)) => {
                self.refuse(session, exchange, Refused::AmbiguousPath).await?;
            }
        }
        Ok(true)
    }

    /// Ends the request's hold on its server, and says how long it took if it was answered.
    fn release(&self, exchange: &mut Exchange, answered: Option<Duration>) {
        let (Some(held), Some(route)) = (exchange.held.take(), exchange.route) else { return };
        let policy = &exchange.in_force.policy;
        match (held, answered) {
            (Held::Core(place), Some(took)) => policy.core_answered(route, place, took),
            (Held::Open(place), Some(took)) => policy.open_answered(route, place, took),
            (Held::Core(_) | Held::Open(_), None) => {}
        }
    }

    fn server_failed(&self, exchange: &mut Exchange) {
        if let Some(held) = exchange.held.take() {
            held.failed(self.gateway.now());
            exchange.failed_at = Some(held.address());
        }
    }
}

#[async_trait]
impl ProxyHttp for Proxy {
    type CTX = Exchange;

    fn new_ctx(&self) -> Exchange {
        Exchange::begin(self.gateway.in_force())
    }

    fn init_downstream_modules(&self, _modules: &mut HttpModules) {
        // None: what a server says is passed on as it said it.
    }

    async fn early_request_filter(&self, session: &mut Session, exchange: &mut Exchange) -> Result<()> {
        exchange.connection = connection(session);
        session.set_write_timeout(Some(WRITE_MAX));
        session.set_min_send_rate(Some(SEND_RATE_MIN));
        session.set_total_drain_timeout(Some(DRAIN_BODY_MAX));
        Ok(())
    }

    async fn request_filter(&self, session: &mut Session, exchange: &mut Exchange) -> Result<bool> {
        let Some(connection) = exchange.connection.clone() else {
            return Error::e_explain(ErrorType::InternalError, "a connection that was not accepted by the edge");
        };
        if connection.protocol == Protocol::Http2
            && let Err(reason) = check_parts(session.req_header(), &connection.limits)
        {
            self.refuse(session, exchange, reason).await?;
            return Ok(true);
        }
        let in_force = &exchange.in_force;
        exchange.forwarded = Asker::forwarded(
            session.req_header(),
            connection.client,
            connection.asker.is_tls,
            &in_force.trusted,
            &self.gateway,
        );
        let moment = self.gateway.moment();
        let number = exchange.forwarded.as_ref().unwrap_or(&connection.asker).number;
        if !self.gateway.may_ask(number, in_force, moment) {
            self.gateway.meters.limited();
            let text = "too many requests\n".to_owned();
            answer::text(session, 429, text, Some(RETRY_AFTER), false).await?;
            return Ok(true);
        }
        if target(session.req_header()) == "*" {
            // It asks about the edge and not about anything behind it (RFC 9110, 9.3.7); the check lets it pass for OPTIONS alone.
            answer::options(session).await?;
            return Ok(true);
        }
        exchange.may_leave = session.is_body_empty() || self.body_may_leave(session, exchange).await?;
        exchange.carried = Carried::read(session.req_header(), &self.gateway, moment.unix_ms);
        let next = self.decide(session.req_header(), exchange, moment);
        if self.act(session, exchange, next).await? {
            return Ok(true);
        }
        if let Some(bytes) = declared_bytes(session.req_header())
            && bytes > self.body_bytes_max(exchange)
        {
            self.release(exchange, None);
            self.refuse(session, exchange, Refused::BodyTooLarge).await?;
            return Ok(true);
        }
        Ok(false)
    }

    async fn upstream_peer(&self, session: &mut Session, exchange: &mut Exchange) -> Result<Box<HttpPeer>> {
        if exchange.held.is_none() {
            // A second attempt. What it comes to, if not to a server, is said where the first failure would be.
            let next = self.decide(session.req_header(), exchange, self.gateway.moment());
            if !matches!(next, Next::Forward) {
                return Error::e_explain(ErrorType::ConnectNoRoute, "no other server")
                    .map_err(|error: Box<Error>| error.into_up());
            }
        }
        let (Some(held), Some(route)) = (&exchange.held, exchange.route) else {
            return Error::e_explain(ErrorType::InternalError, "a request without a server");
        };
        let streams = asks_for_stream(session.req_header());
        upstream::peer(held.address(), &exchange.in_force, route, streams)
    }

    async fn request_body_filter(
        &self,
        _session: &mut Session,
        body: &mut Option<Bytes>,
        _end: bool,
        exchange: &mut Exchange,
    ) -> Result<()> {
        exchange.body_bytes += body.as_ref().map_or(0, |body| body.len() as u64);
        if exchange.body_bytes > self.body_bytes_max(exchange) {
            return Error::e_explain(ErrorType::HTTPStatus(413), "a body larger than its route takes")
                .map_err(|error: Box<Error>| error.into_down());
        }
        Ok(())
    }

    async fn upstream_request_filter(
        &self,
        _session: &mut Session,
        request: &mut RequestHeader,
        exchange: &mut Exchange,
    ) -> Result<()> {
        let (Some(held), Some(route), Some(asker)) = (&exchange.held, exchange.route, exchange.asker()) else {
            return Error::e_explain(ErrorType::InternalError, "a request without a server");
        };
        let to = match held.kind() {
            SiteKind::Owned => To::Owned,
            SiteKind::Rented => {
                // His number stands in his cookie; what a rented site sees of him leads to it by our key alone.
                let visitor = self.gateway.pseudonym(&exchange.carried.client.0.to_be_bytes());
                To::Rented { route: exchange.in_force.route(route), visitor }
            }
        };
        forward::prepare(request, to, asker, &exchange.id_value)
    }

    fn upstream_response_body_filter(
        &self,
        session: &mut Session,
        _body: &mut Option<Bytes>,
        end: bool,
        exchange: &mut Exchange,
    ) -> Result<Option<Duration>> {
        if end && !session.was_upgraded() {
            // The server is done; how fast the client reads is nothing that it holds slots for.
            self.release(exchange, Some(exchange.began.elapsed()));
        }
        Ok(None)
    }

    async fn response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        exchange: &mut Exchange,
    ) -> Result<()> {
        if response.status == http::StatusCode::SWITCHING_PROTOCOLS
            && let Some(connection) = &exchange.connection
            && session.is_upgrade_req()
        {
            connection.switch();
        }
        if response.status.is_informational() {
            return Ok(());
        }
        exchange.entering = None;
        response.insert_header(REQUEST_ID, exchange.id_value.clone())?;
        exchange.carried.set(response, exchange.next_visit, None, &self.gateway, exchange.is_tls())
    }

    fn error_while_proxy(
        &self,
        _peer: &HttpPeer,
        session: &mut Session,
        mut error: Box<Error>,
        exchange: &mut Exchange,
        reused: bool,
    ) -> Box<Error> {
        let is_servers = *error.esource() == ErrorSource::Upstream;
        let is_slow = matches!(error.etype(), ErrorType::ReadTimedout);
        if is_servers && is_slow && !session.is_body_done() {
            // The server waits for a body that the client does not send: that is no failure of the server's.
            exchange.held = None;
            return Error::explain(ErrorType::HTTPStatus(Refused::SlowBody.status()), "a body that stopped")
                .into_down();
        }
        let is_safe = matches!(session.req_header().method, Method::GET | Method::HEAD | Method::OPTIONS);
        let nothing_said = session.response_written().is_none() && !session.as_ref().retry_buffer_truncated();
        // What is slow is not asked again of another: that is how one overload becomes two.
        error.set_retry(is_servers && is_safe && nothing_said && !is_slow);
        match (is_servers, reused && !is_slow) {
            (true, false) => self.server_failed(exchange),
            // A server that closes a connection at rest just when it is used again has not failed.
            (true, true) => exchange.held = None,
            (false, _) => {}
        }
        error
    }

    fn fail_to_connect(
        &self,
        _session: &mut Session,
        _peer: &HttpPeer,
        exchange: &mut Exchange,
        mut error: Box<Error>,
    ) -> Box<Error> {
        self.server_failed(exchange);
        // Nothing was sent, so any request may be sent elsewhere.
        error.set_retry(true);
        error
    }

    async fn fail_to_proxy(&self, session: &mut Session, error: &Error, exchange: &mut Exchange) -> FailToProxy {
        let code = self.failure_status(error, exchange);
        let failed = |error_code| FailToProxy { error_code, can_reuse_downstream: false };
        if session.response_written().is_some() || code == 0 {
            return failed(code);
        }
        let answered = match (code, exchange.class) {
            (502..=504, Some(Class::Open)) => {
                let wait = failure_page(exchange);
                self.wait(session, exchange, &wait).await
            }
            (502..=504, _) => self.unavailable(session, FAILED_RETRY_AFTER).await,
            (code, _) => answer::text(session, code, "refused\n".to_owned(), None, true).await,
        };
        match answered {
            Ok(()) => FailToProxy { error_code: code, can_reuse_downstream: code >= 500 && session.is_body_done() },
            Err(error) => {
                tracing::debug!(%error, "a client went away before its answer");
                failed(0)
            }
        }
    }

    async fn logging(&self, session: &mut Session, error: Option<&Error>, exchange: &mut Exchange) {
        if let Some(ticket) = exchange.entering.take() {
            exchange.in_force.policy.room().give_entry_back(&ticket);
        }
        let took = exchange.began.elapsed();
        self.release(exchange, (error.is_none() && !session.was_upgraded()).then_some(took));
        if let Some(connection) = &exchange.connection {
            connection.answer_ended();
        }
        ended::count(&self.gateway, session, exchange, took);
    }

    fn suppress_error_log(&self, _session: &Session, _exchange: &Exchange, _error: &Error) -> bool {
        // Pingora's line has the whole target; the access log has what may be written down.
        true
    }

    fn suppress_proxy_warn_log(
        &self,
        _session: &Session,
        _exchange: &Exchange,
        _error: &Error,
        _context: ProxyWarnLogContext,
    ) -> bool {
        true
    }

    fn request_summary(&self, _session: &Session, exchange: &Exchange) -> String {
        exchange.id_text().to_owned()
    }
}

impl Proxy {
    async fn body_may_leave(&self, session: &mut Session, exchange: &Exchange) -> Result<bool> {
        let request = session.req_header();
        let Ok(route) = exchange.in_force.policy.find(host(request), target(request)) else { return Ok(false) };
        let bytes = declared_bytes(request);
        body::may_leave(session, &exchange.in_force.route(route).body_fields_away, bytes).await
    }

    fn body_bytes_max(&self, exchange: &Exchange) -> u64 {
        exchange.route.map_or(0, |route| exchange.in_force.route(route).body_bytes_max.bytes())
    }

    /// What a failure is answered with; 0 when nobody is there to be answered.
    fn failure_status(&self, error: &Error, exchange: &Exchange) -> u16 {
        if let Some(refusal) = exchange.connection.as_ref().and_then(|connection| connection.refused()) {
            return refusal.reason.status();
        }
        match (error.etype(), error.esource()) {
            (ErrorType::HTTPStatus(code), _) => *code,
            (ErrorType::ReadTimedout | ErrorType::WriteTimedout, ErrorSource::Upstream) => 504,
            (_, ErrorSource::Upstream) => 502,
            (ErrorType::WriteError | ErrorType::ReadError | ErrorType::ConnectionClosed, ErrorSource::Downstream) => 0,
            (_, ErrorSource::Downstream) => 400,
            (_, ErrorSource::Internal | ErrorSource::Unset) => {
                tracing::error!(%error, "a request failed by a fault of the edge");
                503
            }
        }
    }
}

/// The page for somebody whose server failed: he stays inside, and comes again in a moment.
fn failure_page(exchange: &Exchange) -> Wait {
    let reason = exchange.last.map_or(Reason::Down, |(_, reason)| reason);
    let route = exchange.route.unwrap_or_default();
    Wait { ticket: None, place: 0, estimate: None, refresh: FAILED_RETRY_AFTER, route, reason }
}
