//! The task of one service group.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use naru_kafka::client::TopicPartition;
use naru_kafka::wire::TopicId;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

use super::probe::Probes;
use super::{COMMANDS_MAX, Commanded, GroupHandle, Rebuild, group_config, work};
use crate::clock;
use crate::config::Mode;
use crate::coordination::Coordination as _;
use crate::partition::{PartitionHandle, Report, Reported};
use crate::relay::Relay;
use crate::sequence;
use crate::side::{Side, SideMap};
use crate::sides::{Action, Alarm, CommandRefused, Complaint, Event, Group, GroupRecord, GroupView};

/// How often a group looks at the time: small against the shortest bound, the stall of a planned switch.
const TICK: Duration = Duration::from_millis(50);
/// Reports taken in before the group decides: what it decides looks at every partition.
const REPORTS_TURN_MAX: usize = 1024;

/// See the module.
pub(super) struct Runner {
    relay: Arc<Relay>,
    name: String,
    group: Group,
    reports: mpsc::Receiver<Report>,
    commands: mpsc::Receiver<Commanded>,
    waiting: HashMap<u64, oneshot::Sender<Result<(), CommandRefused>>>,
    next_command: u64,
    partitions: BTreeMap<TopicPartition, (TopicId, PartitionHandle)>,
    /// Those of them that were taken in and are not compared yet: they have no voice.
    uncompared: BTreeSet<TopicPartition>,
    probes: Probes,
    /// What the mirror of committed offsets said last.
    complaints: SideMap<Option<Complaint>>,
    jobs: JoinSet<Event>,
    view: watch::Sender<GroupView>,
    remembered: Option<GroupRecord>,
    events: Vec<Event>,
}

impl Runner {
    /// The runner of a group, which is told of its handle. None if it has one already.
    pub(super) fn new(relay: &Arc<Relay>, name: &str, probes: &Probes) -> Option<Self> {
        let served = relay.groups.get(name)?;
        let reports = served.take_reports()?;
        let group = Group::new(group_config(&relay.config, &served.config), served.boot);
        let (commands, inbox) = mpsc::channel(COMMANDS_MAX);
        let (view, watched) = watch::channel(group.view());
        served.runner.set(GroupHandle { commands, view: watched }).ok()?;
        Some(Self {
            relay: Arc::clone(relay),
            name: name.to_owned(),
            group,
            reports,
            commands: inbox,
            waiting: HashMap::new(),
            next_command: 0,
            partitions: BTreeMap::new(),
            uncompared: BTreeSet::new(),
            probes: probes.clone(),
            complaints: SideMap::default(),
            jobs: JoinSet::new(),
            view,
            remembered: None,
            events: Vec::new(),
        })
    }

    /// Until the relay stops.
    pub(super) async fn run(mut self) {
        let stopping = self.relay.stopping.clone();
        let mut served = self.relay.served.watch();
        let mut lease = self.relay.lease.subscribe();
        let mut changes = self.relay.state.coordination.watch("group/");
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let until = *lease.borrow_and_update();
        self.leased(until).await;
        self.look_at_partitions().await;
        loop {
            tokio::select! {
                () = stopping.cancelled() => return,
                Some(report) = self.reports.recv() => {
                    self.reported(report);
                    for _ in 1..REPORTS_TURN_MAX {
                        let Ok(report) = self.reports.try_recv() else { break };
                        self.reported(report);
                    }
                }
                Some(done) = self.jobs.join_next() => match done {
                    Ok(event) => self.events.push(event),
                    // Ends this task, and with it the process, in good order.
                    Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
                    Err(_) => return,
                },
                Some(commanded) = self.commands.recv() => self.commanded(commanded),
                Ok(()) = served.changed() => {
                    served.mark_unchanged();
                    self.look_at_partitions().await;
                }
                Ok(()) = self.probes.a.changed() => self.probed(Side::A),
                Ok(()) = self.probes.b.changed() => self.probed(Side::B),
                Ok(()) = lease.changed() => {
                    let until = *lease.borrow_and_update();
                    self.leased(until).await;
                }
                Ok(()) = changes.changed() => {
                    changes.mark_unchanged();
                    self.events.push(Event::Changed);
                }
                _ = ticks.tick() => {
                    self.hear_complaints();
                    self.give_voices().await;
                    self.events.push(Event::Tick);
                }
            }
            self.decide().await;
        }
    }

