//! CRC-32C of large pieces, and its algebra.
//!
//! The checksum is most of what a batch costs on its way, so it is folded 256 bytes at a time where the processor
//! multiplies polynomials in wide registers (VPCLMULQDQ); elsewhere, and for small pieces, the `crc32c` crate does it.

/// The polynomial of CRC-32C, bits reversed.
const POLYNOMIAL: u32 = 0x82f6_3b78;

/// The polynomial 1: the highest bit is the constant term.
const ONE: u32 = 0x8000_0000;

/// The product of two polynomials modulo that of CRC-32C.
const fn multiply(a: u32, mut b: u32) -> u32 {
    let mut product = 0;
    let mut mask = ONE;
    while mask != 0 {
        if a & mask != 0 {
            product ^= b;
        }
        b = if b & 1 != 0 { (b >> 1) ^ POLYNOMIAL } else { b >> 1 };
        mask >>= 1;
    }
    product
}

/// Element `[k][n]` carries a checksum over n * 16^k bytes: x to the power of 8 * n * 16^k.
const POWERS: [[u32; 16]; 8] = {
    let mut powers = [[ONE; 16]; 8];
    let mut step = ONE >> 8;
    let mut digit = 0;
    while digit < powers.len() {
        let mut value = 1;
        while value < 16 {
            powers[digit][value] = multiply(powers[digit][value - 1], step);
            value += 1;
        }
        step = multiply(powers[digit][15], step);
        digit += 1;
    }
    powers
};

/// Carries a checksum over as many bytes as follow, a digit of the number at a time; below 2^32 bytes.
/// `crc32c_combine` does the same, but squares matrices at each call and so takes longer than reading 16 KiB.
pub(crate) fn over_zeros(mut crc: u32, bytes: usize) -> u32 {
    for (digit, powers) in POWERS.iter().enumerate() {
        let value = bytes >> (4 * digit) & 15;
        if value != 0 {
            crc = multiply(powers[value], crc);
        }
    }
    crc
}

/// The checksum of all bytes.
pub(crate) fn crc32c(bytes: &[u8]) -> u32 {
    #[cfg(target_arch = "x86_64")]
    if bytes.len() >= folding::BYTES_MIN && folding::is_available() {
        // SAFETY: the processor has what the function is compiled for.
        return unsafe { folding::crc32c(bytes) };
    }
    crc32c::crc32c(bytes)
}

#[cfg(target_arch = "x86_64")]
mod folding {
    use std::arch::x86_64::{
        __m512i, _mm_set_epi64x, _mm512_broadcast_i32x4, _mm512_clmulepi64_epi128, _mm512_loadu_si512,
        _mm512_storeu_si512, _mm512_ternarylogic_epi64, _mm512_xor_si512, _mm512_zextsi128_si512,
    };

    use super::{ONE, multiply};

    /// Below this the folding does not pay.
    pub(super) const BYTES_MIN: usize = 1_024;

    /// A register.
    const LANE: usize = 64;
    /// Four registers, that the multiplier may be busy all the time.
    const BLOCK: usize = 4 * LANE;

    pub(super) fn is_available() -> bool {
        // Looked up once and kept by the standard library.
        std::arch::is_x86_feature_detected!("avx512f") && std::arch::is_x86_feature_detected!("vpclmulqdq")
    }

    /// x to a power, as the multiplier takes it: reversed, one bit longer.
    const fn power(exponent: usize) -> i64 {
        let mut value = ONE;
        let mut left = exponent;
        while left > 0 {
            value = multiply(value, ONE >> 1);
            left -= 1;
        }
        (value as i64) << 1
    }

    /// What carries the two halves of each 16 bytes over a distance: the first half is 64 bits further away. The
    /// product of two reversed numbers is one bit short and the remainder 32 bits long, hence the 32.
    const fn distance(bytes: usize) -> (i64, i64) {
        (power(8 * bytes + 32), power(8 * bytes - 32))
    }

    const OVER_BLOCK: (i64, i64) = distance(BLOCK);
    const OVER_LANE: (i64, i64) = distance(LANE);

    #[target_feature(enable = "avx512f,vpclmulqdq")]
    fn spread((low, high): (i64, i64)) -> __m512i {
        _mm512_broadcast_i32x4(_mm_set_epi64x(high, low))
    }

    /// Carries a register over a distance and adds what stands there.
    #[target_feature(enable = "avx512f,vpclmulqdq")]
    fn fold(value: __m512i, over: __m512i, next: __m512i) -> __m512i {
        let low = _mm512_clmulepi64_epi128::<0x00>(value, over);
        let high = _mm512_clmulepi64_epi128::<0x11>(value, over);
        // 0x96 is the exclusive or of all three.
        _mm512_ternarylogic_epi64::<0x96>(low, high, next)
    }

    #[target_feature(enable = "avx512f,vpclmulqdq")]
    fn load(bytes: &[u8; LANE]) -> __m512i {
        // SAFETY: the bytes are as many as the register holds; the load needs no alignment.
        unsafe { _mm512_loadu_si512(bytes.as_ptr().cast()) }
    }

    /// The checksum of at least one block.
    #[target_feature(enable = "avx512f,vpclmulqdq")]
    pub(super) fn crc32c(bytes: &[u8]) -> u32 {
        let (lanes, tail) = bytes.as_chunks::<LANE>();
        let (blocks, lanes) = lanes.as_chunks::<4>();
        let Some((first, blocks)) = blocks.split_first() else { return crc32c::crc32c(bytes) };
        // The checksum begins with all ones in place of zeros.
        let ones = _mm512_zextsi128_si512(_mm_set_epi64x(0, 0xffff_ffff));
        let mut sums = [_mm512_xor_si512(load(&first[0]), ones), load(&first[1]), load(&first[2]), load(&first[3])];
        let over_block = spread(OVER_BLOCK);
        for block in blocks {
            for (sum, lane) in sums.iter_mut().zip(block) {
                *sum = fold(*sum, over_block, load(lane));
            }
        }
        let over_lane = spread(OVER_LANE);
        let mut sum = sums[0];
        for next in &sums[1..] {
            sum = fold(sum, over_lane, *next);
        }
        for lane in lanes {
            sum = fold(sum, over_lane, load(lane));
        }
        let mut rest = [0_u8; LANE];
        // SAFETY: the bytes are as many as the register holds; the store needs no alignment.
        unsafe { _mm512_storeu_si512(rest.as_mut_ptr().cast(), sum) };
        // What is left has the same remainder as all that was folded; all ones here begin it with zeros.
        crc32c::crc32c_append(crc32c::crc32c_append(u32::MAX, &rest), tail)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_the_checksum_of_the_crate_for_every_length_and_alignment() {
        let bytes: Vec<u8> = (0..20_000_u32).map(|index| (index.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        for size in (0..2_200).chain([4_095, 4_096, 16_384, 19_990]) {
            let start = size % 7;
            let piece = &bytes[start..start + size];
            assert_eq!(crc32c(piece), crc32c::crc32c(piece), "{size} bytes");
        }
    }

    #[test]
    fn a_checksum_is_carried_as_the_crate_carries_it() {
        for bytes in [0, 1, 2, 61, 16_384, 1_000_003] {
            assert_eq!(over_zeros(0x1234_5678, bytes), crc32c::crc32c_combine(0x1234_5678, 0, bytes), "{bytes}");
        }
    }
}
