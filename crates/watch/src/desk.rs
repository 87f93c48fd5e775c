//! The desk: which incident a signal belongs to, what is written down, and who is woken. Pure: what it says is put in the
//! ledger by others, and the same entries make the same desk again.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use naru_runtime::clocks::millis;
use naru_runtime::hex::to_hex;
use ring::digest;

use crate::cause::{self, Before, Topology};
use crate::config::{PageConfig, WatchConfig};
use crate::event::{Change, Entry, Event, Kind, Signal, SignalId};
use crate::incident::{ChangeLine, Incident, Phase};
use crate::postmortem;

/// Incidents in memory; older ones are in the ledger.
const INCIDENTS_MAX: usize = 256;
/// Changes in memory: more in a window than anybody reads.
const CHANGES_MAX: usize = 256;
/// Changes that an incident shows.
const CHANGES_SHOWN_MAX: usize = 10;
/// A target that goes away this long after the newest signal of an incident has a cause of its own.
const GATHER_MS: i64 = 30_000;
/// Signals that open and close over and over are not written for ever: of one incident at most so many.
const SIGNALS_MAX: usize = 120;

/// Somebody is to be woken, or told that it is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageJob {
    /// For which incident.
    pub incident: u64,
    /// Who, by place in the configuration.
    pub contact: usize,
    /// The cause, or that it is over.
    pub about: String,
    /// What is said.
    pub text: String,
}

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageOutcome {
    /// What was to be done.
    pub job: PageJob,
    /// Whether it was delivered.
    pub delivered: bool,
    /// How often it was tried.
    pub attempts: u32,
}

/// Why something was not done. The caller's side.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeskError {
    /// No such incident is in memory.
    #[error("there is no incident {0}; those before the last {INCIDENTS_MAX} are in the ledger alone")]
    NoIncident(u64),
    /// It is over already.
    #[error("incident {0} is over")]
    Over(u64),
    /// It lasts still.
    #[error("incident {0} is not over")]
    Lasts(u64),
    /// No such action.
    #[error("there is no action {0}")]
    NoAction(u64),
    /// The evidence is not what closes it.
    #[error("action {action}: {fix}")]
    Evidence {
        /// Which.
        action: u64,
        /// What would do.
        fix: String,
    },
    /// A field cannot be meant.
    #[error("{field}: {fix}")]
    Field {
        /// Which.
        field: &'static str,
        /// What to write.
        fix: &'static str,
    },
}

/// Decides.
#[derive(Debug)]
pub struct Desk {
    topology: Topology,
    pages: Vec<PageConfig>,
    recovered_after_ms: i64,
    change_window_ms: i64,
    incidents: VecDeque<Incident>,
    changes: VecDeque<ChangeLine>,
    /// Since when an incident has had no signal, and when somebody was last woken for it.
    well_since: BTreeMap<u64, i64>,
    woken_ms: BTreeMap<u64, i64>,
    next_incident: u64,
    next_action: u64,
    last_entry: u64,
    /// Said, and not taken by the ledger's writer yet.
    said: Vec<Entry>,
    /// To be woken.
    jobs: Vec<PageJob>,
}

impl Desk {
    /// Without an incident.
    pub fn new(config: &WatchConfig) -> Self {
        Self {
            topology: Topology::of(&config.targets),
            pages: config.pages.clone(),
            recovered_after_ms: millis(config.recovered_after),
            change_window_ms: millis(config.change_window),
            incidents: VecDeque::new(),
            changes: VecDeque::new(),
            well_since: BTreeMap::new(),
            woken_ms: BTreeMap::new(),
            next_incident: 1,
            next_action: 1,
            last_entry: 0,
            said: Vec::new(),
            jobs: Vec::new(),
        }
    }

    /// Takes an entry of a ledger in: what the desk said before it was started again.
    pub fn apply(&mut self, entry: &Entry) {
        self.last_entry = entry.id;
        match &entry.event {
            Event::Changed { change } => {
                let line = ChangeLine { entry: entry.id, at_unix_ms: entry.at_unix_ms, change: change.clone() };
                self.changes.push_front(line);
                self.changes.truncate(CHANGES_MAX);
            }
            Event::Opened { incident } => {
                self.next_incident = self.next_incident.max(incident + 1);
                let changes = self.changes_before(entry.at_unix_ms);
                self.incidents.push_back(Incident::opened(*incident, entry.at_unix_ms, changes));
                if self.incidents.len() > INCIDENTS_MAX {
                    self.incidents.pop_front();
                }
            }
            Event::Action { action, .. } => self.next_action = self.next_action.max(action + 1),
            Event::Paged { incident, .. } | Event::Escalated { incident, .. } => {
                self.woken_ms.insert(*incident, entry.at_unix_ms);
            }
            Event::Resolved { incident, .. } => {
                self.well_since.remove(incident);
                self.woken_ms.remove(incident);
            }
            _ => {}
        }
        let of = entry.event.incident();
        if let Some(incident) = self.incidents.iter_mut().rev().find(|one| Some(one.id) == of) {
            incident.apply(entry);
            if let Event::Paged { contact, .. } | Event::Escalated { contact, .. } = &entry.event
                && let Some(place) = self.pages.iter().position(|page| page.name == *contact)
            {
                incident.contacts = incident.contacts.max(place + 1);
            }
        }
    }

