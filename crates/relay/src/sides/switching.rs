//! A planned switch: equalise committed offsets, quiesce, compare, flip, resume.

use super::GroupRecord;
use super::event::{Action, CommandRefused};
use super::group::Group;
use crate::sequence::Millis;
use crate::side::{Side, SideSet};

/// How far a planned switch has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SwitchStage {
    /// Committed offsets are compared; clients notice nothing.
    Preparing,
    /// The intent is written to the coordinator.
    Marking,
    /// Partitions come to rest.
    Quiescing,
    /// The new active side is written to the coordinator.
    Flipping,
}

#[derive(Debug, Clone, Copy)]
enum Stage {
    Preparing { until: Millis, offsets: Offsets },
    Marking,
    Quiescing { began: Millis, offsets: Offsets },
    Flipping { began: Millis },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Offsets {
    Copying,
    Equal,
    /// They differed; asked for again at this time.
    Again(Millis),
}

/// A planned switch under way.
#[derive(Debug, Clone, Copy)]
pub(super) struct Switch {
    /// The command that is answered when it ends.
    id: u64,
    to: Side,
    stage: Stage,
}

impl Switch {
    pub fn stage(self) -> SwitchStage {
        match self.stage {
            Stage::Preparing { .. } => SwitchStage::Preparing,
            Stage::Marking => SwitchStage::Marking,
            Stage::Quiescing { .. } => SwitchStage::Quiescing,
            Stage::Flipping { .. } => SwitchStage::Flipping,
        }
    }

    /// When writes began to stand still.
    pub fn quiesced_at(self) -> Option<Millis> {
        match self.stage {
            Stage::Quiescing { began, .. } | Stage::Flipping { began } => Some(began),
            Stage::Preparing { .. } | Stage::Marking => None,
        }
    }
}

impl Group {
    pub(super) fn start_switch(
        &mut self,
        now: Millis,
        id: u64,
        to: Side,
        out: &mut Vec<Action>,
    ) -> Result<(), CommandRefused> {
        let standing = self.held.standing;
        if self.switch.is_some() || self.swap.is_some() {
            return Err(CommandRefused::Busy);
        }
        if standing.active == to {
            return Err(CommandRefused::AlreadyActive);
        }
        if !standing.is_duplex() {
            return Err(CommandRefused::NotInSync);
        }
        if !Side::BOTH.into_iter().all(|side| self.health.is_fit(side)) {
            return Err(CommandRefused::SideUnfit);
        }
        if !self.has_lease(now) {
            return Err(CommandRefused::NoCoordinator);
        }
        let until = now + self.config.prepare_ms_max;
        self.switch = Some(Switch { id, to, stage: Stage::Preparing { until, offsets: Offsets::Copying } });
        self.copy_offsets(to, out);
        Ok(())
    }

    /// Whether it is done at once; a switch back answers when it ends.
    pub(super) fn cancel(&mut self, now: Millis, id: u64, out: &mut Vec<Action>) -> Result<bool, CommandRefused> {
        match self.switch.map(Switch::stage) {
            Some(SwitchStage::Marking | SwitchStage::Flipping) => Err(CommandRefused::Busy),
            Some(SwitchStage::Preparing | SwitchStage::Quiescing) => {
                self.fail_switch(CommandRefused::Cancelled, out);
                Ok(true)
            }
            None => {
                let back = self.held.rollback.ok_or(CommandRefused::Nothing)?;
                self.start_switch(now, id, back, out).map(|()| false)
            }
        }
    }

    pub(super) fn advance_switch(&mut self, now: Millis, out: &mut Vec<Action>) {
        let Some(switch) = self.switch else { return };
        match switch.stage {
            Stage::Preparing { until, .. } if now >= until => self.fail_switch(CommandRefused::OffsetsDiffer, out),
            Stage::Preparing { offsets: Offsets::Equal, .. } if self.may_send(now) => {
                self.switch = Some(Switch { stage: Stage::Marking, ..switch });
                let marked = self.held.then(self.held.standing.active, SideSet::PAIR);
                self.send(GroupRecord { switching: Some(switch.to), ..marked }, out);
            }
            // The rest of the bound is for the flip itself.
            Stage::Quiescing { began, .. } if now >= began + self.config.stall_ms_max * 4 / 5 => {
                self.fail_switch(CommandRefused::StallTooLong, out);
            }
            Stage::Quiescing { began, offsets: Offsets::Equal }
                if self.health.is_quiesced(self.seen()) && self.may_send(now) =>
            {
                self.switch = Some(Switch { stage: Stage::Flipping { began }, ..switch });
                let from = self.held.standing.active;
                // Switching back is the end of it: there is nothing further to go back to.
                let rollback = (self.held.rollback != Some(switch.to)).then_some(from);
                self.send(GroupRecord { rollback, ..self.held.then(switch.to, SideSet::PAIR) }, out);
            }
            Stage::Preparing { until, offsets: Offsets::Again(at) } if now >= at => {
                let stage = Stage::Preparing { until, offsets: Offsets::Copying };
                self.switch = Some(Switch { stage, ..switch });
                self.copy_offsets(switch.to, out);
            }
            Stage::Preparing { .. } | Stage::Marking | Stage::Quiescing { .. } | Stage::Flipping { .. } => {}
        }
    }

    pub(super) fn switch_offsets_copied(&mut self, now: Millis, side: Side, equal: bool) {
        let again = now + self.config.retry_ms;
        let Some(switch) = self.switch.as_mut().filter(|switch| switch.to == side) else { return };
        match &mut switch.stage {
            Stage::Preparing { offsets, .. } => {
                *offsets = if equal { Offsets::Equal } else { Offsets::Again(again) };
            }
            Stage::Quiescing { offsets, .. } if equal => *offsets = Offsets::Equal,
            Stage::Quiescing { .. } | Stage::Marking | Stage::Flipping { .. } => {}
        }
    }

    /// A record was read back while a switch is under way.
    pub(super) fn switch_adopted(&mut self, now: Millis, from: Side, out: &mut Vec<Action>) {
        let Some(switch) = self.switch else { return };
        match switch.stage {
            Stage::Preparing { .. } => {}
            Stage::Marking if self.held.switching == Some(switch.to) => {
                self.health.members.values_mut().for_each(|member| member.quiesced = None);
                let stage = Stage::Quiescing { began: now, offsets: Offsets::Copying };
                self.switch = Some(Switch { stage, ..switch });
                out.push(Action::Quiesce);
                self.copy_offsets(switch.to, out);
            }
            Stage::Flipping { .. } if self.held.standing.active == switch.to => {
                self.switch = None;
                out.push(Action::RemoveMembers { side: from });
                out.push(Action::Resume);
                out.push(Action::Answer { id: switch.id, result: Ok(()) });
            }
            Stage::Marking | Stage::Quiescing { .. } | Stage::Flipping { .. } => {
                self.fail_switch(CommandRefused::Cancelled, out);
            }
        }
    }

    /// Gives a switch up. One whose flip is on its way is not given up: only what is read back decides it.
    pub(super) fn fail_switch(&mut self, why: CommandRefused, out: &mut Vec<Action>) {
        let undecided = self.swap.is_some();
        let Some(switch) = self.switch.take_if(|switch| !(undecided && switch.stage() != SwitchStage::Preparing))
        else {
            return;
        };
        if switch.quiesced_at().is_some() {
            out.push(Action::Resume);
        }
        out.push(Action::Answer { id: switch.id, result: Err(why) });
    }
}
