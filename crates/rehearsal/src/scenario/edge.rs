//! The gateway of a scenario, and what stands behind it: two owned sites and rented nodes.

use std::time::Duration;

use super::fields::{Fields, Reader, choice, number};

/// The sites that the customer owns. The services of the scenario stand at the second; each has pages of a promotion and
/// of gifts.
pub const OWNED_SITES: [&str; 2] = ["owned-1", "owned-2"];
/// The index of the owned site at which the services stand.
pub const SERVICES_AT: usize = 1;
/// Rented nodes of one scenario; each is a process.
pub const NODES_MAX: i64 = 64;
/// Slots of an owned site.
const SLOTS_MAX: i64 = 10_000;
/// Requests of one visit.
const VISIT_REQUESTS_MAX: i64 = 1_000;
/// Visitors and gifts per second: one load generator on two cores measures itself beyond it.
const RATE_MAX: f64 = 1_000.0;

/// A `naru edge` in front of two owned sites and rented nodes.
#[derive(Debug, Clone, PartialEq)]
pub struct Edge {
    /// Slots of each owned site.
    pub slots: u32,
    /// What of them open requests never get.
    pub core_reserve: u32,
    /// Rented nodes, of one slot each. With a [`super::Campaign`] its plan says how many, up to these.
    pub nodes: u32,
    /// How many pages a visitor of the promotion looks at.
    pub visit_requests: u32,
    /// How long he takes for it when he does not have to wait.
    pub visit_lasts: Duration,
    /// What the edge is told that gifts are.
    pub gift: GiftClass,
}

/// What the edge is told that gifts are. They are core; a configuration that says otherwise is the mistake that the judge
/// has to find.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GiftClass {
    /// As they are: money, to be kept at home.
    Core,
    /// The control: declared open, with a server in the cloud.
    Open,
}

/// How many come through the edge in a phase, per second, beside the services' requests.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Crowd {
    /// Visitors of the promotion.
    pub visitors: f64,
    /// Gifts that users claim.
    pub gifts: f64,
}

pub(super) fn edge(reader: &mut Reader<'_>, mut fields: Fields<'_, '_>) -> Option<Edge> {
    let slots = whole(reader, &mut fields, "slots", SLOTS_MAX, 20);
    let core_reserve = whole(reader, &mut fields, "core_reserve", SLOTS_MAX, 9);
    let nodes = whole(reader, &mut fields, "nodes", NODES_MAX, 4);
    let visit_requests = whole(reader, &mut fields, "visit_requests", VISIT_REQUESTS_MAX, 8);
    let visit_lasts = fields.seconds(reader, "visit_seconds", Some(6.0));
    let gift = match fields.find("gift") {
        None => Some(GiftClass::Core),
        Some(_) => fields
            .text(reader, "gift", "core")
            .and_then(|given| choice(reader, "gift", given, &[("core", GiftClass::Core), ("open", GiftClass::Open)])),
    };
    if let (Some(slots), Some(reserve)) = (slots, core_reserve)
        && reserve >= slots
    {
        reader.mistake(
            fields.span_of("core_reserve"),
            format!("{reserve} of {slots} slots are kept for core: nothing is left for a promotion"),
            format!("keep fewer than {slots}"),
        );
    }
    fields.finish(reader);
    Some(Edge {
        slots: slots?,
        core_reserve: core_reserve?,
        nodes: nodes?,
        visit_requests: visit_requests?,
        visit_lasts: visit_lasts?,
        gift: gift?,
    })
}

/// A whole number from 1 to `most`, or what it is without one.
pub(super) fn whole(
    reader: &mut Reader<'_>,
    fields: &mut Fields<'_, '_>,
    key: &'static str,
    most: i64,
    or: i64,
) -> Option<u32> {
    fields.integer(reader, key, 1..=most, or).and_then(|number| u32::try_from(number).ok())
}

/// What a phase sends through the edge.
pub(super) fn crowd(reader: &mut Reader<'_>, fields: &mut Fields<'_, '_>, has_edge: bool) -> Option<Crowd> {
    let mut rate = |key: &'static str| {
        let Some(value) = fields.find(key) else { return Some(0.0) };
        if !has_edge {
            let what = format!("`{key}` without an [edge] go nowhere");
            reader.mistake(value.span(), what, format!("remove `{key}`, or add an [edge]"));
        }
        number(reader, key, value, 0.0..=RATE_MAX)
    };
    let (visitors, gifts) = (rate("visitors"), rate("gifts"));
    Some(Crowd { visitors: visitors?, gifts: gifts? })
}