    fn changes_before(&self, at_unix_ms: i64) -> Vec<ChangeLine> {
        let from = at_unix_ms - self.change_window_ms;
        let recent = self.changes.iter().filter(|change| (from..=at_unix_ms).contains(&change.at_unix_ms));
        recent.take(CHANGES_SHOWN_MAX).cloned().collect()
    }

    /// Says something: it has its place from here on.
    fn say(&mut self, at_unix_ms: i64, event: Event, cites: Vec<u64>) -> u64 {
        let entry = Entry { id: self.last_entry + 1, at_unix_ms, event, cites };
        self.apply(&entry);
        let id = entry.id;
        self.said.push(entry);
        id
    }

    /// What was said since this was last asked, in order.
    pub fn take_said(&mut self) -> Vec<Entry> {
        std::mem::take(&mut self.said)
    }

    /// Who is to be woken since this was last asked.
    pub fn take_jobs(&mut self) -> Vec<PageJob> {
        std::mem::take(&mut self.jobs)
    }

    /// Incidents, the oldest first.
    pub fn incidents(&self) -> impl DoubleEndedIterator<Item = &Incident> {
        self.incidents.iter()
    }

    /// Changes, the newest first.
    pub fn changes(&self) -> impl Iterator<Item = &ChangeLine> {
        self.changes.iter()
    }

    /// The place of the last entry.
    pub fn last_entry(&self) -> u64 {
        self.last_entry
    }

    /// One of them.
    ///
    /// # Errors
    /// [`DeskError::NoIncident`].
    pub fn incident(&self, id: u64) -> Result<&Incident, DeskError> {
        self.incidents.iter().rev().find(|one| one.id == id).ok_or(DeskError::NoIncident(id))
    }

    /// The watch begins to look.
    pub fn started(&mut self, at_unix_ms: i64, targets: usize) {
        self.say(at_unix_ms, Event::Started { targets }, Vec::new());
    }

    /// The watch did not run for a while.
    pub fn blind(&mut self, at_unix_ms: i64, ms: i64) {
        self.say(at_unix_ms, Event::Blind { ms }, Vec::new());
    }

    /// Somebody tells of a change, or it was seen.
    ///
    /// # Errors
    /// [`DeskError::Field`].
    pub fn changed(&mut self, at_unix_ms: i64, change: Change) -> Result<u64, DeskError> {
        text("what", &change.what, 1000)?;
        text("by", &change.by, 64)?;
        if change.on.len() > 64 || change.on.iter().any(|on| on.len() > 64) {
            return Err(DeskError::Field { field: "on", fix: "name at most 64 targets" });
        }
        Ok(self.say(at_unix_ms, Event::Changed { change }, Vec::new()))
    }

    /// Looks at all signals that last now.
    pub fn judge(&mut self, now_ms: i64, active: &[Signal]) {
        for signal in active {
            self.take_signal(now_ms, signal);
        }
        let open: Vec<u64> = self.incidents.iter().filter(|one| one.is_open()).map(|one| one.id).collect();
        for id in open {
            self.end_signals(now_ms, id, active);
            self.name_cause(now_ms, id);
            self.recover(now_ms, id);
            self.escalate(now_ms, id);
        }
    }

    fn take_signal(&mut self, now_ms: i64, signal: &Signal) {
        let open = || self.incidents.iter().rev().filter(|one| one.is_open());
        if open().any(|one| one.lasting(&signal.id).is_some()) {
            return;
        }
        let home = open().find(|one| self.belongs(one, signal)).map(|one| (one.id, one.signals.len()));
        let id = match home {
            Some((_, count)) if count >= SIGNALS_MAX => return,
            Some((id, _)) => id,
            None => {
                let id = self.next_incident;
                self.say(now_ms, Event::Opened { incident: id }, Vec::new());
                id
            }
        };
        let event = Event::Began { incident: id, signal: signal.clone() };
        self.say(now_ms, event, Vec::new());
    }

