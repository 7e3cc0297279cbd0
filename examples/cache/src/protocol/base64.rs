//! Keys of any bytes, as base64 with padding carries them.

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Bits of a letter, and of a byte.
const LETTER: u32 = 6;
const BYTE: u32 = 8;

/// Decodes `text` to the front of `bytes`, and returns how many there are; `None` if it is not
/// base64, or decodes to nothing.
pub(super) fn decode(text: &[u8], bytes: &mut [u8]) -> Option<usize> {
    if text.is_empty() || !text.len().is_multiple_of(4) {
        return None;
    }
    let letters = text
        .strip_suffix(b"==")
        .or_else(|| text.strip_suffix(b"="))
        .unwrap_or(text);
    let (mut bits, mut count, mut length) = (0_u32, 0, 0);
    for &letter in letters {
        bits = bits << LETTER | u32::from(value(letter)?);
        count += LETTER;
        if count >= BYTE {
            count -= BYTE;
            *bytes.get_mut(length)? = (bits >> count).to_le_bytes()[0];
            length += 1;
        }
    }
    Some(length)
}

/// Appends `bytes` in base64.
pub(crate) fn encode(bytes: &[u8], out: &mut Vec<u8>) {
    for group in bytes.chunks(3) {
        let mut bits = [0; 4];
        bits[1..=group.len()].copy_from_slice(group);
        let bits = u32::from_be_bytes(bits);
        for place in 0..4 {
            out.push(if place <= group.len() {
                let letter = bits >> (LETTER * (3 - u32::try_from(place).unwrap_or(0))) & 0x3f;
                ALPHABET[usize::try_from(letter).expect("six bits fit")]
            } else {
                b'='
            });
        }
    }
}

const fn value(letter: u8) -> Option<u8> {
    match letter {
        b'A'..=b'Z' => Some(letter - b'A'),
        b'a'..=b'z' => Some(letter - b'a' + 26),
        b'0'..=b'9' => Some(letter - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_is_decoded() {
        for (text, bytes) in [
            ("Zg==", b"f".as_slice()),
            ("Zm8=", b"fo"),
            ("Zm9v", b"foo"),
            ("Zm9vYmFy", b"foobar"),
            ("AP+A", b"\0\xff\x80"),
            ("+/+/", b"\xfb\xff\xbf"),
        ] {
            let mut out = Vec::new();
            encode(bytes, &mut out);
            assert_eq!(out, text.as_bytes());
            let mut decoded = [0; 16];
            let length = decode(text.as_bytes(), &mut decoded);
            assert_eq!(length.map(|length| &decoded[..length]), Some(bytes));
        }
    }

    #[test]
    fn what_is_not_base64_is_not_decoded() {
        for text in [
            "", "Zg", "Zg=", "Z===", "====", "Zm9v=", "Zm-v", "=m9v", "Zg==Zg==", "Zm9v\n",
        ] {
            assert_eq!(decode(text.as_bytes(), &mut [0; 16]), None, "{text:?}");
        }
        assert_eq!(decode(b"Zm9vYmFy", &mut [0; 5]), None, "no room for it");
    }
}
