//! Control: what is held, what waits, what it costs; plans. And the bill of the cloud itself.

use naru_runtime::config::Secret;
use serde::Deserialize;
use serde_json::Value;

use crate::ask::{Asker, Unanswered};
use crate::config::{CloudSource, ControlSource};

/// What it says.
#[derive(Debug, Clone, Default)]
pub struct Control {
    /// What is held.
    pub resources: Vec<Resource>,
    /// What waits for a plan.
    pub requests: Vec<Request>,
    /// What teams have booked and used.
    pub costs: Vec<TeamCost>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Overview {
    resources: Vec<Resource>,
    requests: Vec<Request>,
}

/// Something that is held.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Resource {
    /// Its name.
    pub name: String,
    /// `service`, `capacity`, `topic`.
    pub kind: String,
    /// Whose it is.
    pub team: String,
    /// `held`, `releasing`, `gone`.
    pub life: String,
    /// How many things it wants.
    pub wanted: u64,
    /// How many serve.
    pub ready: u64,
    /// When its lease ends.
    pub until_unix_ms: i64,
    /// What its lease costs.
    pub booked_krw: u64,
    /// Why it is as it is.
    pub reason: String,
}

/// Something that was asked for and waits for a plan.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Request {
    /// As it was asked for.
    pub spec: Spec,
    /// By whom.
    pub by: String,
}

/// What is asked for: the fields that a person reads.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Spec {
    /// Its name.
    pub name: String,
    /// `service`, `capacity`, `topic`.
    pub kind: String,
    /// Whose it is.
    pub team: String,
    /// How many machines.
    pub count: Option<u64>,
    /// On what.
    pub flavor: Option<String>,
    /// How they are paid for.
    pub market: Option<String>,
    /// How many partitions.
    pub partitions: Option<u64>,
    /// For how long.
    pub hours: u64,
}

/// What a team has booked and used.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct TeamCost {
    /// The team.
    pub team: String,
    /// All leases to their ends, in won.
    pub booked_krw: u64,
    /// Hours begun, in won.
    pub used_krw: u64,
    /// What it may book, in won.
    pub budget_krw: u64,
}

/// A plan.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Plan {
    /// What it is known by.
    pub hash: String,
    /// What is to be done.
    pub lines: Vec<Line>,
    /// What it costs, leases to their ends.
    pub krw: u64,
    /// Teams for which somebody else must agree.
    pub approval: Vec<String>,
}

/// A line of a plan.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Line {
    /// What it does.
    pub action: String,
    /// To what.
    pub spec: Spec,
    /// What an hour costs.
    pub krw_per_hour: u64,
    /// What the whole lease costs.
    pub krw: u64,
    /// Why.
    pub reason: String,
}

/// A plan and what became of it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct PlanRecord {
    /// The plan.
    pub plan: Plan,
    /// When it was shown first.
    pub made_unix_ms: i64,
    /// Who has agreed.
    pub approved_by: Option<String>,
    /// Who has applied it.
    pub applied_by: Option<Value>,
}

/// The cloud's own bill.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Meter {
    /// Machines, with what each has cost.
    pub rows: Vec<MeterRow>,
    /// All of it, in won.
    pub total_krw: u64,
}

/// A machine on the bill.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct MeterRow {
    /// The machine.
    pub machine: Machine,
}

/// A machine.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Machine {
    /// `pending`, `running`, `terminated`, `reclaimed`.
    pub state: String,
}

impl Meter {
    /// Machines that cost money now.
    pub fn running(&self) -> usize {
        self.rows.iter().filter(|row| ["pending", "running"].contains(&row.machine.state.as_str())).count()
    }
}

/// Asks it, in the name of whose token that is.
///
/// # Errors
/// When it does not answer, or refuses the token.
pub async fn ask(asker: &Asker, source: &ControlSource, token: Option<&Secret>) -> Result<Control, Unanswered> {
    let (overview, costs) = tokio::try_join!(
        asker.json::<Overview>(&source.address, "/v1/resources", token),
        asker.json::<Vec<TeamCost>>(&source.address, "/v1/cost", token),
    )?;
    let Overview { resources, requests } = overview;
    Ok(Control { resources, requests, costs })
}

/// Asks the cloud for its bill.
///
/// # Errors
/// When it does not answer.
pub async fn ask_cloud(asker: &Asker, source: &CloudSource) -> Result<Meter, Unanswered> {
    asker.json(&source.address, "/meter", None).await
}

/// What the cloud sells.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Flavor {
    /// Its name.
    pub name: String,
    /// Price in won for each hour begun, rented ahead.
    pub reserved_krw_per_hour: u64,
    /// Price in won for each hour begun, on demand.
    pub on_demand_krw_per_hour: u64,
}

#[derive(Deserialize)]
struct Flavors {
    #[serde(default)]
    flavors: Vec<Flavor>,
}

/// Asks the cloud what it sells.
///
/// # Errors
/// When it does not answer.
pub async fn ask_flavors(asker: &Asker, source: &CloudSource) -> Result<Vec<Flavor>, Unanswered> {
    Ok(asker.json::<Flavors>(&source.address, "/flavors", None).await?.flavors)
}
