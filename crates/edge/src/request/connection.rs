//! One client connection of HTTP/1.1 as a pure machine: bytes and times in, how much may pass out.

use super::chunk;
use super::head::{self, Behind, Body, Head};
use super::limits::Limits;
use super::refusal::{Reason, Refusal};

/// What a call decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// How many of the held bytes, from the first, go on. The rest is held and given again, with more behind it.
    pub pass: usize,
    /// What ended the connection behind those, if something did. It stays.
    pub refusal: Option<Refusal>,
}

/// What the connection waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// A head, or the rest of one.
    Head,
    /// The rest of a body of known length.
    Body {
        left: u64,
    },
    ChunkSize,
    Chunk {
        left: u64,
    },
    ChunkEnd,
    /// The trailers, or the rest of them; how many lines there were.
    Trailers {
        fields: usize,
    },
    /// The answer to a request that asked for an upgrade.
    Upgrade,
    /// No longer HTTP: everything passes.
    Tunnel,
    /// The end: the last request said so.
    Closed,
}

/// The strict check of one client connection.
///
/// It holds no bytes itself. The caller keeps what has not passed and calls [`Self::advance`] with all of it each time
/// more has come; no byte is looked at twice but for the line it stands in. A head passes whole or not at all, as do
/// the line in front of a chunk and the trailers, so what stands behind the edge never sees a part of what is refused.
#[derive(Debug)]
pub struct RequestCheck {
    limits: Limits,
    state: State,
    head: Head,
    behind: Behind,
    /// How far the held bytes were searched for the end of a line, and where that line begins.
    scanned: usize,
    line_start: usize,
    /// Body bytes of this request in chunks, and bytes of their extensions.
    chunked_bytes: u64,
    extension_bytes: usize,
    passed: u64,
    requests: u64,
    answers: u64,
    timer: Timer,
    refused: Option<Refusal>,
    one_at_a_time: bool,
}

/// What is due, and when.
#[derive(Debug, Clone, Copy)]
enum Timer {
    None,
    Head { from_ms: u64 },
    Idle { from_ms: u64 },
    Body { from_ms: u64, bytes: u64 },
}

impl RequestCheck {
    /// A connection that was accepted at `now_ms`, on any clock that never goes back.
    pub fn new(limits: Limits, now_ms: u64) -> Self {
        Self {
            limits,
            state: State::Head,
            head: Head::default(),
            behind: Behind::Request,
            scanned: 0,
            line_start: 0,
            chunked_bytes: 0,
            extension_bytes: 0,
            passed: 0,
            requests: 0,
            answers: 0,
            timer: Timer::Head { from_ms: now_ms },
            refused: None,
            one_at_a_time: false,
        }
    }

    /// Holds each request back until the one before was answered, so that whatever reads what passes never has two of them.
    #[must_use]
    pub fn one_at_a_time(mut self) -> Self {
        self.one_at_a_time = true;
        self
    }

    /// Looks at everything that is held: what came before and did not pass, and what has come since.
    pub fn advance(&mut self, now_ms: u64, held: &[u8]) -> Step {
        let mut pass = 0;
        let refusal = self.refused.or_else(|| self.tick(now_ms)).or_else(|| {
            loop {
                match self.one(now_ms, &held[pass..]) {
                    Ok(Some(bytes)) => {
                        pass += bytes;
                        self.passed += bytes as u64;
                    }
                    Ok(None) => break None,
                    Err(reason) => break Some(self.refuse(reason)),
                }
            }
        });
        Step { pass, refusal }
    }

    /// When [`Self::tick`] has to be called if nothing happens before.
    pub fn deadline_ms(&self) -> Option<u64> {
        Some(match self.timer {
            Timer::None => return None,
            Timer::Head { from_ms } => from_ms.saturating_add(self.limits.head_ms_max),
            Timer::Idle { from_ms } => from_ms.saturating_add(self.limits.idle_ms_max),
            Timer::Body { from_ms, .. } => from_ms.saturating_add(self.limits.body_window_ms),
        })
    }

    /// Refuses a client that was too slow; begins the next window of one that was not.
    pub fn tick(&mut self, now_ms: u64) -> Option<Refusal> {
        if self.refused.is_some() || self.deadline_ms().is_none_or(|deadline_ms| now_ms < deadline_ms) {
            return self.refused;
        }
        let reason = match self.timer {
            Timer::Body { bytes, .. } if bytes >= self.limits.body_window_bytes_min => {
                self.timer = Timer::Body { from_ms: now_ms, bytes: 0 };
                return None;
            }
            Timer::None => return None,
            Timer::Head { .. } => Reason::SlowHead,
            Timer::Idle { .. } => Reason::Idle,
            Timer::Body { .. } => Reason::SlowBody,
        };
        Some(self.refuse(reason))
    }

