//! Decimals, as C's `strtoull` family reads them where memcached uses it.

/// Reads an unsigned number: digits, with or without a plus sign.
pub(crate) fn unsigned(token: &[u8]) -> Option<u64> {
    let digits = token.strip_prefix(b"+").unwrap_or(token);
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u64, |number, &byte| {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        number.checked_mul(10)?.checked_add(u64::from(digit))
    })
}

/// Reads a signed number.
pub(crate) fn signed(token: &[u8]) -> Option<i64> {
    match token.strip_prefix(b"-") {
        // A sign may not follow a sign.
        Some(digits) if digits.first().is_some_and(u8::is_ascii_digit) => {
            0_i64.checked_sub_unsigned(unsigned(digits)?)
        }
        Some(_) => None,
        None => i64::try_from(unsigned(token)?).ok(),
    }
}

/// Reads a stored value as a number, for `incr` and `decr`.
///
/// White space may lead, and the number ends at white space or at a NUL: that is how the
/// spaces are passed over that a shrinking number leaves behind.
pub(crate) fn value_as_number(value: &[u8]) -> Option<u64> {
    let is_space = |byte: &u8| byte.is_ascii_whitespace() || *byte == 0x0b;
    let start = value.iter().position(|byte| !is_space(byte))?;
    let number = &value[start..];
    let end = number.iter().position(|byte| is_space(byte) || *byte == 0);
    unsigned(&number[..end.unwrap_or(number.len())])
}

/// The decimal digits of a number, made without allocating.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Decimal {
    digits: [u8; Self::DIGITS_MAX],
    start: usize,
}

impl Decimal {
    /// How many digits `u64::MAX` has.
    const DIGITS_MAX: usize = 20;

    pub(crate) fn new(mut number: u64) -> Self {
        let mut decimal = Self {
            digits: [b'0'; Self::DIGITS_MAX],
            start: Self::DIGITS_MAX,
        };
        loop {
            decimal.start -= 1;
            let digit = u8::try_from(number % 10).expect("a remainder of ten fits in a byte");
            decimal.digits[decimal.start] = b'0' + digit;
            number /= 10;
            if number == 0 {
                return decimal;
            }
        }
    }

    pub(crate) fn from_usize(number: usize) -> Self {
        Self::new(u64::try_from(number).expect("no machine counts further than 64 bits"))
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.digits[self.start..]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_strtoull_reads_them() {
        for (text, number) in [
            ("0", Some(0)),
            ("007", Some(7)),
            ("+5", Some(5)),
            ("18446744073709551615", Some(u64::MAX)),
            ("18446744073709551616", None),
            ("", None),
            ("+", None),
            ("-1", None),
            ("1.", None),
            ("0x1", None),
        ] {
            assert_eq!(unsigned(text.as_bytes()), number, "{text:?}");
        }
        for (text, number) in [
            ("-9223372036854775808", Some(i64::MIN)),
            ("-9223372036854775809", None),
            ("9223372036854775807", Some(i64::MAX)),
            ("9223372036854775808", None),
            ("-1", Some(-1)),
            ("+1", Some(1)),
            ("-+1", None),
            ("-", None),
        ] {
            assert_eq!(signed(text.as_bytes()), number, "{text:?}");
        }
    }

    #[test]
    fn a_value_is_a_number_up_to_the_first_space() {
        for (value, number) in [
            (b"10".as_slice(), Some(10)),
            (b" 12", Some(12)),
            (b"12  ", Some(12)),
            (b"1 2", Some(1)),
            (b"1\0x", Some(1)),
            (b"1\tx", Some(1)),
            (b"0000000000000000000001", Some(1)),
            (b"1x", None),
            (b"", None),
            (b"  ", None),
            (b"-1", None),
        ] {
            assert_eq!(value_as_number(value), number, "{value:?}");
        }
    }

    #[test]
    fn a_decimal_is_written_as_display_writes_it() {
        for number in [0, 1, 9, 10, 99, 100, 12_345, u64::from(u32::MAX), u64::MAX] {
            assert_eq!(
                Decimal::new(number).as_bytes(),
                number.to_string().as_bytes()
            );
        }
    }
}
