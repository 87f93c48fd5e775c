//! One socket: frames out in the order handed over, answers in by correlation id.
//!
//! Two tasks. The writer takes requests off a bounded queue and notes each as pending before its first byte is
//! written, so "not pending" proves "not sent". The reader hands answers to the oldest pending request and enforces
//! its time limit. Whatever ends the link fails every pending request (outcome unknown) and every queued one (not
//! done).

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, OnceLock},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc, oneshot},
    time::{Instant, sleep_until, timeout, timeout_at},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::error::{CloseCause, Outcome};
use crate::wire::{OutFrame, frame};

/// Read buffer growth: enough for small answers in one piece, small beside a batch.
const READ_STEP_MIN: usize = 16 << 10;
/// A length field alone makes us reserve no more than this; the rest is reserved as bytes arrive.
const READ_STEP_MAX: usize = 1 << 20;

/// For a TLS goodbye to a broker that does not read any more.
const FAREWELL_MAX: Duration = Duration::from_secs(1);

/// Why a request on this link has no answer.
#[derive(Debug, Clone)]
pub(super) enum LinkError {
    /// The link ended.
    Closed { outcome: Outcome, cause: Arc<CloseCause> },
    /// This very request waited too long.
    TimedOut { outcome: Outcome },
}

/// What a connection's tasks belong to: they are waited for together, and stopped together.
#[derive(Debug, Clone, Default)]
pub struct Lifetime {
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Lifetime {
    /// Stops every connection and waits for their tasks. False if the deadline passed first.
    pub async fn end(&self, deadline: Duration) -> bool {
        self.tasks.close();
        self.stop.cancel();
        timeout(deadline, self.tasks.wait()).await.is_ok()
    }

    /// Whether it was ended.
    pub fn is_over(&self) -> bool {
        self.stop.is_cancelled()
    }
}

/// A request on its way to the writer.
struct Outbound {
    frame: OutFrame,
    entry: Entry,
    /// acks=0 gets no answer; it is done when written.
    answered: bool,
}

struct Entry {
    correlation_id: i32,
    limit: Duration,
    deadline: Instant,
    reply: oneshot::Sender<Result<Bytes, LinkError>>,
    _permit: OwnedSemaphorePermit,
}

#[derive(Default)]
struct Pending {
    /// In the order written, which is the order in which brokers answer.
    entries: VecDeque<Entry>,
    /// What the reader's timer stands at; never later than the earliest deadline.
    timer: Option<Instant>,
    closed: bool,
}

pub(super) struct Link {
    queue: mpsc::Sender<Outbound>,
    permits: Arc<Semaphore>,
    pending: Mutex<Pending>,
    timer_changed: Notify,
    stop: CancellationToken,
    cause: OnceLock<Arc<CloseCause>>,
}

/// An answer to come.
pub(super) struct Answer {
    link: Arc<Link>,
    reply: oneshot::Receiver<Result<Bytes, LinkError>>,
}

impl Answer {
    pub(super) async fn wait(self) -> Result<Bytes, LinkError> {
        match self.reply.await {
            Ok(answer) => answer,
            // Dropped unanswered: it never left the queue, since whatever leaves it is answered or failed.
            Err(_) => Err(self.link.closed(Outcome::NotDone)),
        }
    }
}

impl Link {
    pub(super) fn start<R, W>(
        read: R,
        write: W,
        in_flight_max: usize,
        response_bytes_max: usize,
        lifetime: &Lifetime,
    ) -> Arc<Self>
    where
        R: AsyncRead + Send + Unpin + 'static,
        W: AsyncWrite + Send + Unpin + 'static,
    {
        let (queue, outbound) = mpsc::channel(in_flight_max);
        let link = Arc::new(Self {
            queue,
            permits: Arc::new(Semaphore::new(in_flight_max)),
            pending: Mutex::default(),
            timer_changed: Notify::new(),
            stop: lifetime.stop.child_token(),
            cause: OnceLock::new(),
        });
        let writer = Arc::clone(&link);
        lifetime.tasks.spawn(async move { writer.write_requests(write, outbound).await });
        let reader = Arc::clone(&link);
        lifetime.tasks.spawn(async move {
            let cause = reader.read_answers(read, response_bytes_max).await;
            reader.close(cause);
        });
        link
    }