    /// The caller reads again, or has told the client to send its body: time in which the client could not send is not
    /// held against it.
    pub fn resumed(&mut self, now_ms: u64) {
        self.timer = match self.timer {
            Timer::None => Timer::None,
            Timer::Head { .. } => Timer::Head { from_ms: now_ms },
            Timer::Idle { .. } => Timer::Idle { from_ms: now_ms },
            Timer::Body { .. } => Timer::Body { from_ms: now_ms, bytes: 0 },
        };
    }

    /// A request was answered in full, and not by 101.
    pub fn answered(&mut self, now_ms: u64) {
        self.answers += 1;
        if self.answers < self.requests {
            return;
        }
        if self.state == State::Upgrade {
            self.state = State::Head;
        }
        if self.state == State::Head && matches!(self.timer, Timer::None) {
            self.timer = Timer::Idle { from_ms: now_ms };
        }
    }

    /// The request that asked for an upgrade is about to be answered by 101: from here on everything passes.
    pub fn switched(&mut self) {
        if self.state == State::Upgrade {
            (self.state, self.timer) = (State::Tunnel, Timer::None);
        }
    }

    /// Whole requests that passed.
    pub fn requests(&self) -> u64 {
        self.requests
    }

    /// Whether a request has passed whole and is not answered yet.
    pub fn awaits_answer(&self) -> bool {
        self.answers < self.requests
    }

    /// Whether what was refused belongs to a request whose head has passed, so that whoever has it must answer.
    pub fn refused_within(&self) -> bool {
        self.refused.is_some() && !matches!(self.state, State::Head | State::Closed)
    }

    /// Whether the client may close here without leaving half a request behind. `held` is what did not pass.
    pub fn may_end(&self, held: &[u8]) -> bool {
        let between = matches!(self.state, State::Head | State::Upgrade | State::Tunnel | State::Closed);
        between && held.is_empty() && self.refused.is_none()
    }

    fn refuse(&mut self, reason: Reason) -> Refusal {
        let at = self.passed + self.line_start as u64;
        self.timer = Timer::None;
        *self.refused.insert(Refusal { reason, at })
    }

    /// One step along the bytes: how many of them pass, or none while too few have come.
    fn one(&mut self, now_ms: u64, bytes: &[u8]) -> Result<Option<usize>, Reason> {
        if bytes.is_empty() {
            return Ok(None);
        }
        match self.state {
            State::Head if self.one_at_a_time && self.answers < self.requests => Ok(None),
            State::Head => self.head(now_ms, bytes),
            State::Body { left } => Ok(Some(self.body(now_ms, bytes, left))),
            State::ChunkSize => self.chunk_size(bytes),
            State::Chunk { left } => Ok(Some(self.chunk(bytes, left))),
            State::ChunkEnd => self.chunk_end(bytes),
            State::Trailers { fields } => self.trailers(now_ms, bytes, fields),
            State::Upgrade => Err(Reason::BeforeUpgrade),
            State::Tunnel => Ok(Some(bytes.len())),
            State::Closed => Err(Reason::AfterClose),
        }
    }

    fn head(&mut self, now_ms: u64, bytes: &[u8]) -> Result<Option<usize>, Reason> {
        if !matches!(self.timer, Timer::Head { .. }) {
            self.timer = Timer::Head { from_ms: now_ms };
        }
        // One empty line in front is what some clients send behind the body of a form (RFC 9112 section 2.2).
        let first = if bytes[0] == b'\r' { 2 } else { 0 };
        match (bytes[0], bytes.get(1), bytes.get(first)) {
            (b'\n', ..) => return Err(Reason::BareLf),
            (b'\r', Some(behind), _) if *behind != b'\n' => return Err(Reason::BareCr),
            (_, _, None) => return Ok(None),
            (_, _, Some(byte)) if !byte.is_ascii_alphabetic() => return Err(Reason::NotHttp),
            _ => {}
        }
        if self.line_start == 0 {
            (self.line_start, self.scanned) = (first, self.scanned.max(first));
        }
        loop {
            let is_first = self.line_start == first;
            let (line_max, too_long) = match is_first {
                true => (self.limits.request_line_bytes_max, Reason::TargetTooLong),
                false => (self.limits.field_line_bytes_max, Reason::FieldTooLong),
            };
            let whole = (self.limits.head_bytes_max, Reason::HeadTooLarge);
            let Some((start, line)) = self.line(bytes, (line_max, too_long), whole)? else { return Ok(None) };
            if is_first {
                self.head = Head::default();
                self.head.request_line(line, start)?;
            } else if line.is_empty() {
                let (body, behind) = self.head.finish(bytes, &self.limits)?;
                self.behind = behind;
                return Ok(Some(self.begin_body(now_ms, body)));
            } else {
                self.head.field_line(line, start, &self.limits)?;
            }
            self.line_start = self.scanned;
        }
    }

