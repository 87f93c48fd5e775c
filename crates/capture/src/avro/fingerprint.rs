//! CRC-64-AVRO, the fingerprint that single-object encoding wants.

/// The polynomial, and the fingerprint of nothing: from the Avro specification, "Schema Fingerprints".
const EMPTY: u64 = 0xc15d_213a_a4d7_a795;

const TABLE: [u64; 256] = table();

const fn table() -> [u64; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut entry = byte as u64;
        let mut bit = 0;
        while bit < 8 {
            entry = (entry >> 1) ^ if entry & 1 == 1 { EMPTY } else { 0 };
            bit += 1;
        }
        table[byte] = entry;
        byte += 1;
    }
    table
}

/// The fingerprint of a text.
pub(crate) fn crc64(text: &[u8]) -> u64 {
    text.iter().fold(EMPTY, |print, byte| (print >> 8) ^ TABLE[usize::from(print.to_le_bytes()[0] ^ byte)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_specification_s_own_values_come_out() {
        // From the specification's test data: share/test/data/schema-tests.txt.
        assert_eq!(crc64(b"\"null\"").cast_signed(), 7_195_948_357_588_979_594);
        assert_eq!(crc64(b"\"int\"").cast_signed(), 8_247_732_601_305_521_295);
    }
}
