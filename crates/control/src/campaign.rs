//! A campaign's plan as requests: what it says to rent becomes capacity, held from the time that the plan names.

use naru_planner::plan::{CampaignPlan, LineKind};

use crate::resource::{Capacity, Market, Spec};

/// What cannot be asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CampaignError {
    /// The bytes are no plan.
    #[error("this is no campaign plan: {0}")]
    Malformed(String),
    /// The plan is another one.
    #[error("the plan's hash is {found}, not {asked}")]
    OtherHash {
        /// What was asked for.
        asked: String,
        /// The plan's own.
        found: String,
    },
}

/// The requests of a campaign's plan, whose hash was shown.
///
/// # Errors
/// For bytes that are no plan, and for another plan.
pub fn requests(bytes: &[u8], hash: &str, team: &str, flavor: &str) -> Result<Vec<Spec>, CampaignError> {
    let plan = CampaignPlan::read(bytes).map_err(|error| CampaignError::Malformed(error.to_string()))?;
    let found = plan.hash().to_string();
    if found != hash {
        return Err(CampaignError::OtherHash { asked: hash.to_owned(), found });
    }
    let body = plan.body();
    let rented = body.lines.iter().filter_map(|line| match line.kind {
        LineKind::Rent => Some((line, Market::Reserved)),
        LineKind::Order => Some((line, Market::OnDemand)),
        LineKind::Allow | LineKind::Send | LineKind::Buy => None,
    });
    let spec = |(number, (line, market)): (usize, (&naru_planner::plan::Line, Market))| {
        let seconds = line.until.seconds().saturating_sub(line.from.seconds()).max(1);
        Spec::Capacity(Capacity {
            name: format!("{}-{}", body.campaign, number + 1),
            team: team.to_owned(),
            flavor: flavor.to_owned(),
            market,
            count: u32::try_from(line.count).unwrap_or(u32::MAX),
            at_least: None,
            from_unix_ms: Some(line.from.seconds().saturating_mul(1000)),
            hours: u32::try_from((seconds + 3599) / 3600).unwrap_or(u32::MAX),
        })
    };
    Ok(rented.filter(|(line, _)| line.count > 0).enumerate().map(spec).collect())
}
