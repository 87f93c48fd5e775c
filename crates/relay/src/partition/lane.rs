//! A partition's way of writing to one side: batches go out in the order given, over one connection, and the answers are
//! awaited beside it.
//!
//! A lane never opens a connection for a batch: reading the end of the log does, so that whatever is written after a
//! break was preceded by a look at what is there. After any failure nothing that waits is sent; it comes back as not
//! sent, in order.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use naru_kafka::client::{CallOptions, ClientError, Connection, Outcome, Reply, TopicPartition};
use naru_kafka::wire::produce::{ProducePartition, ProduceRequest, ProduceResponse};
use naru_kafka::wire::{ApiKey, ErrorCode, OutFrame, StrBytes, Tags, TopicId};
use tokio::time::{Instant, Sleep, sleep_until};

use crate::clock;
use crate::sequence::{Event, Millis, OrderId, Outgoing, WriteRefused};
use crate::side::Side;

/// The last version that names topics; later ones carry their identity, which differs between the sides' own lives.
const NAMED_MAX: i16 = 12;
/// No broker is obeyed for longer than this when it asks to be left alone: Kafka's quota window is about as long.
const THROTTLE_MAX: Duration = Duration::from_secs(30);

type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;

struct Answered {
    outcome: Result<i64, WriteRefused>,
    throttle: Duration,
}

struct InFlight {
    order: OrderId,
    since: Instant,
    answer: Boxed<Answered>,
}

struct Beginning {
    order: OrderId,
    since: Instant,
    reply: Boxed<Result<Reply, ClientError>>,
}

/// See the module.
pub(super) struct Lane {
    side: Side,
    at: TopicPartition,
    topic: StrBytes,
    call: CallOptions,
    replica_wait: Duration,
    connection: Option<Connection>,
    waiting: VecDeque<(OrderId, Outgoing)>,
    beginning: Option<Beginning>,
    in_flight: VecDeque<InFlight>,
    throttled: Option<Pin<Box<Sleep>>>,
    /// Until when this relay decides (RELAY-9). What still waits here then is not sent.
    leased_until: Millis,
    /// Outcomes not yet told.
    told: VecDeque<(Event, Option<Duration>)>,
}

impl Lane {
    pub(super) fn new(side: Side, at: TopicPartition, replica_wait: Duration) -> Self {
        Self {
            side,
            topic: StrBytes::from_string(at.topic.to_string()),
            call: CallOptions::about(&at).broker_wait(replica_wait),
            at,
            replica_wait,
            connection: None,
            waiting: VecDeque::new(),
            beginning: None,
            in_flight: VecDeque::new(),
            throttled: None,
            leased_until: 0,
            told: VecDeque::new(),
        }
    }

    /// The right to decide ends at this time.
    pub(super) fn lease(&mut self, until: Millis) {
        self.leased_until = until;
    }

    /// Batches go over this connection from now on. While any is in flight over another one it is not taken: two
    /// connections keep no order between them, so what is written then comes back as not sent.
    pub(super) fn use_connection(&mut self, connection: Connection) {
        if self.in_flight.is_empty() && self.beginning.is_none() {
            self.connection = Some(connection);
        }
    }

    /// Whether the connection ended while nobody was looking; true once.
    pub(super) fn lost_connection(&mut self) -> bool {
        let lost = self.connection.as_ref().is_some_and(Connection::is_closed);
        if lost && self.in_flight.is_empty() && self.beginning.is_none() {
            self.connection = None;
            return true;
        }
        false
    }

    /// Queues a batch.
    pub(super) fn write(&mut self, order: OrderId, batch: Outgoing) {
        self.waiting.push_back((order, batch));
    }

    /// The next outcome, and how long the side took.
    pub(super) fn poll_outcome(&mut self, context: &mut Context<'_>) -> Poll<(Event, Option<Duration>)> {
        loop {
            if let Some(told) = self.told.pop_front() {
                return Poll::Ready(told);
            }
            // Answers first: a failure among them must stop what waits.
            if let Some(first) = self.in_flight.front_mut()
                && let Poll::Ready(answered) = first.answer.as_mut().poll(context)
            {
                let (order, took) = (first.order, first.since.elapsed());
                self.in_flight.pop_front();
                self.answered(order, answered, took);
                continue;
            }
            if self.poll_begin(context).is_pending() && self.told.is_empty() {
                return Poll::Pending;
            }
        }
    }

    fn answered(&mut self, order: OrderId, answered: Answered, took: Duration) {
        if !answered.throttle.is_zero() {
            let until = Instant::now() + answered.throttle.min(THROTTLE_MAX);
            self.throttled = Some(Box::pin(sleep_until(until)));
        }
        self.tell(order, answered.outcome, Some(took));
        if answered.outcome.is_err() {
            self.hold_back();
        }
    }

