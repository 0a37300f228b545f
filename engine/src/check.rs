//! Whether an answer is the right one: sampled answers against the expected one of their payload.

mod compare;
mod tensor;

use crate::error::{Code, Failure};
use crate::http2::{PREFIX_LEN, frame};
use crate::inflate::{MAX_ANSWER, inflate};
use crate::payload::Pool;
use crate::plan::{Compare, SharedOutputs, Validate};
use compare::difference;
use std::borrow::Cow;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use tensor::Tensor;

/// Shared by all workers; says nothing of which answers are sampled.
pub struct Checker {
    /// Of each payload, or of each payload of a slot where outputs lie in shared memory: the expected responses, each
    /// with gRPC's prefix before it.
    expected: Arc<Pool>,
    pub every: u64,
    compare: Compare,
    shared: Option<SharedOutputs>,
}

/// Every so many requests one is looked at, the first included.
#[derive(Default)]
pub struct Sampler {
    left: u64,
}

impl Sampler {
    #[inline]
    pub fn is_next(&mut self, checker: &Checker) -> bool {
        let is_next = self.left == 0;
        self.left = if is_next { checker.every - 1 } else { self.left - 1 };
        is_next
    }
}

/// A whole answer over HTTP that is going to be compared.
#[derive(Debug, Default)]
pub struct Sample {
    pub payload: u32,
    pub body: Vec<u8>,
    pub json_len: Option<usize>,
    pub encoded: bool,
}

impl Sample {
    /// Of the headers only those that say how the body is to be read.
    pub fn header(&mut self, line: &[u8]) {
        let Some(colon) = line.iter().position(|&b| b == b':') else { return };
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        if name.eq_ignore_ascii_case(b"inference-header-content-length") {
            self.json_len = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
        } else if name.eq_ignore_ascii_case(b"content-encoding") {
            self.encoded = !value.eq_ignore_ascii_case(b"identity");
        }
    }

    pub fn keep(&mut self, body: &[u8]) {
        self.body.extend_from_slice(&body[..body.len().min(MAX_ANSWER - self.body.len())]);
    }
}

impl Checker {
    pub fn new(expected: Arc<Pool>, validate: &Validate) -> Checker {
        let (compare, shared) = (validate.compare.clone(), validate.shared.clone());
        Checker { expected, every: validate.every, compare, shared }
    }

    /// Compare one whole ModelInferResponse, the `number`-th of its request from 0, with the payload's.
    pub fn check(&self, payload: u32, number: u32, got: &[u8]) -> Result<(), Failure> {
        let mut expected = responses(self.expected_of(payload));
        let place = match number {
            0 if expected.clone().count() == 1 => format!("payload {payload}"),
            _ => format!("payload {payload}, response {}", number + 1),
        };
        let got = tensor::of_message(got).map_err(|_| "the answer is not a readable ModelInferResponse".to_owned());
        match expected.nth(number as usize) {
            Some(expected) => got.and_then(|got| self.compare(payload, expected, got)),
            None => Err("no more responses were expected".to_owned()),
        }
        .map_err(|what| wrong(&place, &what))
    }

    /// The request's last response has come.
    pub fn check_count(&self, payload: u32, got: u32) -> Result<(), Failure> {
        let expected = responses(self.expected_of(payload)).count();
        if got as usize == expected {
            return Ok(());
        }
        Err(wrong(&format!("payload {payload}"), &format!("expected {expected} responses, got {got}")))
    }

    /// Compare an answer over HTTP.
    pub fn check_body(&self, sample: &Sample) -> Result<(), Failure> {
        let plain = match sample.encoded {
            false => Some(Cow::Borrowed(&sample.body[..])),
            true => inflate(&sample.body, MAX_ANSWER).map(Cow::Owned),
        };
        let unreadable = || "the answer is not readable as KServe's JSON and binary tensors".to_owned();
        let expected = responses(self.expected_of(sample.payload)).next().unwrap_or_default();
        plain
            .ok_or_else(|| "the answer is not compressed as it says".to_owned())
            .and_then(|body| {
                let got = tensor::of_body(&body, sample.json_len).map_err(|_| unreadable())?;
                self.compare(sample.payload, expected, got)
            })
            .map_err(|what| wrong(&format!("payload {}", sample.payload), &what))
    }

    fn expected_of(&self, payload: u32) -> &[u8] {
        self.expected.get(payload % self.expected.len() as u32)
    }

