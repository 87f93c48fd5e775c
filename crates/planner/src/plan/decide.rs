//! How many nodes, of one resource and of thousands.

use crate::rent;

/// The prices of a node for an hour.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Prices {
    /// Rented ahead.
    pub reserved: f64,
    /// On demand.
    pub on_demand: f64,
}

/// Something that capacity is planned for.
#[derive(Debug, Clone, PartialEq)]
pub struct Resource {
    /// Its load for each unit of the load that drives it.
    pub share: f64,
    /// What owned capacity takes of its load, in units a second.
    pub owned: f64,
    /// What a node takes, in units a second.
    pub node: f64,
    /// Nodes that it never has less of.
    pub floor: u64,
    /// What its nodes cost.
    pub prices: Prices,
}

/// What may be needed in an hour that is billed whole, in units a second of the driving load.
#[derive(Debug, Clone, PartialEq)]
pub struct HourNeed {
    highest: Vec<f64>,
    ready: f64,
}

impl HourNeed {
    /// The highest load of the hour on equally likely paths, in any order, and the load that capacity must be ready for before
    /// anything can be learned from the hour itself (0 where there is time to learn).
    pub fn new(mut highest: Vec<f64>, ready: f64) -> Self {
        highest.sort_by(f64::total_cmp);
        Self { highest, ready }
    }

    /// The load that a share of the paths does not exceed; 0 without paths.
    pub fn load(&self, level: f64) -> f64 {
        let Some(last) = self.highest.len().checked_sub(1) else { return 0.0 };
        self.highest[(last as f64 * level.clamp(0.0, 1.0)) as usize]
    }
}

/// What is decided for an hour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HourDecision {
    /// Nodes rented ahead for the whole hour.
    pub rented: u64,
    /// Of these, nodes that price alone asks for: the quantile 1 - r/p of the need.
    pub by_price: u64,
    /// Nodes that must be ready when the hour's load comes.
    pub ready: u64,
}

impl Resource {
    /// Nodes for a driving load, at least the floor.
    pub fn nodes(&self, load: f64) -> u64 {
        let missing = (load * self.share - self.owned).max(0.0);
        // A hair above a whole number of nodes is the rounding of floating point and no node.
        ((missing / self.node - 1e-9).ceil().max(0.0) as u64).max(self.floor)
    }
}

/// Decides an hour: what must be ready is rented, since it is paid for the whole hour either way; beyond that as much as
/// price asks for.
pub fn decide(resource: &Resource, hour: &HourNeed) -> HourDecision {
    let by_price = resource.nodes(hour.load(rent::level(resource.prices.reserved, resource.prices.on_demand)));
    let ready = resource.nodes(hour.ready);
    HourDecision { rented: by_price.max(ready), by_price, ready }
}

/// Decides every hour of every resource. The need of a resource grows with the load that drives it, so that quantiles of
/// the load are taken once and not for each.
pub fn fleet(resources: &[Resource], hours: &[HourNeed]) -> Vec<Vec<HourDecision>> {
    resources.iter().map(|resource| hours.iter().map(|hour| decide(resource, hour)).collect()).collect()
}
