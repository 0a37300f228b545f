//! Where two tensors of the same datatype and shape differ.

use super::tensor::{Tensor, element_size};
use crate::plan::Compare;
use ring::digest::{SHA256, digest};

/// The first difference: where (empty: anywhere), expected, got.
pub fn difference(compare: &Compare, expected: &Tensor, got: &Tensor) -> Option<(String, String, String)> {
    let at = |(index, expected, got): (usize, String, String)| (format!("[{index}]"), expected, got);
    if let Compare::Digest = compare {
        return digests(&expected.raw, &got.raw);
    }
    if expected.raw == got.raw {
        return None;
    }
    let Some(size) = element_size(&expected.datatype)
        .filter(|size| expected.raw.len() == got.raw.len() && expected.raw.len() % size == 0)
    else {
        return Some(at(other_difference(&expected.raw, &got.raw)));
    };
    numbers(compare, expected, got, size).map(at)
}

fn numbers(compare: &Compare, expected: &Tensor, got: &Tensor, size: usize) -> Option<(usize, String, String)> {
    let number = |raw: &[u8], n: usize| value(&expected.datatype, &raw[n * size..(n + 1) * size]);
    let count = expected.raw.len() / size;
    let show = |n: usize| (n, number(&expected.raw, n).to_string(), number(&got.raw, n).to_string());
    match *compare {
        Compare::Exact | Compare::Digest => {
            let differs = |n: &usize| expected.raw[n * size..(n + 1) * size] != got.raw[n * size..(n + 1) * size];
            (0..count).find(differs).map(show)
        }
        Compare::Tolerance { rtol, atol } => {
            let far = |n: &usize| !is_near(number(&expected.raw, *n), number(&got.raw, *n), rtol, atol);
            (0..count).find(far).map(show)
        }
        Compare::Argmax => {
            let row = expected.shape.last().map_or(1, |&n| n as usize).clamp(1, count.max(1));
            let best = |raw: &[u8], first: usize| {
                let values = (first..(first + row).min(count)).map(|n| number(raw, n));
                values.enumerate().fold((0, f64::NEG_INFINITY), |a, b| if b.1 > a.1 { b } else { a }).0
            };
            let rows = (0..count).step_by(row);
            let picks = rows.map(|first| (first / row, best(&expected.raw, first), best(&got.raw, first)));
            let mut wrong = picks.filter(|(_, expected, got)| expected != got);
            wrong.next().map(|(n, e, g)| (n, format!("class {e}"), format!("class {g}")))
        }
    }
}

/// The expected side is a digest already.
fn digests(expected: &[u8], got: &[u8]) -> Option<(String, String, String)> {
    let got = digest(&SHA256, got);
    if got.as_ref() == expected {
        return None;
    }
    let show =
        |bytes: &[u8]| format!("sha256 {}…", bytes.iter().take(6).map(|b| format!("{b:02x}")).collect::<String>());
    Some((String::new(), show(expected), show(got.as_ref())))
}

fn is_near(expected: f64, got: f64, rtol: f64, atol: f64) -> bool {
    expected == got || (expected.is_nan() && got.is_nan()) || (expected - got).abs() <= atol + rtol * expected.abs()
}

/// BYTES, an unknown datatype, or another length.
fn other_difference(expected: &[u8], got: &[u8]) -> (usize, String, String) {
    let index = expected.iter().zip(got).take_while(|(a, b)| a == b).count();
    let byte = |raw: &[u8]| raw.get(index).map_or_else(|| format!("{} bytes", raw.len()), |b| format!("byte {b:#04x}"));
    (index, byte(expected), byte(got))
}

fn value(datatype: &str, raw: &[u8]) -> f64 {
    let mut wide = [0; 8];
    wide[..raw.len()].copy_from_slice(raw);
    let unsigned = u64::from_le_bytes(wide);
    let shift = 64 - 8 * raw.len() as u32;
    let signed = || ((unsigned << shift) as i64) >> shift;
    match datatype {
        "FP64" => f64::from_bits(unsigned),
        "FP32" => f64::from(f32::from_bits(unsigned as u32)),
        "BF16" => f64::from(f32::from_bits((unsigned as u32) << 16)),
        "FP16" => half(unsigned as u16),
        "INT8" | "INT16" | "INT32" | "INT64" => signed() as f64,
        _ => unsigned as f64,
    }
}

fn half(bits: u16) -> f64 {
    let (sign, exponent, fraction) = (bits >> 15, bits >> 10 & 31, f64::from(bits & 1023));
    let size = match exponent {
        0 => fraction * 2f64.powi(-24),
        31 if fraction == 0.0 => f64::INFINITY,
        31 => f64::NAN,
        _ => (1024.0 + fraction) * 2f64.powi(i32::from(exponent) - 25),
    };
    if sign == 1 { -size } else { size }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_precision_is_read() {
        for (bits, expected) in [(0x3c00, 1.0), (0xc000, -2.0), (0x0001, 2f64.powi(-24)), (0x7bff, 65504.0)] {
            assert_eq!(half(bits), expected);
        }
        assert!(half(0x7c01).is_nan() && half(0xfc00) == f64::NEG_INFINITY);
        assert_eq!(value("BF16", &[0x80, 0x3f]), 1.0);
        assert_eq!((value("INT16", &[0xfe, 0xff]), value("UINT16", &[0xfe, 0xff])), (-2.0, 65534.0));
    }
}
