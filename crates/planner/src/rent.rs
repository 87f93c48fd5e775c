//! How much to rent ahead.

/// Up to which quantile of the need it is cheaper to rent ahead than to ask on demand: 1 - r/p, the newsvendor's fractile
/// (Arrow, Harris and Marschak, "Optimal inventory policy", Econometrica 19, 1951). The last unit rented costs r for
/// sure and saves p when it is needed. 0 where on demand is no dearer.
pub fn level(reserved: f64, on_demand: f64) -> f64 {
    if on_demand > reserved { 1.0 - reserved / on_demand } else { 0.0 }
}

/// The value that a share of the samples does not exceed; 0 without samples. Orders them partly.
pub fn quantile(samples: &mut [f64], level: f64) -> f64 {
    let Some(last) = samples.len().checked_sub(1) else { return 0.0 };
    let index = (last as f64 * level.clamp(0.0, 1.0)) as usize;
    *samples.select_nth_unstable_by(index, f64::total_cmp).1
}
