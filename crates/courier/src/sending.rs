//! The lane of campaigns: reads on in a file as fast as the pace allows, makes each batch durable, and lets it go.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use naru_planner::pacing::{PaceReason, STEP_MINUTES};
use serde::Deserialize;

use crate::admit::{LineState, Rules, Verdict, admit};
use crate::batch::Member;
use crate::courier::Shared;
use crate::drive;
use crate::log::{Closed, Record};
use crate::pace::{BURST, Bucket, Headroom, Pacing};
use crate::reading::{FileError, Reading};
use crate::state::State;

/// How often the lane looks when it has nothing to do, and while it saves up for a batch.
const IDLE: Duration = Duration::from_millis(100);
const SAVING: Duration = Duration::from_millis(10);
/// Lines looked at in one go: the state is locked meanwhile.
const LINES_MAX: usize = 4000;
/// A file whose recipients' hours have not come is read again after this at the latest, and no sooner than the other.
const AGAIN_MOST: Duration = Duration::from_secs(600);
const AGAIN_LEAST: Duration = Duration::from_secs(1);
/// How often gateways are asked for their headroom, how long an answer may take, and for how long the last one holds.
const HEADROOM_EVERY: Duration = Duration::from_millis(250);
const HEADROOM_TIMEOUT: Duration = Duration::from_millis(500);
const HEADROOM_HOLDS: Duration = Duration::from_secs(3);

/// A campaign that is being sent.
struct Sender {
    reading: Option<Reading>,
    pacing: Pacing,
    bucket: Bucket,
    began: Duration,
    stepped: Option<Duration>,
    /// Recipients of this reading whose hours have not come, and the soonest of them, in milliseconds.
    later: u64,
    opens_in_ms: i64,
    /// The file is not touched before.
    not_before: Duration,
}

/// What a reading of some lines gave.
#[derive(Default)]
struct Gathered {
    members: Vec<Member>,
    skipped: Vec<(u32, u8)>,
    end: bool,
    too_many: bool,
}

/// Sends campaigns, those first that were in hand when the process ended last.
pub(crate) async fn run(shared: Arc<Shared>, in_hand: Vec<u64>) -> Result<(), Closed> {
    let mut left = in_hand.into_iter().peekable();
    let mut senders: BTreeMap<u16, Sender> = BTreeMap::new();
    loop {
        // What is in hand has its key's lifetime to be settled in: it goes before anything new.
        if let Some(id) = left.next() {
            let slot = drive::slot(&shared.campaign_slots).await;
            drive::spawn(&shared, "batch", id, slot);
            continue;
        }
        let Some(number) = sendable(&shared, &senders) else {
            // A permit is kept for a change that comes before the wait begins; without one, look again soon.
            tokio::time::timeout(IDLE, shared.changed.notified()).await.unwrap_or_default();
            continue;
        };
        let sender = match senders.entry(number) {
            std::collections::btree_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::btree_map::Entry::Vacant(entry) => match Sender::open(&shared, number) {
                Ok(sender) => entry.insert(sender),
                Err(error) => {
                    cannot_be_read(&shared, number, &error).await?;
                    continue;
                }
            },
        };
        match sender.step(&shared, number).await? {
            Ok(()) => {}
            Err(error) => {
                senders.remove(&number);
                cannot_be_read(&shared, number, &error).await?;
            }
        }
    }
}

/// The campaign that was taken on first, of those that have somebody to send to now.
fn sendable(shared: &Shared, senders: &BTreeMap<u16, Sender>) -> Option<u16> {
    let now = shared.monotonic();
    let state = shared.state();
    let open = state.campaigns.iter().filter(|(_, campaign)| !campaign.stopped && !campaign.finished);
    let waits = |number: &u16| senders.get(number).is_some_and(|sender| now < sender.not_before);
    open.map(|(number, _)| *number).find(|number| !waits(number))
}

/// A file that is away or has changed its head stops its campaign: somebody must look.
async fn cannot_be_read(shared: &Shared, number: u16, error: &FileError) -> Result<(), Closed> {
    let said = format!("campaign {number} is stopped: {}", naru_runtime::causes::with_causes(error));
    shared.alarm("recipients", Some(said));
    shared.record(Record::Stopped { campaign: number, stopped: true }).await
}