    fn compare(&self, payload: u32, expected: &[u8], mut got: Vec<Tensor>) -> Result<(), String> {
        let expected = tensor::of_message(expected).map_err(|_| "the expected answer is not readable".to_owned())?;
        for tensor in &expected {
            let name = &tensor.name;
            let Some(other) = got.iter_mut().find(|other| other.name == *name) else {
                return Err(format!("output {name} is missing"));
            };
            if (&other.datatype, &other.shape) != (&tensor.datatype, &tensor.shape) {
                let of = |t: &Tensor| format!("{} {:?}", t.datatype, t.shape);
                return Err(format!("output {name} expected {}, got {}", of(tensor), of(other)));
            }
            if let Some(shared) = &self.shared {
                let slot = payload as usize / self.expected.len();
                other.raw = Cow::Owned(read_shared(shared, slot, other)?);
            }
            if let Some((index, expected, got)) = difference(&self.compare, tensor, other) {
                return Err(format!("output {name}{index} expected {expected}, got {got}"));
            }
        }
        Ok(())
    }
}

fn wrong(place: &str, what: &str) -> Failure {
    Failure::new(Code::WrongOutput, format!("{place}: {what}"))
}

/// Messages that stand behind each other, each with gRPC's prefix.
fn responses(framed: &[u8]) -> impl Iterator<Item = &[u8]> + Clone {
    let mut rest = framed;
    std::iter::from_fn(move || {
        let (prefix, after) = rest.split_first_chunk::<PREFIX_LEN>()?;
        let (message, after) = after.split_at_checked(frame::u32_at(&prefix[1..]) as usize)?;
        rest = after;
        Some(message)
    })
}

