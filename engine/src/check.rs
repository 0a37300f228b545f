//! Whether an answer is the right one: sampled response messages against the expected one of their payload.

use crate::error::{Code, Failure};
use crate::kserve::{Fields, Malformed, Value, fields};
use crate::payload::Pool;
use crate::plan::{Compare, Validate};
use std::sync::Arc;

/// Shared by all workers; says nothing of which responses are sampled.
pub struct Checker {
    expected: Arc<Pool>,
    pub every: u64,
    compare: Compare,
}

struct Tensor<'a> {
    name: &'a [u8],
    datatype: &'a [u8],
    shape: Vec<u64>,
    raw: &'a [u8],
}

impl Checker {
    pub fn new(expected: Arc<Pool>, validate: &Validate) -> Checker {
        Checker { expected, every: validate.every, compare: validate.compare.clone() }
    }

    /// Compare one whole ModelInferResponse with the payload's.
    pub fn check(&self, payload: u32, got: &[u8]) -> Result<(), Failure> {
        let wrong = |what: String| Failure::new(Code::WrongOutput, format!("payload {payload}: {what}"));
        let expected =
            tensors(self.expected.get(payload)).map_err(|_| wrong("the expected answer is not readable".into()))?;
        let got = tensors(got).map_err(|_| wrong("the answer is not a readable ModelInferResponse".into()))?;
        for tensor in &expected {
            let name = String::from_utf8_lossy(tensor.name);
            let Some(other) = got.iter().find(|other| other.name == tensor.name) else {
                return Err(wrong(format!("output {name} is missing")));
            };
            if (other.datatype, &other.shape) != (tensor.datatype, &tensor.shape) {
                let of = |t: &Tensor| format!("{} {:?}", String::from_utf8_lossy(t.datatype), t.shape);
                return Err(wrong(format!("output {name} expected {}, got {}", of(tensor), of(other))));
            }
            if let Some((index, expected, got)) = self.difference(tensor, other) {
                return Err(wrong(format!("output {name}[{index}] expected {expected}, got {got}")));
            }
        }
        Ok(())
    }

    /// The first difference: where, expected, got.
    fn difference(&self, expected: &Tensor, got: &Tensor) -> Option<(usize, String, String)> {
        if expected.raw == got.raw {
            return None;
        }
        let Some(size) = element_size(expected.datatype)
            .filter(|size| expected.raw.len() == got.raw.len() && expected.raw.len() % size == 0)
        else {
            return other_difference(expected.raw, got.raw);
        };
        let number = |raw: &[u8], n: usize| value(expected.datatype, &raw[n * size..(n + 1) * size]);
        let count = expected.raw.len() / size;
        let show = |n: usize| (n, number(expected.raw, n).to_string(), number(got.raw, n).to_string());
        match self.compare {
            Compare::Exact => {
                let differs = |n: &usize| expected.raw[n * size..(n + 1) * size] != got.raw[n * size..(n + 1) * size];
                (0..count).find(differs).map(show)
            }
            Compare::Tolerance { rtol, atol } => {
                let far = |n: &usize| !is_near(number(expected.raw, *n), number(got.raw, *n), rtol, atol);
                (0..count).find(far).map(show)
            }
            Compare::Argmax => {
                let row = expected.shape.last().map_or(1, |&n| n as usize).clamp(1, count.max(1));
                let best = |raw: &[u8], first: usize| {
                    let values = (first..(first + row).min(count)).map(|n| number(raw, n));
                    values.enumerate().fold((0, f64::NEG_INFINITY), |a, b| if b.1 > a.1 { b } else { a }).0
                };
                let rows = (0..count).step_by(row);
                let picks = rows.map(|first| (first / row, best(expected.raw, first), best(got.raw, first)));
                let mut wrong = picks.filter(|(_, expected, got)| expected != got);
                wrong.next().map(|(n, e, g)| (n, format!("class {e}"), format!("class {g}")))
            }
        }
    }
}

fn is_near(expected: f64, got: f64, rtol: f64, atol: f64) -> bool {
    expected == got || (expected.is_nan() && got.is_nan()) || (expected - got).abs() <= atol + rtol * expected.abs()
}

