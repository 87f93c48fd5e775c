//! Smoothing of a curve.

/// A curve smoothed by a triangle that reaches `reach` points to each side; it is a ring where `ring` says so, and a point
/// that is `None` counts for nothing. A point with none around it stays `None`.
pub fn smoothed(curve: &[Option<f64>], reach: usize, ring: bool) -> Vec<Option<f64>> {
    let length = curve.len() as i64;
    let reach = reach as i64;
    (0..length)
        .map(|at| {
            let (mut sum, mut weights) = (0.0, 0.0);
            for offset in -reach..=reach {
                let from = if ring { (at + offset).rem_euclid(length) } else { at + offset };
                let Some(value) = usize::try_from(from).ok().and_then(|from| curve.get(from)).copied().flatten() else {
                    continue;
                };
                let weight = (reach + 1 - offset.abs()) as f64;
                sum += weight * value;
                weights += weight;
            }
            (weights > 0.0).then(|| sum / weights)
        })
        .collect()
}
