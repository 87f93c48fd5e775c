//! What the planner said.

use serde::{Deserialize, Serialize};

/// A plan, as far as a rehearsal goes by it. Loads are units per second at the event day's size, as the planner has them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Planned {
    /// The plan's hash.
    pub hash: String,
    /// The forecast of the peak: 10 %, 50 %, 90 %, 99 %.
    pub peak: [f64; 4],
    /// Nodes to rent ahead.
    pub nodes: u32,
    /// The risk of overload that is left, in millionths.
    pub risk_ppm: u32,
    /// What is paid for sure, in won.
    pub committed_won: u64,
    /// What keeping the peak all day would cost.
    pub always_peak_won: u64,
    /// What autoscaling alone would cost.
    pub autoscale_only_won: u64,
    /// And its risk of overload, in millionths.
    pub autoscale_only_risk_ppm: u32,
}

/// The planner's answer cannot be read: a mistake of ours, since both come from one build.
#[derive(Debug, thiserror::Error)]
pub enum UnreadablePlan {
    /// It is not the JSON of a plan.
    #[error("the answer of naru campaign plan is not a plan")]
    Json(#[from] serde_json::Error),
    /// A field of it is not what it should be.
    #[error("field `{field}` of the plan is {text:?}")]
    Field {
        /// Which one.
        field: &'static str,
        /// What it says.
        text: String,
    },
}

#[derive(Deserialize)]
struct Answer {
    hash: String,
    plan: Document,
}

#[derive(Deserialize)]
struct Document {
    peak: [String; 4],
    risk_ppm: u32,
    cost: Cost,
    lines: Vec<Line>,
}

#[derive(Deserialize)]
struct Cost {
    committed: String,
    always_peak: String,
    autoscale_only: String,
    autoscale_only_risk_ppm: u32,
}

#[derive(Deserialize)]
struct Line {
    kind: String,
    count: u64,
}

impl Planned {
    /// Reads what `naru campaign plan --json` prints.
    ///
    /// # Errors
    /// Every [`UnreadablePlan`].
    pub fn read(answer: &[u8]) -> Result<Self, UnreadablePlan> {
        let Answer { hash, plan } = serde_json::from_slice(answer)?;
        let wrong = |field: &'static str, text: &str| UnreadablePlan::Field { field, text: text.to_owned() };
        let won = |field: &'static str, text: &str| {
            let amount = text.strip_suffix(" KRW").and_then(|amount| amount.parse().ok());
            amount.ok_or_else(|| wrong(field, text))
        };
        let mut peak = [0.0; 4];
        for (quantile, text) in peak.iter_mut().zip(&plan.peak) {
            *quantile = text.parse().map_err(|_| wrong("peak", text))?;
        }
        // Each line rents for its own hours, and what is rented for one hour serves in the next.
        let rented = plan.lines.iter().filter(|line| line.kind == "rent").map(|line| line.count).max().unwrap_or(0);
        Ok(Self {
            hash,
            peak,
            nodes: u32::try_from(rented).map_err(|_| wrong("lines.count", &rented.to_string()))?,
            risk_ppm: plan.risk_ppm,
            committed_won: won("cost.committed", &plan.cost.committed)?,
            always_peak_won: won("cost.always_peak", &plan.cost.always_peak)?,
            autoscale_only_won: won("cost.autoscale_only", &plan.cost.autoscale_only)?,
            autoscale_only_risk_ppm: plan.cost.autoscale_only_risk_ppm,
        })
    }
}
