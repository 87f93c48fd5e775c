//! What the planner is asked.

use std::fmt::Write as _;
use std::time::Duration;

use super::scale::{PEOPLE, RATE, TIME};
use crate::scenario::{Campaign, Edge, OWNED_SITES, Scenario};

/// How long a page of the promotion holds its slot, as `naru sample promotion` has it.
const SLOT_HELD: Duration = Duration::from_millis(100);
/// Units of a payment, a transfer or a gift beside a page.
const CORE_UNITS: f64 = 3.0;
/// A minute, in seconds.
const MINUTE: f64 = 60.0;
/// What a node costs by the hour, rented ahead and on demand, in won: only their ratio decides.
const PRICES_WON: (u32, u32) = (600, 1_000);
/// Sending begins at ten.
const SEND_AT: &str = "2026-11-11 10:00 +09:00";

/// Units per second that one slot gives, in the rehearsal.
fn units_of_slot() -> f64 {
    1.0 / SLOT_HELD.as_secs_f64()
}

/// Units per second that core requests take where they take most, in the rehearsal.
pub(super) fn core_units(scenario: &Scenario) -> f64 {
    let of_phase = |phase: &crate::scenario::Phase| (phase.rates.iter().sum::<f64>() + phase.crowd.gifts) * CORE_UNITS;
    scenario.phases.iter().map(of_phase).fold(0.0, f64::max)
}

/// The request for a plan, as `naru campaign plan` reads it. What is kept for core requests is not offered: owned sites
/// give what core takes, and what is left beside the reserve.
pub fn request(scenario: &Scenario, campaign: &Campaign, edge: &Edge, seed: u64) -> String {
    let core = core_units(scenario) * RATE;
    let free = f64::from(edge.slots - edge.core_reserve) * OWNED_SITES.len() as f64 * units_of_slot() * RATE;
    let node = units_of_slot() * RATE;
    let recipients = f64::from(campaign.recipients) * PEOPLE;
    let per_minute = recipients / (campaign.lasts.as_secs_f64() * TIME / MINUTE);
    let (ahead, on_demand) = PRICES_WON;
    let mut text = format!(
        "version = 1\nname = {:?}\ntitle = {:?}\nseed = {seed}\nzone = \"+09:00\"\n\
         decided_at = \"2026-11-01 09:00 +09:00\"\nhours = 12\noverload_risk_max = 0.01\n\
         owned_units_per_second = \"{:.0}\"\nbase_deviation = 0.1\n\n\
         [offer]\nclass = \"shopping-day\"\nclick_rate = {}\nrequests_per_click = {}.0\nvisit_seconds = {:.1}\n\
         units_per_request = \"1\"\n",
        scenario.name,
        scenario.title,
        free + core,
        campaign.click_rate_forecast,
        edge.visit_requests,
        edge.visit_lasts.as_secs_f64() * TIME,
    );
    let mut put = |line: std::fmt::Arguments<'_>| {
        text.write_fmt(line).expect("writing to a string cannot fail");
        text.push('\n');
    };
    for delay in &campaign.delays {
        let mean = delay.mean.as_secs_f64() * TIME / MINUTE;
        put(format_args!("[[offer.delays]]\nshare = {:?}\nmean_minutes = {mean:?}", delay.share));
    }
    put(format_args!("\n[[send]]\nat = \"{SEND_AT}\"\nrecipients = {recipients:.0}\nper_minute = {per_minute:.0}"));
    put(format_args!(
        "\n[[base]]\nfrom = \"2026-11-11 00:00 +09:00\"\nuntil = \"2026-11-12 00:00 +09:00\"\nunits_per_second = \"{core:.0}\""
    ));
    put(format_args!(
        "\n[reserved]\nnode_units_per_second = \"{node:.0}\"\nprice_per_node_hour = \"{ahead} KRW\"\nlead_seconds = 86400\nnodes_max = {}",
        edge.nodes
    ));
    put(format_args!(
        "\n[on_demand]\nnode_units_per_second = \"{node:.0}\"\nprice_per_node_hour = \"{on_demand} KRW\"\nlead_seconds = 240\nnodes_max = 1000"
    ));
    put(format_args!(
        "\n[bought]\nnode_units_per_second = \"500\"\nprice_per_node = \"20000000 KRW\"\nlead_days = 21\nyears = 5\ncampaigns_per_year = 12"
    ));
    text
}