    /// Queues a request once there is room for it. Requests are written in the order in which this returns.
    pub(super) async fn submit(
        self: &Arc<Self>,
        correlation_id: i32,
        frame: OutFrame,
        limit: Duration,
        answered: bool,
    ) -> Result<Answer, LinkError> {
        let deadline = Instant::now() + limit;
        let permit = match timeout_at(deadline, Arc::clone(&self.permits).acquire_owned()).await {
            Ok(Ok(permit)) => permit,
            Ok(Err(_)) => return Err(self.closed(Outcome::NotDone)),
            Err(_) => return Err(LinkError::TimedOut { outcome: Outcome::NotDone }),
        };
        let (reply, receiver) = oneshot::channel();
        let entry = Entry { correlation_id, limit, deadline, reply, _permit: permit };
        // The queue has a place for every permit, so it is full only when it is closed.
        if self.queue.try_send(Outbound { frame, entry, answered }).is_err() {
            return Err(self.closed(Outcome::NotDone));
        }
        Ok(Answer { link: Arc::clone(self), reply: receiver })
    }

    pub(super) fn is_closed(&self) -> bool {
        self.cause.get().is_some() || self.stop.is_cancelled()
    }

    /// Ends the link from this side.
    pub(super) fn stop(&self) {
        self.stop.cancel();
    }

    fn closed(&self, outcome: Outcome) -> LinkError {
        let cause = self.cause.get().cloned().unwrap_or_else(|| Arc::new(CloseCause::Local));
        LinkError::Closed { outcome, cause }
    }

