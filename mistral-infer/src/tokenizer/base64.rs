//! Base64 with the standard alphabet, as `tekken.json` writes token bytes.

/// Decodes padded base64 onto the end of `out`; `None` when the text is not base64.
pub(super) fn decode(text: &str, out: &mut Vec<u8>) -> Option<()> {
    let text = text.as_bytes();
    if !text.len().is_multiple_of(4) {
        return None;
    }
    let groups = text.len() / 4;
    for (i, group) in text.chunks_exact(4).enumerate() {
        let padding = group.iter().rev().take_while(|&&b| b == b'=').count();
        if padding > 2 || (padding > 0 && i + 1 != groups) {
            return None;
        }
        let mut bits = 0u32;
        for &symbol in &group[..4 - padding] {
            bits = bits << 6 | value(symbol)?;
        }
        bits <<= 6 * padding;
        let bytes = bits.to_be_bytes();
        // Bits behind the last byte have to be zero, so that each token has one spelling.
        if bytes[4 - padding..].iter().any(|&b| b != 0) {
            return None;
        }
        out.extend_from_slice(&bytes[1..4 - padding]);
    }
    Some(())
}

fn value(symbol: u8) -> Option<u32> {
    let value = match symbol {
        b'A'..=b'Z' => symbol - b'A',
        b'a'..=b'z' => symbol - b'a' + 26,
        b'0'..=b'9' => symbol - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    };
    Some(u32::from(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encode(bytes: &[u8]) -> String {
        const ALPHABET: &[u8; 64] =
            b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
        for group in bytes.chunks(3) {
            let word = group.iter().fold(0u32, |word, &b| word << 8 | u32::from(b))
                << (8 * (3 - group.len()));
            for i in 0..4 {
                if i <= group.len() {
                    text.push(char::from(ALPHABET[(word >> (18 - 6 * i)) as usize & 63]));
                } else {
                    text.push('=');
                }
            }
        }
        text
    }

    #[test]
    fn decode_undoes_encode() {
        for length in 0..40usize {
            let bytes: Vec<u8> = (0..length).map(|i| (i * 37 + length) as u8).collect();
            let mut back = Vec::new();
            decode(&encode(&bytes), &mut back).expect("what encode writes is base64");
            assert_eq!(back, bytes);
        }
    }

    #[test]
    fn refuses_what_is_not_base64() {
        for text in [
            "A", "AA=", "A===", "====", "AA==AA==", "AB==", "A-==", "AAAA\n",
        ] {
            assert_eq!(decode(text, &mut Vec::new()), None, "{text:?}");
        }
    }
}
