//! The normal distribution.

/// The quantile of the standard normal distribution; the ends are taken at one in a million. Acklam's rational
/// approximation (2003), with a relative error below 1.2e-9.
pub fn quantile(share: f64) -> f64 {
    const A: [f64; 6] = [
        -3.969_683_028_665_376e1,
        2.209_460_984_245_205e2,
        -2.759_285_104_469_687e2,
        1.383_577_518_672_69e2,
        -3.066_479_806_614_716e1,
        2.506_628_277_459_239,
    ];
    const B: [f64; 5] = [
        -5.447_609_879_822_406e1,
        1.615_858_368_580_409e2,
        -1.556_989_798_598_866e2,
        6.680_131_188_771_972e1,
        -1.328_068_155_288_572e1,
    ];
    const C: [f64; 6] = [
        -7.784_894_002_430_293e-3,
        -3.223_964_580_411_365e-1,
        -2.400_758_277_161_838,
        -2.549_732_539_343_734,
        4.374_664_141_464_968,
        2.938_163_982_698_783,
    ];
    const D: [f64; 4] =
        [7.784_695_709_041_462e-3, 3.224_671_290_700_398e-1, 2.445_134_137_142_996, 3.754_408_661_907_416];
    const TAIL: f64 = 0.024_25;
    let share = share.clamp(1e-6, 1.0 - 1e-6);
    let tail = |q: f64| {
        let above = ((((C[0] * q + C[1]) * q + C[2]) * q + C[3]) * q + C[4]) * q + C[5];
        above / ((((D[0] * q + D[1]) * q + D[2]) * q + D[3]) * q + 1.0)
    };
    if share < TAIL {
        return tail((-2.0 * share.ln()).sqrt());
    }
    if share > 1.0 - TAIL {
        return -tail((-2.0 * (1.0 - share).ln()).sqrt());
    }
    let q = share - 0.5;
    let r = q * q;
    let above = (((((A[0] * r + A[1]) * r + A[2]) * r + A[3]) * r + A[4]) * r + A[5]) * q;
    above / (((((B[0] * r + B[1]) * r + B[2]) * r + B[3]) * r + B[4]) * r + 1.0)
}

/// So many equally likely values of a standard normal variable: the middles of its slices.
pub fn equally_likely(count: usize) -> impl Iterator<Item = f64> {
    (0..count).map(move |slice| quantile((slice as f64 + 0.5) / count as f64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_the_tables() {
        let check = |share: f64, expect: f64| assert!((quantile(share) - expect).abs() < 1e-6, "{share}");
        check(0.5, 0.0);
        check(0.9, 1.281_551_6);
        check(0.975, 1.959_964_0);
        check(0.01, -2.326_347_9);
        check(0.999, 3.090_232_3);
        assert_eq!(quantile(0.0), quantile(1e-6));
    }
}
