//! The reactive net: headroom in, machines out. It adds to the plan when the forecast was too low, never goes below the
//! plan, never beyond its money, and gives back slowly.

/// How the net behaves.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Settings {
    /// What a machine takes, in units a second.
    pub machine_units: f64,
    /// The share of what is ready that may be in use before more is asked for.
    pub use_max: f64,
    /// Machines are given back only while what remains would be used below this share; lower than `use_max`, so that
    /// giving back is no reason to ask again.
    pub use_min: f64,
    /// How long it must have been calm before any is given back, in milliseconds.
    pub calm_ms: i64,
    /// Most machines that are given back at once: they drain one after another.
    pub back_max: u32,
    /// Most machines above the plan.
    pub extra_max: u32,
    /// What an hour of one costs.
    pub krw_per_hour: u64,
}

/// What is measured at the edge.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Load {
    /// Units a second that are served.
    pub used_units: f64,
    /// Units a second that wait for room.
    pub waiting_units: f64,
    /// What owned sites leave for it, in units a second.
    pub owned_units: f64,
}

/// What is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Machines {
    /// What the plan in force wants: the floor.
    pub planned: u32,
    /// What serves.
    pub ready: u32,
    /// What boots.
    pub coming: u32,
    /// Won that are left for machines above the plan.
    pub krw_left: u64,
}

/// What is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision {
    /// Machines wanted in all, those of the plan included.
    pub wanted: u32,
    /// How many of the present ones take no new request from now on, to be ended when they are empty.
    pub drain: u32,
    /// Why.
    pub reason: &'static str,
}

/// The net's memory: since when less would do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Net {
    calm_since_unix_ms: Option<i64>,
}

/// Machines that carry these units at a share of their capacity, above what owned sites carry at the same share.
fn needed(units: f64, share: f64, settings: &Settings, owned_units: f64) -> u32 {
    let above = units / share.max(0.01) - owned_units;
    (above / settings.machine_units.max(0.001)).ceil().clamp(0.0, f64::from(u32::MAX)) as u32
}

impl Net {
    /// What is to be, by what is measured now.
    pub fn decide(&mut self, settings: &Settings, load: Load, have: Machines, now_unix_ms: i64) -> Decision {
        let present = have.ready.saturating_add(have.coming);
        let units = load.used_units + load.waiting_units;
        let needed_now = needed(units, settings.use_max, settings, load.owned_units).max(have.planned);
        // What one more hour costs bounds how many can be asked for at once.
        let affordable = have.krw_left.checked_div(settings.krw_per_hour).unwrap_or(u64::MAX);
        let affordable = u32::try_from(affordable).unwrap_or(u32::MAX);
        let most =
            have.planned.saturating_add(settings.extra_max).min(present.max(have.planned).saturating_add(affordable));
        if needed_now > present {
            self.calm_since_unix_ms = None;
            let wanted = needed_now.min(most).max(present.min(most));
            let reason = if wanted < needed_now {
                "more is needed than the budget or the bound allows"
            } else {
                "headroom is short"
            };
            return Decision { wanted: wanted.max(have.planned), drain: 0, reason };
        }
        let enough = needed(units, settings.use_min, settings, load.owned_units).max(have.planned);
        if enough >= present {
            self.calm_since_unix_ms = None;
            return Decision { wanted: present, drain: 0, reason: "it fits" };
        }
        let since = *self.calm_since_unix_ms.get_or_insert(now_unix_ms);
        if now_unix_ms.saturating_sub(since) < settings.calm_ms {
            return Decision { wanted: present, drain: 0, reason: "less would do, for how long is not known yet" };
        }
        self.calm_since_unix_ms = Some(now_unix_ms);
        let drain = (present - enough).min(settings.back_max);
        Decision { wanted: present - drain, drain, reason: "less has been enough for long" }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: Settings = Settings {
        machine_units: 10.0,
        use_max: 0.8,
        use_min: 0.6,
        calm_ms: 60_000,
        back_max: 2,
        extra_max: 10,
        krw_per_hour: 1000,
    };

    fn load(units: f64) -> Load {
        Load { used_units: units, waiting_units: 0.0, owned_units: 100.0 }
    }

    #[test]
    fn it_rents_by_headroom_within_plan_bound_and_budget() {
        let check = |units: f64, planned: u32, present: u32, krw_left: u64, expect: u32| {
            let have = Machines { planned, ready: present, coming: 0, krw_left };
            let got = Net::default().decide(&SETTINGS, load(units), have, 0);
            assert_eq!((got.wanted, got.drain), (expect, 0), "{units} {planned} {present} {krw_left}: {}", got.reason);
        };
        check(50.0, 0, 0, 9_000, 0);
        check(50.0, 3, 0, 0, 3);
        check(88.0, 0, 0, 9_000, 1);
        check(120.0, 0, 0, 9_000, 5);
        check(120.0, 0, 0, 2_500, 2);
        check(120.0, 0, 5, 0, 5);
        check(900.0, 2, 2, 1_000_000, 12);
        check(120.0, 0, 6, 9_000, 6);
    }

    #[test]
    fn it_gives_back_slowly_and_never_below_the_plan() {
        let mut net = Net::default();
        let mut present = 8;
        let mut wanted = Vec::new();
        for second in (0..=300).step_by(30) {
            let have = Machines { planned: 3, ready: present, coming: 0, krw_left: 0 };
            let decided = net.decide(&SETTINGS, load(10.0), have, second * 1000);
            present = decided.wanted;
            wanted.push(present);
        }
        assert_eq!(wanted, [8, 8, 6, 6, 4, 4, 3, 3, 3, 3, 3]);
    }

    #[test]
    fn a_load_that_swings_within_the_band_moves_nothing() {
        let mut net = Net::default();
        let have = Machines { planned: 0, ready: 5, coming: 0, krw_left: 1_000_000 };
        for second in 0..600 {
            let units = if second % 2 == 0 { 92.0 } else { 119.0 };
            assert_eq!(net.decide(&SETTINGS, load(units), have, second * 1000).wanted, 5);
        }
    }
}
