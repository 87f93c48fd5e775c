//! Faults by name, as `--fault` has them: which there are follows from the scenario's parts.

use std::time::Duration;

use super::{FAULTS_MAX, Fault, FaultKind, OWNED_SITES, SERVICES_AT, Scenario, Victim};

/// How long a fault lasts whose end is not given.
const LASTS: Duration = Duration::from_secs(3);

/// Why a fault cannot be added. The user's side.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum NoFault {
    /// It is not written as it should be.
    #[error(
        "{0:?} is no fault at a time: write NAME@FROM or NAME@FROM..UNTIL, as kill-relay@24 or kill-relay@send+4..send+7"
    )]
    Form(String),
    /// The scenario has no such fault.
    #[error("no fault is called {name:?} here: use one of {}", .names.join(", "))]
    Name {
        /// What was asked for.
        name: String,
        /// The faults that there are.
        names: Vec<String>,
    },
    /// The time is none of the run's.
    #[error("{text:?} is no time of this run: write seconds below {ends_s}, or PHASE+SECONDS with one of {}", .phases.join(", "))]
    Time {
        /// What was asked for.
        text: String,
        /// How long the run is, in seconds.
        ends_s: u64,
        /// The phases that there are.
        phases: Vec<String>,
    },
    /// There are too many.
    #[error("a scenario has at most {FAULTS_MAX} faults")]
    TooMany,
}

impl Scenario {
    /// Every fault that can happen to the scenario's parts, with its name.
    pub fn named_faults(&self) -> Vec<(String, FaultKind)> {
        let mut faults = Vec::new();
        let mut processes: Vec<(String, Victim)> = Vec::new();
        for (index, cluster) in self.clusters.iter().enumerate() {
            processes.push((format!("cluster-{}", cluster.name), Victim::Cluster(index)));
        }
        for (index, service) in self.services.iter().enumerate() {
            processes.push((service.kind.name().to_owned(), Victim::Service(index)));
        }
        processes.extend(self.relay.as_ref().map(|_| ("relay".to_owned(), Victim::Relay)));
        processes.extend(self.lake.map(|_| ("lake".to_owned(), Victim::Lake)));
        for (name, victim) in processes {
            faults.push((format!("kill-{name}"), FaultKind::Kill { victim, lose_disk: false }));
            faults.push((format!("pause-{name}"), FaultKind::Pause { victim }));
        }
        if let Some(relay) = &self.relay {
            for side in [relay.a, relay.b] {
                let name = &self.clusters[side].name;
                let lost = FaultKind::Kill { victim: Victim::Cluster(side), lose_disk: true };
                faults.push((format!("lose-disk-{name}"), lost));
                faults.push((format!("switch-to-{name}"), FaultKind::Switch { to: side }));
            }
        }
        if self.edge.is_some() {
            for (index, site) in OWNED_SITES.iter().enumerate().filter(|(index, _)| *index != SERVICES_AT) {
                let victim = Victim::Site(index);
                faults.push((format!("lose-site-{site}"), FaultKind::Kill { victim, lose_disk: false }));
            }
        }
        for member in 0..self.consumers.members {
            faults.push((format!("leave-member-{member}"), FaultKind::Leave { member }));
        }
        faults
    }