impl Sender {
    fn open(shared: &Shared, number: u16) -> Result<Self, FileError> {
        let (spec, place) = {
            let state = shared.state();
            let campaign = &state.campaigns[&number];
            (campaign.spec.clone(), campaign.place)
        };
        let reading = Reading::open(spec.recipients.as_ref(), place)?;
        let now = shared.monotonic();
        Ok(Self {
            reading: Some(reading),
            pacing: Pacing::new(&spec.curve, spec.forecast, shared.config.campaign_per_minute_max()),
            bucket: Bucket::new(now),
            began: now,
            stepped: None,
            later: 0,
            opens_in_ms: i64::MAX,
            not_before: Duration::ZERO,
        })
    }

    /// One batch, or a wait.
    async fn step(&mut self, shared: &Arc<Shared>, number: u16) -> Result<Result<(), FileError>, Closed> {
        self.pace(shared);
        let rate = if shared.headroom().stop { 0.0 } else { self.pacing.per_minute };
        let ready = self.bucket.ready(shared.monotonic(), rate);
        let batch_max = shared.config.provider.batch_max as usize;
        // Most of a bucket, so that batches are few; all of one is never reached when it is less than a batch.
        let enough = ((rate / 60.0 * BURST.as_secs_f64() * 0.8) as usize).clamp(1, batch_max);
        if ready < enough || shared.usage_waiting.load(Ordering::Relaxed) > 0 {
            tokio::time::sleep(SAVING).await;
            return Ok(Ok(()));
        }
        let Ok(slot) = shared.campaign_slots.clone().try_acquire_owned() else {
            tokio::time::sleep(SAVING).await;
            return Ok(Ok(()));
        };
        let Some(reading) = &mut self.reading else { return Ok(Ok(())) };
        let wanted = ready.min(batch_max);
        let gathered = { gather(shared, number, reading, wanted, &mut self.later, &mut self.opens_in_ms) };
        let gathered = match gathered {
            Ok(gathered) => gathered,
            Err(error) => return Ok(Err(error)),
        };
        let Gathered { members, skipped, end, too_many } = gathered;
        let place = reading.place();
        let count = members.len();
        if count > 0 || !skipped.is_empty() {
            let (batch, key) = {
                let mut state = shared.state();
                let batch = state.next_batch();
                (batch, format!("{}-{batch}", state.origin))
            };
            let at_ms = shared.now_ms();
            shared.record(Record::Batch { campaign: number, batch, key, at_ms, members, skipped, place }).await?;
            self.bucket.take(count);
            self.pacing.sent(count);
            if count > 0 {
                drive::spawn(shared, "batch", batch, slot);
            }
        }
        if too_many {
            let most = shared.config.recipients_max;
            let said = format!("campaign {number} is stopped: its file has more than recipients_max, {most} lines");
            shared.alarm("recipients", Some(said));
            shared.record(Record::Stopped { campaign: number, stopped: true }).await?;
        }
        if end && count == 0 { self.ended(shared, number).await } else { Ok(Ok(())) }
    }

    fn pace(&mut self, shared: &Shared) {
        let now = shared.monotonic();
        let step = Duration::from_secs_f64(STEP_MINUTES * 60.0);
        // A gateway that says stop, or no more stop, is heard at once.
        let heard = (self.pacing.reason == PaceReason::Stopped) != shared.headroom().stop;
        if heard || self.stepped.is_none_or(|stepped| now.saturating_sub(stepped) >= step) {
            self.pacing.step(now.saturating_sub(self.began), shared.headroom());
            self.stepped = Some(now);
        }
        let (rate, reason) = match shared.headroom().stop {
            true => (0.0, PaceReason::Stopped),
            false => (self.pacing.per_minute, self.pacing.reason),
        };
        shared.set_pace(rate, reason);
    }

    /// The file is at its end: either all of it is done, or it is read again for those whose hours come.
    async fn ended(&mut self, shared: &Shared, number: u16) -> Result<Result<(), FileError>, Closed> {
        let planned = shared.state().campaigns[&number].counts[LineState::Planned as usize];
        if planned == 0 && self.later == 0 {
            shared.record(Record::Finished { campaign: number }).await?;
            return Ok(Ok(()));
        }
        let soonest = Duration::from_millis(u64::try_from(self.opens_in_ms).unwrap_or(0));
        // Nobody of this reading waits: those before where it began do.
        let wait = if self.later == 0 { AGAIN_LEAST } else { soonest.clamp(AGAIN_LEAST, AGAIN_MOST) };
        self.not_before = shared.monotonic() + wait;
        (self.later, self.opens_in_ms) = (0, i64::MAX);
        match self.reading.take().map(Reading::again) {
            Some(Ok(again)) => self.reading = Some(again),
            Some(Err(error)) => return Ok(Err(error)),
            None => {}
        }
        Ok(Ok(()))
    }
}