    /// The next line and where it begins, without its end; none while it is not whole. Bounds: what the line, and what
    /// everything held up to its end, may measure.
    fn line<'b>(
        &mut self,
        bytes: &'b [u8],
        (line_max, line_reason): (usize, Reason),
        (whole_max, whole_reason): (usize, Reason),
    ) -> Result<Option<(usize, &'b [u8])>, Reason> {
        let start = self.line_start;
        let found = bytes[self.scanned..].iter().position(|byte| *byte == b'\n').map(|at| self.scanned + at);
        let end = found.map_or(bytes.len(), |at| at + 1);
        // Whichever bound is met first: so that the answer is the same however the bytes arrived.
        let (end_max, reason) = match start + line_max <= whole_max {
            true => (start + line_max, line_reason),
            false => (whole_max, whole_reason),
        };
        if end > end_max {
            return Err(reason);
        }
        self.scanned = end;
        let Some(lf) = found else { return Ok(None) };
        match bytes[start..lf].strip_suffix(b"\r") {
            Some(line) => Ok(Some((start, line))),
            None => Err(Reason::BareLf),
        }
    }

    /// The held bytes up to where the search stands pass; what follows is a body, or the next request.
    fn begin_body(&mut self, now_ms: u64, body: Body) -> usize {
        let bytes = self.next_line();
        self.timer = Timer::Body { from_ms: now_ms, bytes: 0 };
        (self.chunked_bytes, self.extension_bytes) = (0, 0);
        match body {
            Body::Length(0) => self.end_request(now_ms),
            Body::Length(left) => self.state = State::Body { left },
            Body::Chunked => self.state = State::ChunkSize,
        }
        bytes
    }

    fn next_line(&mut self) -> usize {
        let bytes = self.scanned;
        (self.scanned, self.line_start) = (0, 0);
        bytes
    }

    fn end_request(&mut self, now_ms: u64) {
        self.requests += 1;
        (self.state, self.timer) = match self.behind {
            Behind::Request if self.answers >= self.requests => (State::Head, Timer::Idle { from_ms: now_ms }),
            Behind::Request => (State::Head, Timer::None),
            Behind::Nothing => (State::Closed, Timer::None),
            Behind::Upgrade => (State::Upgrade, Timer::None),
        };
    }

    fn body(&mut self, now_ms: u64, bytes: &[u8], left: u64) -> usize {
        let (taken, left) = self.take(bytes, left);
        match left {
            0 => self.end_request(now_ms),
            left => self.state = State::Body { left },
        }
        taken
    }

    fn take(&mut self, bytes: &[u8], left: u64) -> (usize, u64) {
        let taken = usize::try_from(left).map_or(bytes.len(), |left| left.min(bytes.len()));
        if let Timer::Body { bytes, .. } = &mut self.timer {
            *bytes += taken as u64;
        }
        (taken, left - taken as u64)
    }

    fn chunk_size(&mut self, bytes: &[u8]) -> Result<Option<usize>, Reason> {
        let line_max = self.limits.chunk_line_bytes_max;
        let extended = bytes[..bytes.len().min(line_max)].contains(&b';');
        let bound = (line_max, if extended { Reason::ChunkExtension } else { Reason::ChunkSize });
        let Some((_, line)) = self.line(bytes, bound, bound)? else { return Ok(None) };
        let (size, extension_bytes) = chunk::size_line(line)?;
        self.extension_bytes += extension_bytes;
        if self.extension_bytes > self.limits.chunk_extension_bytes_max {
            return Err(Reason::ChunkExtension);
        }
        self.chunked_bytes += size;
        if self.chunked_bytes > self.limits.body_bytes_max {
            return Err(Reason::BodyTooLarge);
        }
        self.state = match size {
            0 => State::Trailers { fields: 0 },
            left => State::Chunk { left },
        };
        Ok(Some(self.next_line()))
    }

    fn chunk(&mut self, bytes: &[u8], left: u64) -> usize {
        let (taken, left) = self.take(bytes, left);
        self.state = if left == 0 { State::ChunkEnd } else { State::Chunk { left } };
        taken
    }

    fn chunk_end(&mut self, bytes: &[u8]) -> Result<Option<usize>, Reason> {
        match bytes {
            [b'\r', b'\n', ..] => {
                self.state = State::ChunkSize;
                Ok(Some(2))
            }
            [b'\r'] => Ok(None),
            _ => Err(Reason::ChunkEnd),
        }
    }

    fn trailers(&mut self, now_ms: u64, bytes: &[u8], mut fields: usize) -> Result<Option<usize>, Reason> {
        let bound = (self.limits.trailer_bytes_max, Reason::TrailersTooLarge);
        loop {
            let Some((_, line)) = self.line(bytes, (self.limits.field_line_bytes_max, Reason::FieldTooLong), bound)?
            else {
                return Ok(None);
            };
            if line.is_empty() {
                self.end_request(now_ms);
                return Ok(Some(self.next_line()));
            }
            fields += 1;
            if fields > self.limits.trailers_max {
                return Err(Reason::TrailersTooLarge);
            }
            head::trailer(line)?;
            self.line_start = self.scanned;
            self.state = State::Trailers { fields };
        }
    }
}