    /// The scenario with one fault more, `NAME@FROM` or `NAME@FROM..UNTIL`. A time is seconds of the run, or seconds of a
    /// phase: `send+4`.
    ///
    /// # Errors
    /// Every [`NoFault`].
    pub fn with_fault(mut self, text: &str) -> Result<Self, NoFault> {
        let (name, time) = text.split_once('@').ok_or_else(|| NoFault::Form(text.to_owned()))?;
        let faults = self.named_faults();
        let Some(kind) = faults.iter().find_map(|(known, kind)| (known == name).then_some(*kind)) else {
            let names = faults.into_iter().map(|(name, _)| name).collect();
            return Err(NoFault::Name { name: name.to_owned(), names });
        };
        let (from, until) = match time.split_once("..") {
            Some((from, until)) => (self.time(from)?, Some(self.time(until)?)),
            None => (self.time(time)?, None),
        };
        let lasts = match until {
            Some(until) => until.checked_sub(from).ok_or_else(|| NoFault::Form(text.to_owned()))?,
            None => LASTS,
        };
        let mut begins = Duration::ZERO;
        let found = self.phases.iter().position(|phase| {
            let holds = from < begins + phase.lasts;
            begins += if holds { Duration::ZERO } else { phase.lasts };
            holds
        });
        let phase = found.ok_or_else(|| self.no_time(time))?;
        if self.faults.len() >= FAULTS_MAX {
            return Err(NoFault::TooMany);
        }
        let lasts = if matches!(kind, FaultKind::Switch { .. }) { Duration::ZERO } else { lasts };
        self.faults.push(Fault { kind, phase, at: from - begins, jitter: Duration::ZERO, lasts });
        Ok(self)
    }

    /// A time of the run.
    fn time(&self, text: &str) -> Result<Duration, NoFault> {
        let (begins, seconds) = match text.rsplit_once('+') {
            None => (Duration::ZERO, text),
            Some((name, seconds)) => {
                let phase = self.phases.iter().position(|phase| phase.name == name);
                let before = &self.phases[..phase.ok_or_else(|| self.no_time(text))?];
                (before.iter().map(|phase| phase.lasts).sum(), seconds)
            }
        };
        let seconds = seconds.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        let time = seconds.and_then(|seconds| begins.checked_add(seconds)).filter(|time| *time < self.lasts());
        time.ok_or_else(|| self.no_time(text))
    }

    fn no_time(&self, text: &str) -> NoFault {
        let phases = self.phases.iter().map(|phase| phase.name.clone()).collect();
        NoFault::Time { text: text.to_owned(), ends_s: self.lasts().as_secs(), phases }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test panics on failure")]

    use super::*;
    use crate::plan::Plan;
    use crate::scenario::tests::day;

    #[test]
    fn a_named_fault_happens_at_its_time() {
        let check = |text: &str, at_s: u64, lasts_s: u64| {
            let mut scenario = day();
            scenario.faults.clear();
            let plan = Plan::draw(&scenario.with_fault(text).unwrap(), 1);
            let times = (plan.faults[0].at, plan.faults[0].lasts);
            assert_eq!(times, (Duration::from_secs(at_s), Duration::from_secs(lasts_s)), "{text}");
        };
        check("kill-relay@8", 8, 3);
        check("kill-relay@8..12", 8, 4);
        // The send begins at 24 s.
        check("lose-site-owned-1@send+4", 28, 3);
        check("pause-lake@send+4..tail+2", 28, 38);
        check("switch-to-b@30..40", 30, 0);
        check("leave-member-1@0", 0, 3);
    }

    #[test]
    fn what_is_no_fault_of_the_scenario_is_refused_with_what_there_is() {
        let check = |text: &str, says: &str| {
            let refused = day().with_fault(text).unwrap_err().to_string();
            assert!(refused.contains(says), "{text}: {refused}");
        };
        check("kill-relay", "NAME@FROM");
        check("kill-moon@3", "kill-cluster-a");
        check("kill-relay@noon+1", "evening");
        check("kill-relay@500", "seconds below 102");
        check("kill-relay@-1", "no time");
        check("kill-relay@nan", "no time");
        check("kill-relay@9..8", "NAME@FROM..UNTIL");
        // The services stand there, each only once.
        check("lose-site-owned-2@3", "no fault is called");
        let mut scenario = day();
        scenario.relay = None;
        assert!(matches!(scenario.with_fault("kill-relay@1"), Err(NoFault::Name { .. })));
    }

    #[test]
    fn every_named_fault_can_be_added() {
        for (name, kind) in day().named_faults() {
            let scenario = day().with_fault(&format!("{name}@3")).unwrap();
            assert_eq!(scenario.faults.last().unwrap().kind, kind);
        }
    }
}