    fn pending(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// The first cause stands. Fails whatever is pending; what is still queued fails when the writer drops its queue.
    fn close(&self, cause: CloseCause) {
        let cause = Arc::clone(self.cause.get_or_init(|| Arc::new(cause)));
        let entries = {
            let mut pending = self.pending();
            pending.closed = true;
            std::mem::take(&mut pending.entries)
        };
        self.permits.close();
        self.stop.cancel();
        let now = Instant::now();
        for entry in entries {
            let overdue = matches!(*cause, CloseCause::TimedOut { .. }) && entry.deadline <= now;
            let error = if overdue {
                LinkError::TimedOut { outcome: Outcome::Unknown }
            } else {
                LinkError::Closed { outcome: Outcome::Unknown, cause: Arc::clone(&cause) }
            };
            // A caller that went away does not want to know.
            drop(entry.reply.send(Err(error)));
        }
    }

    async fn write_requests<W>(&self, mut write: W, mut outbound: mpsc::Receiver<Outbound>)
    where
        W: AsyncWrite + Send + Unpin,
    {
        loop {
            let next = tokio::select! {
                biased;
                () = self.stop.cancelled() => None,
                next = outbound.recv() => next,
            };
            let Some(Outbound { frame, entry, answered }) = next else { break };
            let (deadline, limit) = (entry.deadline, entry.limit);
            let unanswered = if answered {
                if !self.note_pending(entry) {
                    break;
                }
                None
            } else {
                Some(entry)
            };
            let written = tokio::select! {
                biased;
                () = self.stop.cancelled() => Err(CloseCause::Local),
                written = timeout_at(deadline, write_frame(&mut write, &frame)) => match written {
                    Ok(Ok(())) => Ok(()),
                    Ok(Err(error)) => Err(CloseCause::Io(error)),
                    Err(_) => Err(CloseCause::TimedOut { waited_ms: limit.as_millis() as u64 }),
                },
            };
            let reply = match written {
                Ok(()) => Ok(Bytes::new()),
                Err(cause) => {
                    self.close(cause);
                    // Cut while being written: some of it may have arrived.
                    Err(self.closed(Outcome::Unknown))
                }
            };
            let ended = reply.is_err();
            if let Some(entry) = unanswered {
                // A caller that went away does not want to know.
                drop(entry.reply.send(reply));
            }
            if ended {
                break;
            }
        }
        self.close(CloseCause::Local);
        // Tells the broker that nothing more comes; it may be gone already, which is as good.
        match timeout(FAREWELL_MAX, write.shutdown()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::trace!(%error, "shutting down a socket"),
            Err(_) => tracing::trace!("shutting down a socket took too long"),
        }
    }

    /// False if the link ended before: the request is then dropped unsent.
    fn note_pending(&self, entry: Entry) -> bool {
        let mut pending = self.pending();
        if pending.closed {
            return false;
        }
        let earlier = pending.timer.is_none_or(|timer| entry.deadline < timer);
        if earlier {
            pending.timer = Some(entry.deadline);
        }
        pending.entries.push_back(entry);
        drop(pending);
        if earlier {
            self.timer_changed.notify_one();
        }
        true
    }

    async fn read_answers<R>(&self, mut read: R, response_bytes_max: usize) -> CloseCause
    where
        R: AsyncRead + Send + Unpin,
    {
        let mut buffer = BytesMut::new();
        loop {
            loop {
                match frame::split(&mut buffer, response_bytes_max) {
                    Ok(Some(answer)) => {
                        if let Err(cause) = self.deliver(answer) {
                            return cause;
                        }
                    }
                    Ok(None) => break,
                    Err(error) => return CloseCause::Frame(error),
                }
            }
            buffer.reserve(bytes_missing(&buffer).clamp(READ_STEP_MIN, READ_STEP_MAX));
            let timer = self.pending().timer;
            tokio::select! {
                () = self.stop.cancelled() => return CloseCause::Local,
                () = self.timer_changed.notified() => {}
                () = sleep_until(timer.unwrap_or_else(Instant::now)), if timer.is_some() => {
                    if let Some(limit) = self.overdue() {
                        return CloseCause::TimedOut { waited_ms: limit.as_millis() as u64 };
                    }
                }
                read = read.read_buf(&mut buffer) => match read {
                    Ok(0) if buffer.is_empty() => return CloseCause::Remote,
                    Ok(0) => return CloseCause::CutInFrame { bytes_read: buffer.len() },
                    Ok(_) => {}
                    Err(error) => return CloseCause::Io(error),
                },
            }
        }
    }

    fn deliver(&self, answer: Bytes) -> Result<(), CloseCause> {
        // Every response header starts with the correlation id.
        let Some(found) = answer.first_chunk::<4>().map(|id| i32::from_be_bytes(*id)) else {
            return Err(CloseCause::CutInFrame { bytes_read: answer.len() });
        };
        let entry = {
            let mut pending = self.pending();
            let expected = pending.entries.front().map(|entry| entry.correlation_id);
            if expected != Some(found) {
                return Err(CloseCause::Correlation { expected, found });
            }
            pending.entries.pop_front()
        };
        if let Some(entry) = entry {
            // A caller that went away does not want to know.
            drop(entry.reply.send(Ok(answer)));
        }
        Ok(())
    }

    /// The limit of a request that is overdue; otherwise sets the timer to the earliest deadline.
    fn overdue(&self) -> Option<Duration> {
        let now = Instant::now();
        let mut pending = self.pending();
        let late = pending.entries.iter().find(|entry| entry.deadline <= now).map(|entry| entry.limit);
        pending.timer = pending.entries.iter().map(|entry| entry.deadline).min();
        late
    }
}

/// Bytes that the frame at the front of the buffer still lacks, as its length field claims.
fn bytes_missing(buffer: &BytesMut) -> usize {
    match buffer.first_chunk::<4>().map(|length| i32::from_be_bytes(*length)) {
        Some(length) => (usize::try_from(length).unwrap_or(0) + 4).saturating_sub(buffer.len()),
        None => 0,
    }
}

async fn write_frame<W>(write: &mut W, frame: &OutFrame) -> std::io::Result<()>
where
    W: AsyncWrite + Unpin,
{
    write.write_all_buf(&mut frame.reader()).await?;
    // TLS keeps bytes back until flushed.
    write.flush().await
}