    fn reported(&mut self, Report { at, what, seen }: Report) {
        self.events.push(match what {
            Reported::Suspicion { side, suspicion } => Event::Report { partition: at, side, suspicion, seen },
            Reported::Quiesced { end } => Event::Quiesced { partition: at, end, seen },
        });
    }

    fn commanded(&mut self, Commanded { command, reply }: Commanded) {
        tracing::info!(group = self.name, ?command, "an operator commands");
        let id = self.next_command;
        self.next_command += 1;
        self.waiting.insert(id, reply);
        self.events.push(Event::Command { id, command });
    }

    fn probed(&mut self, side: Side) {
        if let Some(outcome) = *self.probes[side].borrow_and_update() {
            self.events.push(Event::Probed { side, outcome });
        }
    }

    /// What committed offsets say of the sides.
    fn hear_complaints(&mut self) {
        let Some(served) = self.relay.groups.get(&self.name) else { return };
        for side in Side::BOTH {
            let complaint = served.mirror.complaint(side);
            if complaint == self.complaints[side] {
                continue;
            }
            match &complaint {
                Some(Complaint { consumers, suspicion, .. }) => {
                    let group = &self.name;
                    tracing::warn!(group, %side, %consumers, ?suspicion, "a side does not keep committed offsets");
                }
                None => tracing::info!(group = self.name, %side, "a side keeps committed offsets again"),
            }
            self.complaints[side].clone_from(&complaint);
            self.events.push(Event::Complained { side, complaint });
        }
    }

    async fn leased(&mut self, until: sequence::Millis) {
        self.events.push(Event::Lease { until });
        if let Some(served) = self.relay.groups.get(&self.name) {
            served.mirror.lease(until);
        }
        self.tell_partitions(&sequence::Event::Lease { until }).await;
    }

    /// Takes in which partitions the group has now.
    async fn look_at_partitions(&mut self) {
        let mut present = BTreeMap::new();
        for topic in self.relay.served.all().into_iter().filter(|topic| *topic.group == *self.name) {
            for partition in &topic.partitions {
                present.insert(partition.at().clone(), (topic.id, partition.clone()));
            }
        }
        let before = std::mem::replace(&mut self.partitions, present);
        let gone = before.keys().filter(|at| !self.partitions.contains_key(*at)).cloned();
        let gone: Vec<_> = gone.collect();
        for partition in gone {
            self.relay.state.forget(&partition);
            self.uncompared.remove(&partition);
            self.events.push(Event::Removed { partition });
        }
        let duplex = self.is_duplex();
        let (held, sent) = self.group.announcement();
        let until = *self.relay.lease.borrow();
        for (at, (id, handle)) in &self.partitions {
            if before.get(at).is_some_and(|(known, _)| known == id) {
                continue;
            }
            if handle.shown().view.compared {
                self.uncompared.remove(at);
                self.events.push(Event::Added { partition: at.clone(), duplex });
            } else {
                self.uncompared.insert(at.clone());
                self.events.push(Event::Removed { partition: at.clone() });
            }
            tell(handle, sequence::Event::Lease { until }).await;
            tell(handle, sequence::Event::Standing { held, sent }).await;
        }
    }

    fn is_duplex(&self) -> bool {
        self.relay.groups.get(&self.name).is_none_or(|served| served.config.mode == Mode::Duplex)
    }

    /// A partition whose logs are the same by now belongs to the group, and says what it thinks of the sides.
    async fn give_voices(&mut self) {
        let is_compared =
            |at: &TopicPartition| self.partitions.get(at).is_some_and(|(_, handle)| handle.shown().view.compared);
        let compared: Vec<_> = self.uncompared.iter().filter(|at| is_compared(at)).cloned().collect();
        let (duplex, (held, sent)) = (self.is_duplex(), self.group.announcement());
        for partition in compared {
            self.uncompared.remove(&partition);
            if let Some((_, handle)) = self.partitions.get(&partition) {
                tell(handle, sequence::Event::Standing { held, sent }).await;
            }
            self.events.push(Event::Added { partition, duplex });
        }
    }

    async fn tell_partitions(&self, event: &sequence::Event) {
        for (_, handle) in self.partitions.values() {
            tell(handle, event.clone()).await;
        }
    }