    /// Whether a signal is of an incident: one that it had, or one on a target that has to do with one of its targets; a
    /// target that goes away only soon after the others did.
    fn belongs(&self, incident: &Incident, signal: &Signal) -> bool {
        let had = incident.signals.iter().any(|one| one.signal.id == signal.id);
        let newest = incident.signals.iter().map(|one| one.signal.since_unix_ms).max().unwrap_or(i64::MIN);
        let soon = signal.since_unix_ms <= newest.saturating_add(GATHER_MS);
        let related = signal.on.is_empty()
            || incident.signals.iter().any(|one| {
                one.signal.on.is_empty()
                    || one.signal.on.iter().any(|of| signal.on.iter().any(|on| self.topology.related(on, of)))
            });
        had || (related && (soon || signal.id.kind != Kind::Away))
    }

    fn end_signals(&mut self, now_ms: i64, id: u64, active: &[Signal]) {
        let Ok(incident) = self.incident(id) else { return };
        let over = |one: &SignalId| active.iter().all(|signal| signal.id != *one);
        let lasting = incident.signals.iter().filter(|one| one.ended_unix_ms.is_none());
        let ended: Vec<(SignalId, u64)> =
            lasting.filter(|one| over(&one.signal.id)).map(|one| (one.signal.id.clone(), one.entry)).collect();
        for (signal, entry) in ended {
            self.say(now_ms, Event::Ended { incident: id, signal }, vec![entry]);
        }
    }

    fn name_cause(&mut self, now_ms: i64, id: u64) {
        let Ok(incident) = self.incident(id) else { return };
        // While it ends, nothing new is learned of how it began.
        if !incident.is_lasting() && incident.cause_entry > 0 {
            return;
        }
        let signals: Vec<&Signal> = incident.signals.iter().map(|one| &one.signal).collect();
        let before: Vec<Before> = incident
            .changes
            .iter()
            .map(|line| Before {
                entry: line.entry,
                at_unix_ms: line.at_unix_ms,
                kind: line.change.kind,
                on: line.change.on.clone(),
            })
            .collect();
        let Some(cause) = cause::name(&signals, &before, &self.topology) else { return };
        if cause.name == incident.cause {
            return;
        }
        let first = incident.cause_entry == 0;
        let mut cites: Vec<u64> = incident.signals.iter().map(|one| one.entry).rev().take(16).collect();
        cites.extend(cause.change);
        let (name, because) = (cause.name.clone(), cause.because.clone());
        self.say(now_ms, Event::Cause { incident: id, cause: cause.name, because: cause.because }, cites);
        let woken = self.incident(id).map_or(0, |one| one.contacts.max(1) - 1);
        if !self.pages.is_empty() {
            let what = if first { "opened" } else { "has another cause than was said" };
            self.wake(now_ms, id, woken, name.clone(), format!("incident {id} {what}: {name}, since {because}"));
        }
    }

    fn recover(&mut self, now_ms: i64, id: u64) {
        let Ok(incident) = self.incident(id) else { return };
        if incident.is_lasting() {
            self.well_since.remove(&id);
            return;
        }
        let (contacts, cause) = (incident.contacts, incident.cause.clone());
        let ended = incident.signals.iter().filter_map(|one| one.ended_unix_ms).max();
        let cites = incident.timeline.last().map(|line| line.entry).into_iter().collect();
        let since = *self.well_since.entry(id).or_insert(ended.unwrap_or(now_ms));
        if now_ms - since < self.recovered_after_ms {
            return;
        }
        self.say(now_ms, Event::Resolved { incident: id, well_since_unix_ms: since }, cites);
        for contact in 0..contacts {
            self.wake(now_ms, id, contact, "its end".to_owned(), format!("incident {id} is over: {cause}"));
        }
        if let Ok(incident) = self.incident(id) {
            let draft = postmortem::draft(incident);
            let sha256 = to_hex(digest::digest(&digest::SHA256, draft.as_bytes()).as_ref());
            self.say(now_ms, Event::Drafted { incident: id, sha256 }, Vec::new());
        }
    }

    fn wake(&mut self, now_ms: i64, incident: u64, contact: usize, about: String, text: String) {
        self.woken_ms.insert(incident, now_ms);
        self.jobs.push(PageJob { incident, contact, about, text });
    }