/// What the server wrote into the slot's region, without the room that it left.
fn read_shared(shared: &SharedOutputs, slot: usize, tensor: &Tensor) -> Result<Vec<u8>, String> {
    let name = &tensor.name;
    let place = shared.outputs.iter().find(|place| place.name == *name);
    let (Some(place), Some(path)) = (place, shared.regions.get(slot)) else {
        return Err(format!("output {name} has no place in shared memory"));
    };
    let mut room = vec![0; place.size];
    let read = File::open(path).and_then(|file| file.read_exact_at(&mut room, place.offset));
    read.map_err(|error| format!("output {name} cannot be read from {path}: {error}"))?;
    let length = tensor.part_of(&room).map(<[u8]>::len);
    room.truncate(length.ok_or_else(|| format!("output {name} does not fit its {} bytes", place.size))?);
    Ok(room)
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
        checker_of(&[&expected], compare)
    }

    fn checker_of(expected: &[&[u8]], compare: Compare) -> Checker {
        let framed =
            expected.iter().flat_map(|message| [&[0][..], &(message.len() as u32).to_be_bytes(), message].concat());
        Checker { expected: Arc::new(Pool::new([framed.collect::<Vec<u8>>()])), every: 1, compare, shared: None }
    }

    fn floats(values: &[f32]) -> Vec<u8> {
        values.iter().flat_map(|v| v.to_le_bytes()).collect()
    }

    fn verdict(compare: Compare, expected: &[f32], got: &[f32]) -> Result<(), String> {
        let of = |values: &[f32]| response("FP32", &[2, 2], &floats(values));
        checker(of(expected), compare).check(0, 0, &of(got)).map_err(|f| f.message)
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
        let of = |got: &[u8]| checker(sound.clone(), Compare::Exact).check(0, 0, got).map_err(|f| f.message);
        assert_eq!(of(&sound), Ok(()));
        assert!(of(&response("INT8", &[2], &[1, 1])).unwrap_err().ends_with("OUT[1] expected -1, got 1"));
        assert!(of(&response("INT8", &[1, 2], &[1, 0xff])).unwrap_err().contains("INT8 [2], got INT8 [1, 2]"));
        assert!(of(&response("INT8", &[2], &[1])).unwrap_err().contains("expected byte 0xff, got 1 bytes"));
        assert!(of(b"").unwrap_err().ends_with("output OUT is missing"));
        assert!(of(b"\x2a\x7f").unwrap_err().contains("not a readable"));
        let text = response("BYTES", &[1], b"\x02\0\0\0ab");
        let other = response("BYTES", &[1], b"\x02\0\0\0ac");
        assert!(
            checker(text, Compare::Exact).check(0, 0, &other).unwrap_err().message.contains("[5] expected byte 0x62")
        );
    }

    #[test]
    fn a_digest_stands_for_an_output() {
        let sound = response("BYTES", &[1], b"\x02\0\0\0ab");
        let digest = ring::digest::digest(&ring::digest::SHA256, b"\x02\0\0\0ab");
        let of = |got: &[u8]| {
            let expected = response("BYTES", &[1], digest.as_ref());
            checker(expected, Compare::Digest).check(0, 0, got).map_err(|f| f.message)
        };
        assert_eq!(of(&sound), Ok(()));
        let message = of(&response("BYTES", &[1], b"\x02\0\0\0ac")).unwrap_err();
        assert!(message.starts_with("payload 0: output OUT expected sha256 ") && message.contains(", got sha256 "));
    }

    #[test]
    fn the_responses_of_a_stream_are_compared_in_order() {
        let parts: Vec<Vec<u8>> = (1..4).map(|n| response("INT8", &[1], &[n])).collect();
        let checker = checker_of(&[&parts[0], &parts[1], &parts[2]], Compare::Exact);
        for (number, part) in parts.iter().enumerate() {
            assert_eq!(checker.check(0, number as u32, part), Ok(()));
        }
        let message = |outcome: Result<(), Failure>| outcome.unwrap_err().message;
        assert_eq!(message(checker.check(0, 1, &parts[2])), "payload 0, response 2: output OUT[0] expected 2, got 3");
        assert_eq!(message(checker.check(0, 3, &parts[0])), "payload 0, response 4: no more responses were expected");
        assert_eq!(checker.check_count(0, 3), Ok(()));
        assert_eq!(message(checker.check_count(0, 2)), "payload 0: expected 3 responses, got 2");
    }

    #[test]
    fn answers_over_http_are_compared_with_the_same_messages() {
        let head = r#"{"outputs":[{"name":"OUT","datatype":"INT8","shape":[2],"parameters":{"binary_data_size":2}}]}"#;
        let checker = checker(response("INT8", &[2], &[1, 2]), Compare::Exact);
        let of = |body: &[u8], encoded| {
            let body = [head.as_bytes(), body].concat();
            let mut sample = Sample { encoded, ..Sample::default() };
            sample.header(format!("Inference-Header-Content-Length: {}", head.len()).as_bytes());
            sample.keep(&body);
            checker.check_body(&sample).map_err(|f| f.message)
        };
        assert_eq!(of(&[1, 2], false), Ok(()));
        assert_eq!(of(&[1, 3], false), Err("payload 0: output OUT[1] expected 2, got 3".to_owned()));
        assert_eq!(
            of(&[1], false),
            Err("payload 0: the answer is not readable as KServe's JSON and binary tensors".to_owned())
        );
        assert_eq!(of(&[1, 2], true), Err("payload 0: the answer is not compressed as it says".to_owned()));
    }

    #[test]
    fn outputs_in_shared_memory_are_read_from_the_slots_region() {
        let folder = std::env::temp_dir().join(format!("scenario-check-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let paths: Vec<String> = ["a", "b"].map(|name| folder.join(name).to_str().unwrap().to_owned()).into();
        std::fs::write(&paths[0], [9, 9, 1, 2, 9]).unwrap();
        std::fs::write(&paths[1], [9, 9, 1, 3, 9]).unwrap();
        let place = crate::plan::Place { name: "OUT".to_owned(), offset: 2, size: 3 };
        let mut checker = checker(response("INT8", &[2], &[1, 2]), Compare::Exact);
        checker.shared = Some(SharedOutputs { regions: paths, outputs: vec![place] });
        let of = |payload| checker.check(payload, 0, &response("INT8", &[2], b"")).map_err(|f| f.message);
        assert_eq!(of(0), Ok(()));
        assert_eq!(of(1), Err("payload 1: output OUT[1] expected 2, got 3".to_owned()));
        assert!(of(2).unwrap_err().contains("has no place in shared memory"));
        let body =
            br#"{"outputs":[{"name":"OUT","datatype":"INT8","shape":[2],"parameters":{"shared_memory_region":"x"}}]}"#;
        let of_body = |payload| {
            checker.check_body(&Sample { payload, body: body.to_vec(), ..Sample::default() }).map_err(|f| f.message)
        };
        assert_eq!((of_body(0), of_body(1)), (of(0), of(1)));
        std::fs::remove_dir_all(&folder).unwrap();
        assert!(of(0).unwrap_err().contains("cannot be read from"));
    }

    #[test]
    fn the_first_and_every_nth_are_sampled() {
        let mut sampler = Sampler::default();
        let checker = Checker { every: 3, ..checker(Vec::new(), Compare::Exact) };
        let sampled: Vec<bool> = (0..7).map(|_| sampler.is_next(&checker)).collect();
        assert_eq!(sampled, [true, false, false, true, false, false, true]);
    }

    proptest! {
        #[test]
        fn never_panics(expected: Vec<u8>, got: Vec<u8>) {
            for compare in [Compare::Exact, Compare::Tolerance { rtol: 0.1, atol: 0.1 }, Compare::Argmax, Compare::Digest] {
                let _ = checker(expected.clone(), compare).check(0, 0, &got);
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
            for compare in [Compare::Exact, Compare::Tolerance { rtol: 0.1, atol: 0.1 }, Compare::Argmax, Compare::Digest] {
                let _ = checker(a.clone(), compare).check(0, 0, &b);
            }
        }
    }
}