/// BYTES, an unknown datatype, or another length.
fn other_difference(expected: &[u8], got: &[u8]) -> Option<(usize, String, String)> {
    let index = expected.iter().zip(got).take_while(|(a, b)| a == b).count();
    let byte = |raw: &[u8]| raw.get(index).map_or_else(|| format!("{} bytes", raw.len()), |b| format!("byte {b:#04x}"));
    Some((index, byte(expected), byte(got)))
}

fn element_size(datatype: &[u8]) -> Option<usize> {
    match datatype {
        b"BOOL" | b"UINT8" | b"INT8" => Some(1),
        b"UINT16" | b"INT16" | b"FP16" | b"BF16" => Some(2),
        b"UINT32" | b"INT32" | b"FP32" => Some(4),
        b"UINT64" | b"INT64" | b"FP64" => Some(8),
        _ => None,
    }
}

fn value(datatype: &[u8], raw: &[u8]) -> f64 {
    let mut wide = [0; 8];
    wide[..raw.len()].copy_from_slice(raw);
    let unsigned = u64::from_le_bytes(wide);
    let shift = 64 - 8 * raw.len() as u32;
    let signed = || ((unsigned << shift) as i64) >> shift;
    match datatype {
        b"FP64" => f64::from_bits(unsigned),
        b"FP32" => f64::from(f32::from_bits(unsigned as u32)),
        b"BF16" => f64::from(f32::from_bits((unsigned as u32) << 16)),
        b"FP16" => half(unsigned as u16),
        b"INT8" | b"INT16" | b"INT32" | b"INT64" => signed() as f64,
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

/// The outputs of a ModelInferResponse with their raw contents.
fn tensors(message: &[u8]) -> Result<Vec<Tensor<'_>>, Malformed> {
    let (mut found, mut raws) = (Vec::new(), Vec::new());
    for field in fields(message) {
        match field? {
            (5, Value::Bytes(output)) => found.push(tensor(output)?),
            (6, Value::Bytes(raw)) => raws.push(raw),
            _ => {}
        }
    }
    if raws.len() > found.len() {
        return Err(Malformed);
    }
    for (tensor, raw) in found.iter_mut().zip(raws) {
        tensor.raw = raw;
    }
    Ok(found)
}

fn tensor(output: &[u8]) -> Result<Tensor<'_>, Malformed> {
    let mut tensor = Tensor { name: b"", datatype: b"", shape: Vec::new(), raw: b"" };
    for field in fields(output) {
        match field? {
            (1, Value::Bytes(name)) => tensor.name = name,
            (2, Value::Bytes(datatype)) => tensor.datatype = datatype,
            (3, Value::Number(dimension)) => tensor.shape.push(dimension),
            (3, Value::Bytes(packed)) => tensor.shape.extend(dimensions(fields(packed))?),
            _ => {}
        }
    }
    Ok(tensor)
}

