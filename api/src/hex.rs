//! Hexadecimal texts that stand for 32 bytes: digests and signatures.

/// From exactly 64 digits, in either case.
pub(crate) fn decode_32(text: &str) -> Option<[u8; 32]> {
    let digits = text.as_bytes();
    if digits.len() != 64 {
        return None;
    }
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks(2)) {
        let digit = |nth: usize| (pair[nth] as char).to_digit(16);
        *byte = (digit(0)? << 4 | digit(1)?) as u8;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sixty_four_digits_of_either_case_are_32_bytes() {
        let bytes = decode_32(&"0fA9".repeat(16)).unwrap();
        assert_eq!(bytes, *[0x0f, 0xa9].repeat(16));
        for wrong in ["", &"0".repeat(63), &"0".repeat(65), &"0g".repeat(32), &"é".repeat(32)] {
            assert_eq!(decode_32(wrong), None, "{wrong}");
        }
    }
}