/// Reads lines until there are as many messages as wanted, the file ends, or enough was looked at.
fn gather(
    shared: &Shared,
    number: u16,
    reading: &mut Reading,
    wanted: usize,
    later: &mut u64,
    opens_in_ms: &mut i64,
) -> Result<Gathered, FileError> {
    let now = shared.now_ms();
    let rules =
        Rules { campaign: number, cap_days: shared.config.cap_days, hours_margin_ms: shared.config.hours_margin_ms() };
    let columns = reading.columns();
    let state: &State = &shared.state();
    let (campaign, suppressed) = (&state.campaigns[&number], shared.suppressed());
    let mut gathered = Gathered::default();
    // Two lines of one batch may be of one person.
    let mut here: HashSet<u64> = HashSet::new();
    for _ in 0..LINES_MAX {
        if gathered.members.len() >= wanted {
            break;
        }
        if reading.place().line >= shared.config.recipients_max {
            gathered.too_many = true;
            break;
        }
        let Some((line, bytes)) = reading.read_line()? else {
            gathered.end = true;
            break;
        };
        if campaign.line(line) != LineState::Planned {
            continue;
        }
        let read = columns.line(bytes);
        let hash = read.map_or(0, |recipient| state.reached.hash(recipient.token));
        let suppressed = read.is_ok_and(|recipient| suppressed.contains(recipient.token));
        let mut verdict = admit(read, state.reached.last(hash), suppressed, now, rules);
        if verdict == Verdict::Send && !here.insert(hash) {
            verdict = Verdict::Never(LineState::Repeated);
        }
        match (verdict, read) {
            (Verdict::Send, Ok(recipient)) => {
                let token = recipient.token.to_owned();
                gathered.members.push(Member { line, token, zone: recipient.zone });
            }
            (Verdict::Never(state), _) => gathered.skipped.push((line, state as u8)),
            (Verdict::Later(ms), _) => {
                *later += 1;
                *opens_in_ms = ms.min(*opens_in_ms);
            }
            (Verdict::Send, Err(_)) => {}
        }
    }
    Ok(gathered)
}

#[derive(Deserialize)]
struct HeadroomAnswer {
    classes: Vec<ClassHeadroom>,
}

#[derive(Deserialize)]
struct ClassHeadroom {
    class: String,
    free: u32,
    limit: u32,
    stop: bool,
}

/// Asks every gateway again and again. One that is silent stops campaigns: nobody knows what its sites can take.
pub(crate) async fn watch_headroom(shared: Arc<Shared>) -> Result<(), Closed> {
    let http = reqwest::Client::builder().timeout(HEADROOM_TIMEOUT).no_proxy().build();
    let Ok(http) = http else { return Err(Closed) };
    let mut heard: Vec<Option<(Duration, Headroom)>> = vec![None; shared.config.edges.len()];
    loop {
        for (edge, heard) in shared.config.edges.iter().zip(&mut heard) {
            let url = format!("http://{}/headroom", edge.address);
            let Ok(answer) = http.get(url).send().await else { continue };
            let Ok(answer) = answer.json::<HeadroomAnswer>().await else { continue };
            let Some(open) = answer.classes.iter().find(|class| class.class == "open") else { continue };
            let units = |slots: u32| f64::from(slots) / 1000.0 * edge.units_per_slot;
            let (capacity, load) = (units(open.limit), units(open.limit.saturating_sub(open.free)));
            *heard = Some((shared.monotonic(), Headroom { capacity, load, stop: open.stop }));
        }
        let now = shared.monotonic();
        let silent = |heard: &Option<(Duration, Headroom)>| heard.is_none_or(|(at, _)| now - at > HEADROOM_HOLDS);
        if heard.iter().any(silent) {
            shared.set_headroom(Headroom::UNKNOWN);
            let said = "campaigns wait: a gateway does not say what room there is; look at [[edge]] and its admin port";
            shared.alarm("headroom", Some(said.to_owned()));
        } else {
            let none = Headroom { capacity: 0.0, load: 0.0, stop: false };
            let sum = heard.iter().flatten().fold(none, |sum, (_, one)| Headroom {
                capacity: sum.capacity + one.capacity,
                load: sum.load + one.load,
                stop: sum.stop || one.stop,
            });
            shared.set_headroom(sum);
            shared.alarm("headroom", None);
        }
        tokio::time::sleep(HEADROOM_EVERY).await;
    }
}