    async fn decide(&mut self) {
        if self.events.is_empty() {
            return;
        }
        let mut actions = Vec::new();
        self.group.on_all(clock::now(), self.events.drain(..), &mut actions);
        // An operator who is answered sees in the status what he was answered.
        let answers: Vec<Action> = actions.extract_if(.., |action| matches!(action, Action::Answer { .. })).collect();
        for action in actions {
            self.carry_out(action).await;
        }
        let view = self.group.view();
        if self.remembered != Some(view.record) {
            self.remembered = Some(view.record);
            // Older than the coordinator at worst; never newer, as only what was read back is held.
            self.relay.state.remember(&self.name, &view.record);
        }
        self.view.send_replace(view);
        for answer in answers {
            self.carry_out(answer).await;
        }
    }

    async fn carry_out(&mut self, action: Action) {
        let (relay, name) = (Arc::clone(&self.relay), self.name.clone());
        match action {
            Action::Swap { expected, record } => {
                tracing::info!(group = name, expected, standing = %record.standing, grant = ?record.grant, "a change is sent");
                self.jobs.spawn(work::swap(relay, name, expected, record));
            }
            Action::ReadBack => {
                self.jobs.spawn(work::read(relay, name));
            }
            Action::Announce { held, sent } => {
                tracing::info!(group = name, standing = %held, sent = ?sent.map(|sent| sent.to_string()), "a standing holds");
                if let Some(served) = relay.groups.get(&name) {
                    served.sent.send_replace(sent);
                    served.standing.send_replace(held);
                    served.mirror.announce(held, sent);
                }
                self.tell_partitions(&sequence::Event::Standing { held, sent }).await;
            }
            Action::Quiesce => self.quiesce(true).await,
            Action::Resume => self.quiesce(false).await,
            Action::AssessReturn { side } => {
                self.jobs.spawn(work::assess(relay, name, side));
            }
            Action::Recreate { side, topics } => {
                let damaged = self.group.view().alarms.remove(&Alarm::Damaged(side));
                let because =
                    damaged.unwrap_or_else(|| format!("side {side} lacks the topic, or has another of the name"));
                tracing::warn!(group = name, %side, because, topics = topics.len(), "topics are deleted on a side and copied anew");
                if let Some(served) = relay.groups.get(&name) {
                    served.rebuilds.note(Rebuild { side, at: clock::now(), topics: topics.clone(), because });
                }
                for topic in topics {
                    self.jobs.spawn(work::recreate(Arc::clone(&relay), side, topic));
                }
            }
            Action::CopyOffsets { side, attempt } => {
                self.jobs.spawn(work::copy_offsets(relay, name, side, attempt));
            }
            // The mirror removes them itself, group by group, where it finds them in the way of its commits.
            Action::RemoveMembers { .. } => {}
            Action::Alarm { which, text } => alarm(&name, which, &text),
            Action::Calm { which } => tracing::info!(group = name, alarm = which.name(), "an alarm is over"),
            Action::Answer { id, result } => {
                tracing::info!(group = name, ?result, "a command is answered");
                if let Some(reply) = self.waiting.remove(&id)
                    && reply.send(result).is_err()
                {
                    tracing::debug!(group = name, "an operator did not wait for the answer");
                }
            }
        }
    }

    async fn quiesce(&self, quiescing: bool) {
        let event = if quiescing { sequence::Event::Quiesce } else { sequence::Event::Resume };
        if let Some(served) = self.relay.groups.get(&self.name) {
            served.mirror.quiesce(quiescing);
        }
        self.tell_partitions(&event).await;
    }
}

async fn tell(handle: &PartitionHandle, event: sequence::Event) {
    if handle.send(event).await.is_err() {
        tracing::debug!(at = ?handle.at(), "a partition ended");
    }
}

fn alarm(group: &str, which: Alarm, text: &str) {
    match which {
        Alarm::Solo | Alarm::Refused(_) | Alarm::CoordinatorLost | Alarm::CoordinatorRestored => {
            tracing::warn!(group, alarm = which.name(), text, "alarm");
        }
        Alarm::Stopped
        | Alarm::InDoubt
        | Alarm::Damaged(_)
        | Alarm::WrongCluster(_)
        | Alarm::LeaseEnded
        | Alarm::Unconfirmed(_) => tracing::error!(group, alarm = which.name(), text, "alarm"),
    }
}
