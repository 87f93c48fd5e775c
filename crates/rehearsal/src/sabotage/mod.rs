//! Sabotages: each is a way in which a run can be wrong, with the checks that have to notice.
//!
//! A judge that has never said no is worth nothing. A sabotage alters what the observers wrote down, consistently
//! wherever the fault that it plays would have left the same trace, so that only the check that is there for it can tell;
//! or it acts on the running system. A sabotaged run never passes: it says whether it was caught.

mod beside;
mod log;
#[cfg(test)]
mod sound;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::check::Verdict;
use crate::crowd::CrowdPlan;
use crate::judge::{Judged, Observed, judge};
use crate::plan::Plan;
use crate::scenario::Scenario;

/// What an alteration may look at beside what it alters.
#[derive(Debug, Clone, Copy)]
struct Stage<'a> {
    scenario: &'a Scenario,
    plan: &'a Plan,
}

/// Alters what was observed; `None` if the run has nothing of the kind to alter.
type Alter = fn(Stage<'_>, &mut Observed) -> Option<()>;

/// What is done to the running system, when the load is over and before anything is read back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deed {
    /// A gift is asked of a rented node, past the edge.
    GiftToNode,
    /// An acknowledged record is sent to the log once more.
    RecordAgain,
    /// A record of nobody is sent to the log.
    RecordOfNobody,
    /// A rented node is killed, which no fault of the plan does.
    NodeKilled,
}

#[derive(Debug, Clone, Copy)]
enum Way {
    Records(Alter),
    System(Deed),
}

/// One way in which a run can be wrong.
#[derive(Debug, Clone, Copy)]
pub struct Sabotage {
    /// As the command line has it.
    pub name: &'static str,
    /// What is done, as a sentence without its subject.
    pub does: &'static str,
    /// The checks that have to fail.
    pub turns: &'static [&'static str],
    /// Checks that may fail with them: the same fault leaves a trace there, too.
    pub also: &'static [&'static str],
    way: Way,
}

/// How a sabotage went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sabotaged {
    /// [`Sabotage::name`].
    pub name: String,
    /// [`Sabotage::does`].
    pub does: String,
    /// [`Sabotage::turns`].
    pub turns: Vec<String>,
    /// The checks that failed because of it.
    pub red: Vec<String>,
    /// Whether those failed that had to, and no others than may.
    pub caught: bool,
}

/// Which sabotages a run plays.
#[derive(Debug, Clone, Copy)]
pub enum Chosen {
    /// One of them; the report shows what the judge says of it.
    One(&'static Sabotage),
    /// Each that alters records, one after the other, on copies of what one run observed.
    Every,
}

/// What a run says when the sabotage that was asked for finds nothing to alter. The user's side: another scenario helps.
#[derive(Debug, thiserror::Error)]
#[error("the sabotage {name:?} finds nothing in this scenario that it could alter")]
pub struct NothingToAlter {
    /// [`Sabotage::name`].
    pub name: &'static str,
}

impl Sabotage {
    /// All of them, in the order of the checks that they are for.
    pub fn all() -> impl Iterator<Item = &'static Self> {
        log::ALL.iter().chain(&beside::ALL)
    }

    /// The one of a name.
    pub fn named(name: &str) -> Option<&'static Self> {
        Self::all().find(|sabotage| sabotage.name == name)
    }

    /// What it does to the running system, if it is of that kind.
    pub fn deed(&self) -> Option<Deed> {
        match self.way {
            Way::Records(_) => None,
            Way::System(deed) => Some(deed),
        }
    }

    /// Holds the checks that failed against those that have to. A check that had failed without the sabotage has not noticed
    /// it.
    pub fn outcome(&self, honest: &[Verdict], sabotaged: &[Verdict]) -> Sabotaged {
        let before = failed(honest);
        let red: Vec<&str> = failed(sabotaged).into_iter().filter(|check| !before.contains(check)).collect();
        let caught = self.turns.iter().all(|check| red.contains(check))
            && red.iter().all(|check| self.turns.contains(check) || self.also.contains(check));
        Sabotaged {
            name: self.name.to_owned(),
            does: self.does.to_owned(),
            turns: self.turns.iter().map(|check| (*check).to_owned()).collect(),
            red: red.into_iter().map(str::to_owned).collect(),
            caught,
        }
    }
}

fn failed(verdicts: &[Verdict]) -> BTreeSet<&str> {
    verdicts.iter().filter(|verdict| !verdict.passed).map(|verdict| verdict.check.as_str()).collect()
}

/// Judges a run, with the sabotages that were chosen. What is altered stays altered in `observed` for one of them; every
/// one of them works on copies.
///
/// # Errors
/// If the run has nothing that the one chosen could alter.
pub fn judge_with(
    chosen: Option<Chosen>,
    (scenario, plan): (&Scenario, &Plan),
    people: Option<&CrowdPlan>,
    observed: &mut Observed,
) -> Result<(Judged, Vec<Sabotaged>), NothingToAlter> {
    let honest = judge(scenario, plan, people, observed);
    let stage = Stage { scenario, plan };
    match chosen {
        None => Ok((honest, Vec::new())),
        Some(Chosen::One(sabotage)) => match sabotage.way {
            // What was done to the system has left its traces: what would have failed without it is not known.
            Way::System(_) => {
                let outcome = sabotage.outcome(&[], &honest.verdicts);
                Ok((honest, vec![outcome]))
            }
            Way::Records(alter) => {
                alter(stage, observed).ok_or(NothingToAlter { name: sabotage.name })?;
                let judged = judge(scenario, plan, people, observed);
                let outcome = sabotage.outcome(&honest.verdicts, &judged.verdicts);
                Ok((judged, vec![outcome]))
            }
        },
        Some(Chosen::Every) => {
            let mut outcomes = Vec::new();
            for sabotage in Sabotage::all().filter(|sabotage| sabotage.is_for(&honest.verdicts)) {
                let Way::Records(alter) = sabotage.way else { continue };
                let mut copy = observed.clone();
                if alter(stage, &mut copy).is_some() {
                    let judged = judge(scenario, plan, people, &copy);
                    outcomes.push(sabotage.outcome(&honest.verdicts, &judged.verdicts));
                }
            }
            Ok((honest, outcomes))
        }
    }
}

impl Sabotage {
    /// Whether the checks that have to notice it are among those of a run.
    fn is_for(&self, verdicts: &[Verdict]) -> bool {
        self.turns.iter().all(|check| verdicts.iter().any(|verdict| verdict.check == *check))
    }
}
