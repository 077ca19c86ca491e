//! Numbers in JSON that have more digits than are kept of them.

/// Digits that a double always tells apart when it is written as programs write it.
const DOUBLE: usize = 17;

/// Whether a number in the JSON text would come back with other digits than it has: an integer beyond 64 bits whose last digits a
/// double does not hold, or a fraction with more digits than doubles are written with.
///
/// ```
/// use muster_domain::digits::loses_digits;
///
/// assert!(loses_digits("[12345678901234567890123]"));
/// assert!(!loses_digits("[18446744073709551615, 0.1, 1e300, \"12345678901234567890123\"]"));
/// ```
pub fn loses_digits(json: &str) -> bool {
    let bytes = json.as_bytes();
    // Most values are too short for such a number.
    if bytes.len() <= DOUBLE {
        return false;
    }
    let (mut at, mut in_string) = (0, false);
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'\\' if in_string => at += 1,
            b'"' => in_string = !in_string,
            b'0'..=b'9' if !in_string => {
                let rest = json.get(at..).unwrap_or_default();
                let end = rest.find(|c: char| !matches!(c, '0'..='9' | '.' | 'e' | 'E' | '+' | '-'));
                let number = rest.get(..end.unwrap_or(rest.len())).unwrap_or_default();
                let negative = at > 0 && bytes.get(at - 1) == Some(&b'-');
                if number.len() > DOUBLE && is_cut(number, negative) {
                    return true;
                }
                at += number.len();
                continue;
            }
            _ => {}
        }
        at += 1;
    }
    false
}

fn is_cut(number: &str, negative: bool) -> bool {
    let kept = number.parse::<u64>().is_ok_and(|number| !negative || number <= i64::MIN.unsigned_abs());
    if kept {
        return false;
    }
    let (digits, _) = significant(number);
    let whole = number.bytes().all(|byte| byte.is_ascii_digit());
    if !whole && digits.len() <= DOUBLE {
        return false;
    }
    // A number that is too large for a double is told as such.
    number
        .parse::<f64>()
        .is_ok_and(|double| double.is_finite() && significant(&format!("{double:e}")) != significant(number))
}

/// The digits of a number without the zeros around them, and the power of ten of the last of them.
fn significant(number: &str) -> (String, i64) {
    let (mantissa, power) = number.split_once(['e', 'E']).unwrap_or((number, "0"));
    let power: i64 = power.parse().unwrap_or(i64::MAX / 2);
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all = format!("{whole}{fraction}");
    let trimmed = all.trim_end_matches('0');
    let zeros = i64::try_from(all.len() - trimmed.len()).unwrap_or_default();
    let behind = i64::try_from(fraction.len()).unwrap_or_default();
    let digits = trimmed.trim_start_matches('0').to_owned();
    if digits.is_empty() { (digits, 0) } else { (digits, power.saturating_sub(behind).saturating_add(zeros)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_that_are_lost_are_seen_and_no_others() {
        for lost in [
            "12345678901234567890123",
            "-12345678901234567890123",
            "[-9223372036854775809]",
            "{\"n\": [1, 18446744073709551617]}",
            "3.14159265358979323846264338327950288",
            "{\"a\\\"\":123456789012345678901}",
        ] {
            assert!(loses_digits(lost), "{lost}");
        }
        for kept in [
            "18446744073709551615",
            "-9223372036854775808",
            "100000000000000000000000",
            "1.0000000000000000000000000",
            "0.30000000000000004",
            "52.520006599999998",
            "1.7976931348623157e308",
            "0.000000000000000000000000000000012",
            "{\"n\": \"12345678901234567890123\", \"m\": 1}",
            "[1,2,3,4,5,6,7,8,9,10,11,12,13]",
            "1.5e-9223372036854775808",
        ] {
            assert!(!loses_digits(kept), "{kept}");
        }
    }
}
