//! Which alarms the state of a group calls for.

use std::collections::BTreeMap;

use super::event::{Action, Alarm};
use super::group::{Forced, Group};
use super::health::Unfit;
use super::{Absence, Standing};
use crate::sequence::Millis;
use crate::side::Side;

impl Group {
    pub(super) fn raise(&mut self, now: Millis, forced: &Forced, out: &mut Vec<Action>) {
        let mut wanted = BTreeMap::new();
        let mut want = |which: Alarm, text: String| wanted.insert(which, text);
        let Standing { active, .. } = self.held.standing;
        if !self.held.standing.is_duplex() {
            let why = self.held.grant.map_or_else(String::new, |cause| format!(": {cause}"));
            let how = match self.config.absence {
                Absence::Available => "acknowledges alone",
                Absence::Block => "is the only one in sync, and nothing is acknowledged (policy: block)",
            };
            want(Alarm::Solo, format!("side {active} {how}{why}"));
        }
        match forced {
            Forced::Stopped => {
                want(Alarm::Stopped, "no side can go on: nothing is acknowledged".to_owned());
            }
            Forced::InDoubt => {
                let text = "a side is away since before the other was known to be whole: nothing is acknowledged until \
                            both were read, or one is allowed to go on alone once";
                want(Alarm::InDoubt, text.to_owned());
            }
            Forced::Nothing | Forced::Send(_) => {}
        }
        for side in Side::BOTH {
            match self.health.unfit(side) {
                Some((at, Unfit::Damaged)) => {
                    let text = format!("side {side} lost or holds other records in {at}");
                    want(Alarm::Damaged(side), text);
                }
                Some((what, Unfit::Refuses(_))) => {
                    want(Alarm::Refused(side), format!("side {side} refuses {what}"));
                }
                None => {}
            }
            if self.health.is_wrong_cluster(side) {
                want(Alarm::WrongCluster(side), format!("another cluster answers at the addresses of side {side}"));
            }
        }
        if self.coordinator_lost_at.is_some() {
            want(Alarm::CoordinatorLost, "the coordinator cannot be used; no change of sides".to_owned());
        }
        if self.restored {
            let text = "the coordinator held something older than this relay remembers, and was corrected";
            want(Alarm::CoordinatorRestored, text.to_owned());
        }
        if self.lease_until.is_some_and(|until| now >= until) {
            want(Alarm::LeaseEnded, "the lease has ended: nothing is written or acknowledged".to_owned());
        }
        if let Some(side) = self.unconfirmed() {
            let text = format!("side {side} holds other records and nothing says which side counts: confirm {active}");
            want(Alarm::Unconfirmed(side), text);
        }
        for which in self.alarms.keys().filter(|which| !wanted.contains_key(which)) {
            out.push(Action::Calm { which: *which });
        }
        for (which, text) in &wanted {
            if !self.alarms.contains_key(which) {
                out.push(Action::Alarm { which: *which, text: text.clone() });
            }
        }
        self.alarms = wanted;
    }
}
