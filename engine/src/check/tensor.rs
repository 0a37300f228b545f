//! Tensors of an answer: from a ModelInferResponse, or from KServe's JSON with the binary-tensor extension.

use crate::kserve::{Fields, Malformed, Value, fields};
use serde::Deserialize;
use std::borrow::Cow;

pub struct Tensor<'a> {
    pub name: Cow<'a, str>,
    pub datatype: Cow<'a, str>,
    pub shape: Vec<u64>,
    pub raw: Cow<'a, [u8]>,
}

impl Tensor<'_> {
    /// The part of `room` that a tensor of this datatype and shape fills, where it lies at the beginning of it.
    pub fn part_of<'r>(&self, room: &'r [u8]) -> Option<&'r [u8]> {
        let count = self.shape.iter().try_fold(1u64, |product, &size| product.checked_mul(size))?;
        let end = match element_size(&self.datatype) {
            Some(size) => usize::try_from(count.checked_mul(size as u64)?).ok()?,
            None => (0..count).try_fold(0usize, |at, _| {
                let (length, _) = room.get(at..)?.split_first_chunk::<4>()?;
                (at + 4).checked_add(u32::from_le_bytes(*length) as usize).filter(|&end| end <= room.len())
            })?,
        };
        room.get(..end)
    }
}

/// Bytes of one element; None where elements have no common size.
pub fn element_size(datatype: &str) -> Option<usize> {
    match datatype {
        "BOOL" | "UINT8" | "INT8" => Some(1),
        "UINT16" | "INT16" | "FP16" | "BF16" => Some(2),
        "UINT32" | "INT32" | "FP32" => Some(4),
        "UINT64" | "INT64" | "FP64" => Some(8),
        _ => None,
    }
}

/// The outputs of a ModelInferResponse with their raw contents.
pub fn of_message(message: &[u8]) -> Result<Vec<Tensor<'_>>, Malformed> {
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
        tensor.raw = Cow::Borrowed(raw);
    }
    Ok(found)
}

