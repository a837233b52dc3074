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

    #[test]
    fn decodes_the_examples_of_rfc_4648_and_every_digit() {
        let digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        // Four digits of values n to n + 3 are three bytes.
        let bytes: Vec<u8> = (0..64u32)
            .step_by(4)
            .flat_map(|n| {
                let bits = n << 18 | (n + 1) << 12 | (n + 2) << 6 | (n + 3);
                bits.to_be_bytes()[1..].to_vec()
            })
            .collect();
        let rows: [(&str, &[u8]); 8] = [
            ("", b""),
            ("Zg==", b"f"),
            ("Zm8=", b"fo"),
            ("Zm9v", b"foo"),
            ("Zm9vYg==", b"foob"),
            ("Zm9vYmE=", b"fooba"),
            ("Zm9vYmFy", b"foobar"),
            (digits, &bytes),
        ];
        for (text, expected) in rows {
            let mut found = b"before".to_vec();
            decode(text, &mut found).expect("valid base64");
            assert_eq!(&found[6..], expected, "{text}");
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
