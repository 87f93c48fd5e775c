//! Capacity kept above demand: what to rent for each hour of the next day, and how many units on demand must stand now.

use super::{AheadKnobs, Calendar, DayAhead, MINUTES_PER_DAY, Minutes, Soon, SoonKnobs, day_of};
use crate::normal;
use crate::rent;

/// Hours of a day, each billed whole.
pub const HOURS: usize = 24;
const HOUR_MINUTES: i64 = 60;
/// Equally likely errors of the day's forecast that a rent is decided over.
const DAY_ERRORS: usize = 21;
/// A minute of each so many stands for its neighbours when a rent is decided.
const STRIDE: usize = 3;

/// What is chosen once for a kind of demand, on days that are not scored.
#[derive(Debug, Clone, PartialEq)]
pub struct KeeperKnobs {
    /// Of the day ahead.
    pub ahead: AheadKnobs,
    /// Of the next minutes.
    pub soon: SoonKnobs,
    /// How long a unit on demand is usually held, in minutes: it is paid for while it boots, too, and the shorter it is
    /// held the dearer that makes it.
    pub held_minutes: f64,
}

/// The prices of a unit for the same time, in any currency.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct UnitPrices {
    /// Rented ahead, by the hour.
    pub reserved: f64,
    /// On demand, by the minute, from the moment it is asked for.
    pub on_demand: f64,
}

/// Keeps capacity for a demand that it watches by the minute. One unit of capacity serves a demand of 1.
#[derive(Debug, Clone)]
pub struct Keeper {
    lead_minutes: i64,
    prices: UnitPrices,
    least: f64,
    knobs: KeeperKnobs,
    calendar: Calendar,
    series: Minutes,
    soon: Soon,
    today: Option<Day>,
    tomorrow: Option<Day>,
}

#[derive(Debug, Clone)]
struct Day {
    ahead: DayAhead,
    reserved: [u64; HOURS],
}

impl Keeper {
    /// A keeper that has seen nothing since a midnight (in minutes since 1970-01-01), for units that are ready
    /// `lead_minutes` after they were asked for. Demand counts as `least` where it is below.
    pub fn new(
        midnight: i64,
        calendar: Calendar,
        lead_minutes: u32,
        prices: UnitPrices,
        least: f64,
        knobs: KeeperKnobs,
    ) -> Self {
        let soon = Soon::new(lead_minutes as usize, knobs.soon.clone());
        let series = Minutes::new(midnight, Vec::new());
        let lead_minutes = i64::from(lead_minutes);
        Self { lead_minutes, prices, least, knobs, calendar, series, soon, today: None, tomorrow: None }
    }

    /// The minute that comes next.
    pub fn now(&self) -> i64 {
        self.series.until()
    }

    /// Takes what the minute was (`NaN`: not observed), and goes on to the next one. The next day's rents are decided
    /// one lead time before its midnight, so that what must stand then can be asked for in time.
    pub fn observe(&mut self, demand: f64) {
        let minute = self.now();
        self.series.push(demand);
        if let (Some(today), false) = (&self.today, demand.is_nan()) {
            self.soon.observe(minute, demand.max(self.least).ln(), &today.ahead, &self.calendar);
        }
        let now = minute + 1;
        let next = day_of(now + self.lead_minutes);
        if self.tomorrow.is_none() && next > day_of(now) {
            self.tomorrow = self.decide(next);
        }
        if now == day_of(now) * MINUTES_PER_DAY {
            let tomorrow = self.tomorrow.take();
            if let (Some(before), Some(after)) = (&self.today, &tomorrow) {
                self.soon.new_day(&before.ahead, &after.ahead);
            }
            self.today = tomorrow;
        }
    }

    fn decide(&self, day: i64) -> Option<Day> {
        let ahead = DayAhead::fit(day, &self.series, &self.calendar, &self.knobs.ahead, self.least)?;
        let on_demand = self.prices.on_demand * (1.0 + self.lead_minutes as f64 / self.knobs.held_minutes);
        let level = rent::level(self.prices.reserved, on_demand);
        let reserved = std::array::from_fn(|hour| {
            let first = day * MINUTES_PER_DAY + hour as i64 * HOUR_MINUTES;
            let mut needs: Vec<f64> = (first..first + HOUR_MINUTES)
                .step_by(STRIDE)
                .flat_map(|minute| normal::equally_likely(DAY_ERRORS).map(move |deviations| (minute, deviations)))
                .map(|(minute, deviations)| self.soon.need_ahead(minute, &ahead, &self.calendar, deviations))
                .collect();
            rent::quantile(&mut needs, level).ceil() as u64
        });
        Some(Day { ahead, reserved })
    }

    /// What is rented in the hour of a minute of this day, or of the next once that is decided; nothing where it is not.
    pub fn reserved(&self, minute: i64) -> u64 {
        let of = |day: &Option<Day>| {
            let day = day.as_ref()?;
            let offset = usize::try_from(minute - day.ahead.from()).ok()?;
            day.reserved.get(offset / HOUR_MINUTES as usize).copied()
        };
        of(&self.today).or_else(|| of(&self.tomorrow)).unwrap_or(0)
    }

    /// The median of demand in a minute of this day, as it was forecast before the day began; `None` before the first.
    pub fn forecast(&self, minute: i64) -> Option<f64> {
        self.today.as_ref().map(|today| today.ahead.log_median(minute).exp())
    }

    /// How many units on demand must stand now, ready or booting, when so many do already: those that will be needed
    /// one lead time from now, and of what stands nothing is let go that would have to be asked for again until then.
    pub fn standing(&self, existing: u64) -> u64 {
        let now = self.now();
        let Some(today) = &self.today else { return existing };
        let next = self.tomorrow.as_ref().map(|day| &day.ahead);
        let mut keep = 0;
        let mut want = 0;
        for minute in now..=now + self.lead_minutes {
            let need = self.soon.need(now, minute, &today.ahead, next, &self.calendar).ceil() as u64;
            want = need.saturating_sub(self.reserved(minute));
            keep = keep.max(want);
        }
        want.max(existing.min(keep))
    }
}
