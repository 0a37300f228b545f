//! The little of KServe's protobuf that the engine itself writes and reads; tensors are never re-encoded.

pub mod json;

use crate::sequences::Correlation;

/// Bytes appended to a ready message: protobuf fields may come in any order, so a request becomes another one by what
/// stands behind it.
pub type Suffix = Option<Box<[u8]>>;

const PARAMETERS: u8 = 4 << 3 | 2;
const BYTES: u8 = 2;
/// `bool_param` and `int64_param` of an InferParameter.
const BOOL: u8 = 1 << 3;
const INT64: u8 = 2 << 3;

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// One entry of the request's parameter map.
fn parameter(out: &mut Vec<u8>, key: &str, kind: u8, value: u64) {
    let mut scalar = vec![kind];
    varint(&mut scalar, value);
    let len = 2 + key.len() + 2 + scalar.len();
    out.extend_from_slice(&[PARAMETERS, len as u8, 1 << 3 | BYTES, key.len() as u8]);
    out.extend_from_slice(key.as_bytes());
    out.extend_from_slice(&[2 << 3 | BYTES, scalar.len() as u8]);
    out.extend_from_slice(&scalar);
}

/// What makes a message the one of a sequence: its id, and whether it is the first or the last.
pub fn of_sequence(correlation: Correlation) -> Box<[u8]> {
    let mut out = Vec::with_capacity(80);
    parameter(&mut out, "sequence_id", INT64, correlation.id);
    if correlation.start {
        parameter(&mut out, "sequence_start", BOOL, 1);
    }
    if correlation.end {
        parameter(&mut out, "sequence_end", BOOL, 1);
    }
    out.into_boxed_slice()
}

/// Not protobuf.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

/// The fields of a message, one after the other.
#[derive(Clone)]
pub struct Fields<'a>(&'a [u8]);

pub fn fields(message: &[u8]) -> Fields<'_> {
    Fields(message)
}

impl<'a> Fields<'a> {
    pub fn is_over(&self) -> bool {
        self.0.is_empty()
    }

    /// The next bytes as a number without a tag: an element of a packed field.
    pub fn number(&mut self) -> Result<u64, Malformed> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let (&byte, rest) = self.0.split_first().ok_or(Malformed)?;
            self.0 = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Malformed)
    }

    fn take(&mut self, len: u64) -> Result<&'a [u8], Malformed> {
        let len = usize::try_from(len).map_err(|_| Malformed)?;
        let (taken, rest) = self.0.split_at_checked(len).ok_or(Malformed)?;
        self.0 = rest;
        Ok(taken)
    }

    fn field(&mut self) -> Result<(u64, Value<'a>), Malformed> {
        let tag = self.number()?;
        let value = match tag & 7 {
            0 => Value::Number(self.number()?),
            1 => Value::Bytes(self.take(8)?),
            2 => {
                let len = self.number()?;
                Value::Bytes(self.take(len)?)
            }
            5 => Value::Bytes(self.take(4)?),
            _ => return Err(Malformed),
        };
        Ok((tag >> 3, value))
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u64, Value<'a>), Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.0 = &[];
        }
        Some(field)
    }
}

/// One message of a ModelStreamInfer call.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct StreamAnswer<'a> {
    pub error: Option<&'a [u8]>,
    /// What `triton_final_response` says; a model that is not decoupled says nothing.
    pub last: Option<bool>,
    /// Has an output: the marker of an end alone is no response.
    pub has_output: bool,
    /// The ModelInferResponse.
    pub response: Option<&'a [u8]>,
}

impl<'a> StreamAnswer<'a> {
    pub fn parse(message: &'a [u8]) -> Result<StreamAnswer<'a>, Malformed> {
        let mut answer = StreamAnswer::default();
        for field in fields(message) {
            match field? {
                (1, Value::Bytes(text)) if !text.is_empty() => answer.error = Some(text),
                (2, Value::Bytes(response)) => {
                    answer.response = Some(response);
                    answer.read_response(response)?;
                }
                _ => {}
            }
        }
        Ok(answer)
    }

    /// True when no more messages about the request follow.
    pub fn is_last(&self) -> bool {
        self.last != Some(false)
    }

    fn read_response(&mut self, response: &[u8]) -> Result<(), Malformed> {
        for field in fields(response) {
            match field? {
                (4, Value::Bytes(entry)) => self.read_parameter(entry)?,
                (5 | 6, _) => self.has_output = true,
                _ => {}
            }
        }
        Ok(())
    }

    fn read_parameter(&mut self, entry: &[u8]) -> Result<(), Malformed> {
        let (mut is_marker, mut marked) = (false, false);
        for field in fields(entry) {
            match field? {
                (1, Value::Bytes(key)) => is_marker = key == b"triton_final_response",
                (2, Value::Bytes(value)) => marked = fields(value).any(|f| matches!(f, Ok((1, Value::Number(1))))),
                _ => {}
            }
        }
        if is_marker {
            self.last = Some(marked);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bytes_field(number: u8, content: &[u8]) -> Vec<u8> {
        [&[number << 3 | 2, content.len() as u8][..], content].concat()
    }

    fn marker(last: bool) -> Vec<u8> {
        let value: &[u8] = if last { &[8, 1] } else { &[8, 0] };
        bytes_field(4, &[bytes_field(1, b"triton_final_response"), bytes_field(2, value)].concat())
    }

    #[test]
    fn a_suffix_is_what_protobuf_would_write() {
        let expected = b"\x22\x12\x0a\x0bsequence_id\x12\x03\x10\xac\x02\x22\x14\x0a\x0esequence_start\x12\x02\x08\x01";
        assert_eq!(&*of_sequence(Correlation { id: 300, start: true, end: false }), expected);
        assert!(
            of_sequence(Correlation { id: 1, start: false, end: true })
                .ends_with(b"\x22\x12\x0a\x0csequence_end\x12\x02\x08\x01")
        );
        assert_eq!(of_sequence(Correlation { id: u64::MAX >> 1, start: false, end: false }).len(), 27);
    }

    #[test]
    fn stream_messages_say_whether_they_are_the_last() {
        let of = |response: &[u8]| {
            let message = bytes_field(2, response);
            let answer = StreamAnswer::parse(&message).unwrap();
            (answer.is_last(), answer.has_output)
        };
        assert_eq!(of(&[marker(false), bytes_field(5, b"")].concat()), (false, true));
        assert_eq!(of(&[bytes_field(6, b"x"), marker(true)].concat()), (true, true));
        assert_eq!(of(&marker(true)), (true, false));
        assert_eq!(of(&bytes_field(5, b"")), (true, true), "not decoupled: one response and no marker");
        assert_eq!(StreamAnswer::parse(&bytes_field(1, b"no")).unwrap().error, Some(&b"no"[..]));
        assert_eq!(StreamAnswer::parse(b"\x0a\x05abc"), Err(Malformed));
    }

    proptest! {
        #[test]
        fn never_panics(bytes: Vec<u8>) {
            let _ = StreamAnswer::parse(&bytes);
            prop_assert!(fields(&bytes).count() <= bytes.len());
        }

        #[test]
        fn what_is_written_can_be_read(id in 0..u64::MAX >> 1, start: bool, end: bool) {
            let suffix = of_sequence(Correlation { id, start, end });
            let entries: Result<Vec<_>, _> = fields(&suffix).collect();
            prop_assert_eq!(entries.unwrap().len(), 1 + usize::from(start) + usize::from(end));
        }
    }
}