    /// Wakes the next one when nobody has taken it on.
    fn escalate(&mut self, now_ms: i64, id: u64) {
        let Ok(incident) = self.incident(id) else { return };
        let Some(woken_ms) = self.woken_ms.get(&id).filter(|_| incident.phase == Phase::Open) else { return };
        let at = incident.contacts.max(1) - 1;
        let patience = self.pages.get(at).map_or(Duration::MAX, |page| page.escalate_after);
        if now_ms - woken_ms >= millis(patience) {
            self.pass_on(now_ms, id, at + 1);
        }
    }

    fn pass_on(&mut self, now_ms: i64, id: u64, contact: usize) {
        let Some(name) = self.pages.get(contact).map(|page| page.name.clone()) else { return };
        let cause = self.incident(id).map_or_else(|_| String::new(), |one| one.cause.clone());
        self.say(now_ms, Event::Escalated { incident: id, contact: name }, Vec::new());
        self.wake(now_ms, id, contact, cause.clone(), format!("nobody has taken incident {id} on: {cause}"));
    }

    /// Takes in what became of a page. One that could not be delivered goes to the next at once.
    pub fn paged(&mut self, now_ms: i64, outcome: PageOutcome) {
        let PageOutcome { job, delivered, attempts } = outcome;
        let Some(contact) = self.pages.get(job.contact).map(|page| page.name.clone()) else { return };
        let event = Event::Paged { incident: job.incident, contact, about: job.about, delivered, attempts };
        self.say(now_ms, event, Vec::new());
        let open = self.incident(job.incident).is_ok_and(|one| one.phase == Phase::Open);
        let last = self.incident(job.incident).map_or(0, |one| one.contacts);
        if !delivered && open && job.contact + 1 >= last {
            self.pass_on(now_ms, job.incident, job.contact + 1);
        }
    }

    /// Somebody takes an incident on; twice is as good as once.
    ///
    /// # Errors
    /// [`DeskError`].
    pub fn acknowledge(&mut self, now_ms: i64, id: u64, by: String) -> Result<(), DeskError> {
        text("by", &by, 64)?;
        match self.incident(id)?.phase {
            Phase::Resolved => Err(DeskError::Over(id)),
            Phase::Acknowledged => Ok(()),
            Phase::Open => {
                self.say(now_ms, Event::Acknowledged { incident: id, by }, Vec::new());
                Ok(())
            }
        }
    }

    /// Something is to be done so that it does not happen again.
    ///
    /// # Errors
    /// [`DeskError`].
    pub fn act(
        &mut self,
        now_ms: i64,
        id: u64,
        what: String,
        owner: String,
        rehearsal: String,
    ) -> Result<u64, DeskError> {
        text("what", &what, 1000)?;
        text("owner", &owner, 64)?;
        text("rehearsal", &rehearsal, 64)?;
        let incident = self.incident(id)?;
        if incident.is_open() {
            return Err(DeskError::Lasts(id));
        }
        if incident.actions.len() >= 32 {
            return Err(DeskError::Field { field: "incident", fix: "has 32 actions: close some first" });
        }
        let (action, cites) = (self.next_action, vec![incident.cause_entry]);
        self.say(now_ms, Event::Action { incident: id, action, what, owner, rehearsal }, cites);
        Ok(action)
    }

    /// Closes an action by the report of its rehearsal.
    ///
    /// # Errors
    /// [`DeskError`]; of evidence, when another rehearsal is reported, or one that did not pass.
    pub fn close(&mut self, now_ms: i64, action: u64, report: &[u8]) -> Result<(), DeskError> {
        let found = self.incidents.iter().rev().find_map(|incident| {
            let found = incident.actions.iter().find(|one| one.action == action)?;
            Some((incident.id, found.clone()))
        });
        let (incident, state) = found.ok_or(DeskError::NoAction(action))?;
        if state.closed_entry.is_some() {
            return Ok(());
        }
        let rehearsal = state.rehearsal;
        postmortem::passed(report, &rehearsal).map_err(|fix| DeskError::Evidence { action, fix })?;
        let report_sha256 = to_hex(digest::digest(&digest::SHA256, report).as_ref());
        self.say(now_ms, Event::Closed { incident, action, rehearsal, report_sha256 }, vec![state.entry]);
        Ok(())
    }
}

fn text(field: &'static str, text: &str, bytes_max: usize) -> Result<(), DeskError> {
    if text.trim().is_empty() || text.len() > bytes_max || text.chars().any(char::is_control) {
        return Err(DeskError::Field { field, fix: "write one line, not empty, of at most 1000 bytes (names: 64)" });
    }
    Ok(())
}