fn dimensions(mut packed: Fields<'_>) -> Result<Vec<u64>, Malformed> {
    let mut shape = Vec::new();
    while !packed.is_over() {
        shape.push(packed.number()?);
    }
    Ok(shape)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn field(number: u8, content: &[u8]) -> Vec<u8> {
        [&[number << 3 | 2, content.len() as u8][..], content].concat()
    }

    fn response(datatype: &str, shape: &[u8], raw: &[u8]) -> Vec<u8> {
        let output = [field(1, b"OUT"), field(2, datatype.as_bytes()), field(3, shape)].concat();
        [field(1, b"model"), field(5, &output), field(6, raw)].concat()
    }

    fn checker(expected: Vec<u8>, compare: Compare) -> Checker {
        Checker { expected: Arc::new(Pool::new([expected])), every: 1, compare }
    }

    fn floats(values: &[f32]) -> Vec<u8> {
        values.iter().flat_map(|v| v.to_le_bytes()).collect()
    }

    fn verdict(compare: Compare, expected: &[f32], got: &[f32]) -> Result<(), String> {
        let of = |values: &[f32]| response("FP32", &[2, 2], &floats(values));
        checker(of(expected), compare).check(0, &of(got)).map_err(|f| f.message)
    }

    #[test]
    fn exact_names_tensor_index_expected_and_got() {
        assert_eq!(verdict(Compare::Exact, &[1.0, 2.0, 3.0, 4.0], &[1.0, 2.0, 3.0, 4.0]), Ok(()));
        let message = verdict(Compare::Exact, &[1.0, 2.0, 3.0, 4.0], &[1.0, 2.0, 3.5, 4.0]).unwrap_err();
        assert_eq!(message, "payload 0: output OUT[2] expected 3, got 3.5");
    }

    #[test]
    fn tolerance_is_relative_and_absolute() {
        let near = Compare::Tolerance { rtol: 0.01, atol: 0.1 };
        assert_eq!(verdict(near.clone(), &[100.0, 0.0, f32::NAN, 1.0], &[101.0, 0.09, f32::NAN, 1.0]), Ok(()));
        assert!(verdict(near.clone(), &[100.0, 0.0, 0.0, 0.0], &[101.2, 0.0, 0.0, 0.0]).is_err());
        assert!(verdict(near.clone(), &[0.0; 4], &[0.0, 0.0, 0.0, f32::NAN]).is_err());
        assert!(verdict(near, &[0.0; 4], &[0.0, 0.0, 0.0, f32::INFINITY]).is_err());
    }

    #[test]
    fn argmax_looks_at_each_item_of_a_batch() {
        assert_eq!(verdict(Compare::Argmax, &[1.0, 2.0, 9.0, 4.0], &[0.0, 5.0, 3.0, 2.0]), Ok(()));
        let message = verdict(Compare::Argmax, &[1.0, 2.0, 9.0, 4.0], &[0.0, 5.0, 3.0, 4.0]).unwrap_err();
        assert_eq!(message, "payload 0: output OUT[1] expected class 0, got class 1");
    }

    #[test]
    fn shape_datatype_and_presence_matter() {
        let sound = response("INT8", &[2], &[1, 0xff]);
        let of = |got: &[u8]| checker(sound.clone(), Compare::Exact).check(0, got).map_err(|f| f.message);
        assert_eq!(of(&sound), Ok(()));
        assert!(of(&response("INT8", &[2], &[1, 1])).unwrap_err().ends_with("OUT[1] expected -1, got 1"));
        assert!(of(&response("INT8", &[1, 2], &[1, 0xff])).unwrap_err().contains("INT8 [2], got INT8 [1, 2]"));
        assert!(of(&response("INT8", &[2], &[1])).unwrap_err().contains("expected byte 0xff, got 1 bytes"));
        assert!(of(b"").unwrap_err().ends_with("output OUT is missing"));
        assert!(of(b"\x2a\x7f").unwrap_err().contains("not a readable"));
        let text = response("BYTES", &[1], b"\x02\0\0\0ab");
        let other = response("BYTES", &[1], b"\x02\0\0\0ac");
        assert!(checker(text, Compare::Exact).check(0, &other).unwrap_err().message.contains("[5] expected byte 0x62"));
    }

    #[test]
    fn half_precision_is_read() {
        for (bits, expected) in [(0x3c00, 1.0), (0xc000, -2.0), (0x0001, 2f64.powi(-24)), (0x7bff, 65504.0)] {
            assert_eq!(half(bits), expected);
        }
        assert!(half(0x7c01).is_nan() && half(0xfc00) == f64::NEG_INFINITY);
        assert_eq!(value(b"BF16", &[0x80, 0x3f]), 1.0);
        assert_eq!((value(b"INT16", &[0xfe, 0xff]), value(b"UINT16", &[0xfe, 0xff])), (-2.0, 65534.0));
    }

    proptest! {
        #[test]
        fn never_panics(expected: Vec<u8>, got: Vec<u8>) {
            for compare in [Compare::Exact, Compare::Tolerance { rtol: 0.1, atol: 0.1 }, Compare::Argmax] {
                let _ = checker(expected.clone(), compare).check(0, &got);
            }
        }

        #[test]
        fn never_panics_on_tensors(
            datatype in prop::sample::select(vec!["FP32", "BYTES", "FP16", "INT64", "X"]),
            shape in prop::collection::vec(0u8..200, 0..4),
            raws: [Vec<u8>; 2],
        ) {
            let short = |raw: &Vec<u8>| raw[..raw.len().min(100)].to_vec();
            let [a, b] = [&raws[0], &raws[1]].map(|raw| response(datatype, &shape, &short(raw)));
            for compare in [Compare::Exact, Compare::Tolerance { rtol: 0.1, atol: 0.1 }, Compare::Argmax] {
                let _ = checker(a.clone(), compare).check(0, &b);
            }
        }
    }
}