    /// What was not handed over is not sent any more.
    fn hold_back(&mut self) {
        // Not handed over while it has not resolved: dropping it takes it back.
        if let Some(Beginning { order, .. }) = self.beginning.take() {
            self.tell(order, Err(WriteRefused::NotSent), None);
        }
        while let Some((order, _)) = self.waiting.pop_front() {
            self.tell(order, Err(WriteRefused::NotSent), None);
        }
    }

    fn tell(&mut self, order: OrderId, outcome: Result<i64, WriteRefused>, took: Option<Duration>) {
        self.told.push_back((Event::Written { order, side: self.side, outcome }, took));
    }

    /// Ready when there is something new to look at.
    fn poll_begin(&mut self, context: &mut Context<'_>) -> Poll<()> {
        // A batch may have waited for the broker's leave, or for a place among those in flight, longer than the lease.
        let waits = self.beginning.is_some() || !self.waiting.is_empty();
        if waits && clock::now() >= self.leased_until {
            self.hold_back();
            return Poll::Ready(());
        }
        if let Some(Beginning { order, since, reply }) = &mut self.beginning {
            let (order, since) = (*order, *since);
            let Poll::Ready(begun) = reply.as_mut().poll(context) else { return Poll::Pending };
            self.beginning = None;
            match begun {
                Ok(reply) => {
                    let answer = Box::pin(answer(reply, self.at.partition));
                    self.in_flight.push_back(InFlight { order, since, answer });
                }
                Err(error) => {
                    tracing::debug!(side = %self.side, at = %self.at, %error, "a batch was not handed over");
                    self.tell(order, Err(refused(&error)), None);
                    self.hold_back();
                }
            }
            return Poll::Ready(());
        }
        if self.waiting.is_empty() {
            return Poll::Pending;
        }
        let Some(connection) = self.connection.clone().filter(|connection| !connection.is_closed()) else {
            self.hold_back();
            return Poll::Ready(());
        };
        if let Some(throttled) = &mut self.throttled {
            if throttled.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
            self.throttled = None;
        }
        let Some((order, batch)) = self.waiting.pop_front() else { return Poll::Pending };
        let request = self.request(batch);
        let call = self.call.clone();
        let begin = async move {
            let version = connection.pick(ApiKey::Produce, *ApiKey::Produce.versions().start(), NAMED_MAX, &call)?;
            let encode = |frame: &mut OutFrame| request.encode(version, frame);
            connection.begin(ApiKey::Produce, version, true, encode, &call).await
        };
        self.beginning = Some(Beginning { order, since: Instant::now(), reply: Box::pin(begin) });
        Poll::Ready(())
    }

    fn request(&self, batch: Outgoing) -> ProduceRequest {
        let mut request = ProduceRequest {
            acks: -1,
            timeout_ms: i32::try_from(self.replica_wait.as_millis()).unwrap_or(i32::MAX),
            ..ProduceRequest::default()
        };
        request.topics.push_named(self.topic.clone(), TopicId::NIL);
        let part = ProducePartition { index: self.at.partition, records: batch.data, tags: Tags::default() };
        request.topics.push(part);
        request
    }
}

async fn answer(reply: Reply, partition: i32) -> Answered {
    let version = reply.version();
    let failed = |outcome| Answered { outcome: Err(outcome), throttle: Duration::ZERO };
    let body = match reply.body().await {
        Ok(body) => body,
        Err(error) => {
            tracing::debug!(%error, "a batch has no answer");
            return failed(refused(&error));
        }
    };
    let response = match ProduceResponse::decode(version, body) {
        Ok(response) => response,
        Err(error) => {
            tracing::warn!(%error, "the answer to a batch cannot be read");
            return failed(WriteRefused::Unknown);
        }
    };
    let throttle = Duration::from_millis(u64::try_from(response.throttle_time_ms).unwrap_or(0));
    let found = response.topics.flat().find(|(_, produced)| produced.index == partition);
    let outcome = match found {
        Some((_, produced)) if produced.error.is_ok() => Ok(produced.base_offset),
        Some((_, produced)) => Err(refused_by(produced.error)),
        None => Err(WriteRefused::Unknown),
    };
    Answered { outcome, throttle }
}

fn refused(error: &ClientError) -> WriteRefused {
    match (error.code(), error.outcome()) {
        (Some(code), _) => refused_by(code),
        (None, Outcome::NotDone) => WriteRefused::NotSent,
        (None, Outcome::Unknown) => WriteRefused::Unknown,
    }
}

/// After these the broker may hold the batch: it gave up waiting for its replicas or its disk, or does not know itself
/// what went wrong.
fn refused_by(code: ErrorCode) -> WriteRefused {
    match code {
        ErrorCode::REQUEST_TIMED_OUT
        | ErrorCode::NOT_ENOUGH_REPLICAS_AFTER_APPEND
        | ErrorCode::UNKNOWN_SERVER_ERROR
        | ErrorCode::KAFKA_STORAGE_ERROR => WriteRefused::Unknown,
        code => WriteRefused::Refused(code),
    }
}

#[cfg(test)]
mod tests;