fn tensor(output: &[u8]) -> Result<Tensor<'_>, Malformed> {
    let mut tensor = Tensor { name: "".into(), datatype: "".into(), shape: Vec::new(), raw: Cow::Borrowed(b"") };
    for field in fields(output) {
        match field? {
            (1, Value::Bytes(name)) => tensor.name = String::from_utf8_lossy(name),
            (2, Value::Bytes(datatype)) => tensor.datatype = String::from_utf8_lossy(datatype),
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

#[derive(Deserialize)]
struct Document {
    #[serde(default)]
    outputs: Vec<Output>,
}

#[derive(Deserialize)]
struct Output {
    name: String,
    datatype: String,
    shape: Vec<u64>,
    #[serde(default)]
    parameters: Parameters,
    #[serde(default)]
    data: Option<serde_json::Value>,
}

#[derive(Default, Deserialize)]
struct Parameters {
    binary_data_size: Option<usize>,
}

/// The outputs of an answer over HTTP: JSON, `json_len` bytes long, then the binary tensors in the same order.
pub fn of_body(body: &[u8], json_len: Option<usize>) -> Result<Vec<Tensor<'_>>, Malformed> {
    let (head, mut rest) = body.split_at_checked(json_len.unwrap_or(body.len())).ok_or(Malformed)?;
    let document: Document = serde_json::from_slice(head).map_err(|_| Malformed)?;
    let mut found = Vec::with_capacity(document.outputs.len());
    for output in document.outputs {
        let raw = match (output.parameters.binary_data_size, output.data) {
            (Some(size), _) => {
                let (raw, after) = rest.split_at_checked(size).ok_or(Malformed)?;
                rest = after;
                Cow::Borrowed(raw)
            }
            (None, Some(data)) => Cow::Owned(packed(&output.datatype, &data)?),
            (None, None) => Cow::Borrowed(&b""[..]),
        };
        found.push(Tensor { name: output.name.into(), datatype: output.datatype.into(), shape: output.shape, raw });
    }
    Ok(found)
}

/// The bytes that JSON values, nested or flat, stand for.
fn packed(datatype: &str, data: &serde_json::Value) -> Result<Vec<u8>, Malformed> {
    let mut raw = Vec::new();
    pack(datatype, data, &mut raw)?;
    Ok(raw)
}

fn pack(datatype: &str, data: &serde_json::Value, raw: &mut Vec<u8>) -> Result<(), Malformed> {
    if let Some(values) = data.as_array() {
        return values.iter().try_for_each(|value| pack(datatype, value, raw));
    }
    match datatype {
        "BYTES" => {
            let text = data.as_str().ok_or(Malformed)?;
            raw.extend_from_slice(&(text.len() as u32).to_le_bytes());
            raw.extend_from_slice(text.as_bytes());
        }
        "BOOL" => raw.push(u8::from(data.as_bool().ok_or(Malformed)?)),
        "FP32" => raw.extend_from_slice(&(data.as_f64().ok_or(Malformed)? as f32).to_le_bytes()),
        "FP64" => raw.extend_from_slice(&data.as_f64().ok_or(Malformed)?.to_le_bytes()),
        _ => {
            let size = element_size(datatype).filter(|_| datatype.contains("INT")).ok_or(Malformed)?;
            let whole = data.as_i64().or_else(|| data.as_u64().map(|value| value as i64)).ok_or(Malformed)?;
            raw.extend_from_slice(&whole.to_le_bytes()[..size]);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HEAD: &str = r#"{"model_name":"m","outputs":[{"name":"A","datatype":"INT8","shape":[2],"parameters":{"binary_data_size":2}},{"name":"B","datatype":"FP32","shape":[1,2],"data":[[0.5],-1]}]}"#;

    #[test]
    fn json_and_binary_tensors_may_be_mixed() {
        let body = [HEAD.as_bytes(), &[7, 255]].concat();
        let found = of_body(&body, Some(HEAD.len())).unwrap_or_default();
        let read: Vec<_> = found.iter().map(|t| (&*t.name, &*t.datatype, t.shape.clone(), t.raw.to_vec())).collect();
        let floats = [0.5f32.to_le_bytes(), (-1f32).to_le_bytes()].concat();
        assert_eq!(read, [("A", "INT8", vec![2], vec![7, 255]), ("B", "FP32", vec![1, 2], floats)]);
        assert!(of_body(&body[..body.len() - 1], Some(HEAD.len())).is_err(), "a tensor is cut short");
        assert!(of_body(&body, Some(body.len() + 1)).is_err());
    }

    #[test]
    fn every_datatype_of_json_has_its_bytes() {
        let bytes = |datatype: &str, json: &str| packed(datatype, &serde_json::from_str(json).unwrap()).ok();
        assert_eq!(bytes("BOOL", "[true, false]"), Some(vec![1, 0]));
        assert_eq!(bytes("INT16", "[-2]"), Some(vec![0xfe, 0xff]));
        assert_eq!(bytes("UINT64", "[18446744073709551615]"), Some(vec![0xff; 8]));
        assert_eq!(bytes("FP64", "1"), Some(1f64.to_le_bytes().to_vec()));
        assert_eq!(bytes("BYTES", r#"["ab", ""]"#), Some(b"\x02\0\0\0ab\0\0\0\0".to_vec()));
        assert_eq!((bytes("INT32", "1.5"), bytes("FP16", "1"), bytes("BYTES", "1")), (None, None, None));
    }

    #[test]
    fn a_tensor_fills_part_of_its_room() {
        let tensor = |datatype: &'static str, shape: &[u64]| Tensor {
            name: "".into(),
            datatype: datatype.into(),
            shape: shape.to_vec(),
            raw: Cow::Borrowed(b""),
        };
        assert_eq!(tensor("FP16", &[1, 2]).part_of(b"abcdef"), Some(&b"abcd"[..]));
        assert_eq!(tensor("FP16", &[4]).part_of(b"abcdef"), None);
        assert_eq!(tensor("FP64", &[u64::MAX, 2]).part_of(b""), None);
        let texts = b"\x01\0\0\0a\x02\0\0\0bcrest of the room";
        assert_eq!(tensor("BYTES", &[2]).part_of(texts), Some(&texts[..11]));
        assert_eq!(tensor("BYTES", &[3]).part_of(texts), None);
    }

    proptest! {
        #[test]
        fn never_panics(body: Vec<u8>, length: Option<usize>, shape: Vec<u64>) {
            let _ = of_body(&body, length);
            let _ = of_message(&body);
            for datatype in ["BYTES", "FP32"] {
                let shape = shape.iter().map(|size| size % 1000).collect();
                let tensor = Tensor { name: "".into(), datatype: datatype.into(), shape, raw: Cow::Borrowed(b"") };
                let _ = tensor.part_of(&body);
            }
        }

        #[test]
        fn json_never_panics(values: Vec<i64>, datatype in prop::sample::select(vec!["FP32", "BYTES", "INT8", "X"])) {
            let _ = packed(datatype, &serde_json::json!(values));
        }
    }
}
