//! CRC-32C of large pieces, and its algebra.
//!
//! The checksum is most of what a batch costs on its way.

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

/// The checksum of all bytes. Folds in wide registers where the processor has them, which at the size of a batch is
/// several times as fast as the `crc32c` crate; that one is kept for headers, where the set-up would cost more.
pub(crate) fn crc32c(bytes: &[u8]) -> u32 {
    crc_fast::crc32_iscsi(bytes)
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
