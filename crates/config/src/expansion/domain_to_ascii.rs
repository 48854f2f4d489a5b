//! `${domain_to_ascii{...}}`: labels that are not ASCII in their `xn--` form (RFC 3492, RFC 5890).
//!
//! Labels are lowercased and not otherwise normalised: what a `main.cf` holds was typed there, in composed characters.

/// Converts label by label; text that is not UTF-8 stays as it is.
pub(super) fn convert(domain: &[u8]) -> Vec<u8> {
    if domain.is_ascii() {
        return domain.to_vec();
    }
    let Ok(text) = std::str::from_utf8(domain) else { return domain.to_vec() };
    let labels: Vec<String> = text.split(['.', '\u{3002}']).map(label).collect();
    labels.join(".").into_bytes()
}

fn label(label: &str) -> String {
    if label.is_ascii() {
        return label.to_owned();
    }
    let lower = label.to_lowercase();
    encode(&lower).map_or(lower, |encoded| format!("xn--{encoded}"))
}

const BASE: u32 = 36;
const T_MIN: u32 = 1;
const T_MAX: u32 = 26;

/// RFC 3492 6.3; `None` when a label is so long that the numbers overflow.
fn encode(label: &str) -> Option<String> {
    let mut out: String = label.chars().filter(char::is_ascii).collect();
    let basic = u32::try_from(out.len()).ok()?;
    let total = u32::try_from(label.chars().count()).ok()?;
    if basic > 0 {
        out.push('-');
    }
    let (mut next, mut delta, mut bias, mut handled) = (128u32, 0u32, 72u32, basic);
    while handled < total {
        let smallest = label.chars().map(u32::from).filter(|c| *c >= next).min()?;
        delta = delta.checked_add((smallest - next).checked_mul(handled + 1)?)?;
        next = smallest;
        for c in label.chars().map(u32::from) {
            if c < next {
                delta = delta.checked_add(1)?;
            }
            if c == next {
                digits(&mut out, delta, bias);
                bias = adapt(delta, handled + 1, handled == basic);
                delta = 0;
                handled += 1;
            }
        }
        delta = delta.checked_add(1)?;
        next = next.checked_add(1)?;
    }
    Some(out)
}

fn digits(out: &mut String, delta: u32, bias: u32) {
    let mut rest = delta;
    for k in (BASE..).step_by(BASE as usize) {
        let threshold = k.saturating_sub(bias).clamp(T_MIN, T_MAX);
        if rest < threshold {
            break;
        }
        out.extend(char::from_digit(threshold + (rest - threshold) % (BASE - threshold), BASE).map(swap));
        rest = (rest - threshold) / (BASE - threshold);
    }
    out.extend(char::from_digit(rest, BASE).map(swap));
}

/// Punycode counts letters first, `char::from_digit` digits first.
fn swap(digit: char) -> char {
    let value = digit.to_digit(BASE).unwrap_or(0) as u8;
    char::from(if value < 26 { b'a' + value } else { b'0' + value - 26 })
}

fn adapt(delta: u32, points: u32, first: bool) -> u32 {
    let mut delta = if first { delta / 700 } else { delta / 2 };
    delta += delta / points;
    let mut k = 0;
    while delta > ((BASE - T_MIN) * T_MAX) / 2 {
        delta /= BASE - T_MIN;
        k += BASE;
    }
    k + (BASE - T_MIN + 1) * delta / (delta + 38)
}

#[cfg(test)]
mod tests {
    #[test]
    fn domains() {
        let cases = [
            ("example.com", "example.com"),
            ("b\u{fc}cher.example", "xn--bcher-kva.example"),
            ("B\u{dc}CHER.de", "xn--bcher-kva.de"),
            ("\u{4f8b}\u{3048}.\u{30c6}\u{30b9}\u{30c8}", "xn--r8jz45g.xn--zckzah"),
            ("m\u{fc}nchen-ost.de", "xn--mnchen-ost-9db.de"),
        ];
        for (unicode, ascii) in cases {
            assert_eq!(super::convert(unicode.as_bytes()), ascii.as_bytes(), "{unicode}");
        }
        assert_eq!(super::convert(b"\xff.x"), b"\xff.x");
    }
}
