//! The same scenario in less time: what `--quick` and `--only` make of it.
//!
//! Rates, people per second, clusters, sites and bounds stay as they are: it is the time that is cut short.

use std::time::Duration;

use super::{Fault, Phase, Scenario};

/// To which part of it a long phase is cut.
const PART: f64 = 0.4;
/// A phase that is not longer stays as it is: its rates need that long to show.
const KEPT_MAX: Duration = Duration::from_secs(10);
/// No phase is cut to less.
const PHASE_MIN: Duration = Duration::from_secs(6);
/// Faults that are kept: the first ones, which scenarios begin with.
const FAULTS_MAX: usize = 2;
/// How long a fault lasts at most: the takeover that it causes is not scaled, and the return has to be seen under load.
const FAULT_MAX: Duration = Duration::from_secs(5);

/// Rented nodes of a phase that is played without the campaign whose plan would say how many.
const NODES_UNPLANNED_MAX: u32 = 4;

/// There is no phase of that name. The user's side.
#[derive(Debug, thiserror::Error)]
#[error("no phase is called {name:?}: use one of {}", .names.join(", "))]
pub struct NoPhase {
    /// What was asked for.
    pub name: String,
    /// The phases that there are.
    pub names: Vec<String>,
}

impl Scenario {
    /// The scenario as `--quick` plays it: phases of more than ten seconds are cut to two fifths, the campaign and people's
    /// delays with the phase in which it is sent, and only the first two faults are kept, at the same part of their phase. What a
    /// phase gets more on Apache Kafka it keeps.
    #[must_use]
    pub fn quick(mut self) -> Self {
        let parts: Vec<f64> = self.phases.iter().map(cut).collect();
        for (phase, part) in self.phases.iter_mut().zip(&parts) {
            let more_on_kafka = phase.lasts_on_kafka.map(|on_kafka| on_kafka.saturating_sub(phase.lasts));
            phase.lasts = phase.lasts.mul_f64(*part);
            phase.ramp = phase.ramp.mul_f64(*part);
            phase.lasts_on_kafka = more_on_kafka.map(|more| phase.lasts + more);
        }
        if let Some(campaign) = &mut self.campaign {
            // As many a second, for a shorter time, who come in a shorter time: as many visitors a second.
            let part = parts[campaign.phase];
            campaign.lasts = campaign.lasts.mul_f64(part);
            campaign.recipients = ((f64::from(campaign.recipients) * part).round() as u32).max(1);
            campaign.delays.iter_mut().for_each(|delay| delay.mean = delay.mean.mul_f64(part));
        }
        self.faults.truncate(FAULTS_MAX);
        for Fault { phase, at, jitter, lasts, .. } in &mut self.faults {
            (*at, *jitter) = (at.mul_f64(parts[*phase]), jitter.mul_f64(parts[*phase]));
            *lasts = (*lasts).min(FAULT_MAX);
        }
        self
    }

    /// One phase of the scenario, with its faults, and with the campaign if it is sent in it. Such a run is for looking at
    /// something: checks that find nothing to look at in it are left out of its verdict.
    ///
    /// # Errors
    /// If no phase has that name.
    pub fn only(mut self, name: &str) -> Result<Self, NoPhase> {
        let Some(kept) = self.phases.iter().position(|phase| phase.name == name) else {
            let names = self.phases.into_iter().map(|phase| phase.name).collect();
            return Err(NoPhase { name: name.to_owned(), names });
        };
        self.phases = vec![self.phases.swap_remove(kept)];
        self.faults.retain(|fault| fault.phase == kept);
        self.faults.iter_mut().for_each(|fault| fault.phase = 0);
        self.campaign = self.campaign.filter(|campaign| campaign.phase == kept);
        if let (None, Some(edge)) = (&self.campaign, &mut self.edge) {
            // No plan says how many: each is a process.
            edge.nodes = edge.nodes.min(NODES_UNPLANNED_MAX);
        }
        self.campaign.iter_mut().for_each(|campaign| campaign.phase = 0);
        self.is_part = true;
        Ok(self)
    }
}

/// The part of a phase that is left.
fn cut(phase: &Phase) -> f64 {
    if phase.lasts <= KEPT_MAX {
        return 1.0;
    }
    phase.lasts.mul_f64(PART).max(PHASE_MIN).as_secs_f64() / phase.lasts.as_secs_f64()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test panics on failure")]

    use super::*;
    use crate::crowd::CrowdPlan;
    use crate::plan::Plan;
    use crate::scenario::tests::day;

    #[test]
    fn a_quick_day_has_the_same_rates_in_less_time() {
        let (whole, quick) = (day(), day().quick());
        assert!(quick.lasts() <= Duration::from_secs(60), "{:?}", quick.lasts());
        for (whole, quick) in whole.phases.iter().zip(&quick.phases) {
            assert_eq!((&whole.rates, whole.crowd), (&quick.rates, quick.crowd), "{}", whole.name);
            assert!(quick.lasts >= PHASE_MIN.min(whole.lasts) && quick.ramp <= quick.lasts, "{}", whole.name);
        }
        // As many visitors in the busiest second.
        let busiest = |scenario: &Scenario| {
            let people = CrowdPlan::draw(scenario, &Plan::draw(scenario, 3));
            let mut seconds = std::collections::BTreeMap::<u64, u64>::new();
            people.visitors_us.iter().for_each(|at_us| *seconds.entry(at_us / 1_000_000).or_default() += 1);
            seconds.into_values().max().unwrap() as f64
        };
        let (whole, quick) = (busiest(&whole), busiest(&quick));
        assert!((quick / whole - 1.0).abs() < 0.3, "{quick} beside {whole}");
    }

    #[test]
    fn the_faults_of_a_quick_run_begin_in_their_phases() {
        let quick = day().quick();
        assert_eq!(quick.faults.len(), FAULTS_MAX);
        for seed in 0..20 {
            let plan = Plan::draw(&quick, seed);
            for (fault, planned) in quick.faults.iter().zip(&plan.faults) {
                let (_, ends) = plan.phases[fault.phase];
                assert!(planned.at < ends && planned.at + planned.lasts < plan.end(), "{planned:?}");
            }
        }
    }

    #[test]
    fn a_phase_keeps_what_it_gets_more_on_kafka() {
        let more = |phase: &Phase| phase.lasts_on_kafka.map(|on_kafka| on_kafka - phase.lasts);
        let of = |scenario: &Scenario| scenario.phases.iter().map(more).collect::<Vec<_>>();
        assert_eq!(of(&day()), of(&day().quick()));
    }

    #[test]
    fn one_phase_is_played_with_its_own_faults() {
        let check = |name: &str, faults: usize, has_campaign: bool| {
            let part = day().only(name).unwrap();
            assert_eq!((part.phases.len(), part.phases[0].name.as_str()), (1, name));
            assert_eq!((part.faults.len(), part.campaign.is_some()), (faults, has_campaign), "{name}");
            assert!(part.is_part && part.faults.iter().all(|fault| fault.phase == 0));
        };
        check("evening", 0, false);
        check("send", 2, true);
        check("tail", 1, false);
        let refused = day().only("noon").unwrap_err().to_string();
        assert!(refused.contains("\"noon\"") && refused.contains("evening, midnight"), "{refused}");
    }
}
