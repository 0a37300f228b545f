//! Reading a gRPC response: message boundaries and the status, nothing else.

use crate::error::{Code, Failure};
use crate::http2::hpack::Fields;
use crate::http2::{PREFIX_LEN, Violation, frame};
use crate::inflate::{MAX_ANSWER, inflate};

/// Finds message boundaries in however the bytes arrive.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Messages {
    prefix: [u8; PREFIX_LEN],
    have: usize,
    /// Bytes of the current message still to come.
    left: u64,
    /// Whole messages so far.
    pub complete: u64,
}

impl Messages {
    pub fn feed(&mut self, mut bytes: &[u8]) -> Result<(), Violation> {
        while !bytes.is_empty() {
            if self.have < PREFIX_LEN {
                let take = bytes.len().min(PREFIX_LEN - self.have);
                self.prefix[self.have..self.have + take].copy_from_slice(&bytes[..take]);
                self.have += take;
                bytes = &bytes[take..];
                if self.have < PREFIX_LEN {
                    return Ok(());
                }
                if self.prefix[0] > 1 {
                    return Err(Violation::protocol("a gRPC message with an unknown flag"));
                }
                self.left = u64::from(frame::u32_at(&self.prefix[1..]));
            }
            let take = self.left.min(bytes.len() as u64);
            self.left -= take;
            bytes = &bytes[take as usize..];
            if self.left == 0 {
                self.complete += 1;
                self.have = 0;
            }
        }
        Ok(())
    }

    /// True within a message.
    pub fn is_partial(&self) -> bool {
        self.have > 0
    }
}

const UNREADABLE: Violation = Violation::protocol("a compressed gRPC message that is neither gzip nor deflate");

/// Puts whole messages together, where their content matters.
#[derive(Debug, Default)]
pub struct Collector {
    buffer: Vec<u8>,
}

impl Collector {
    /// Every message that these bytes complete goes to `on_message`.
    pub fn feed(
        &mut self,
        bytes: &[u8],
        mut on_message: impl FnMut(&[u8]) -> Result<(), Violation>,
    ) -> Result<(), Violation> {
        self.buffer.extend_from_slice(bytes);
        let mut rest = &self.buffer[..];
        while let Some((prefix, body)) = rest.split_first_chunk::<PREFIX_LEN>() {
            let len = frame::u32_at(&prefix[1..]) as usize;
            if len > MAX_ANSWER {
                return Err(Violation::protocol("a gRPC message of more than 1 GiB"));
            }
            let Some((message, after)) = body.split_at_checked(len) else { break };
            match prefix[0] {
                0 => on_message(message)?,
                _ => on_message(&inflate(message, MAX_ANSWER).ok_or(UNREADABLE)?)?,
            }
            rest = after;
        }
        let used = self.buffer.len() - rest.len();
        self.buffer.drain(..used);
        Ok(())
    }
}

/// What has come back on one stream.
#[derive(Debug, Default)]
pub struct Response {
    pub fields: Fields,
    pub messages: Messages,
    /// Only where messages are read.
    pub collector: Option<Box<Collector>>,
    /// Responses of a stream's request compared so far, where they are.
    pub compared: Option<u32>,
    /// What was wrong with a message that was looked at.
    pub wrong: Option<Box<Failure>>,
    /// Flow-control bytes of this stream not yet given back to the peer.
    pub unacknowledged: u32,
}

impl Response {
    /// The outcome of a unary call once the stream has ended.
    pub fn outcome(self) -> Result<(), Failure> {
        let http = self.fields.http_status.unwrap_or(0);
        match self.fields.grpc_status {
            _ if http != 200 && self.fields.grpc_status.is_none() => {
                Err(Failure::new(Code::Http(http), format!("HTTP status {http} without a gRPC status")))
            }
            None => Err(Failure::new(Code::ProtocolError, "the response ended without a gRPC status")),
            Some(0) if http != 200 => Err(Failure::new(Code::Http(http), format!("HTTP status {http}"))),
            Some(0) if self.messages.is_partial() => Err(truncated("in the middle of a message")),
            Some(0) if self.messages.complete == 1 => self.wrong.map_or(Ok(()), |failure| Err(*failure)),
            Some(0) => Err(truncated(&format!("after {} messages, expected 1", self.messages.complete))),
            Some(status) => Err(Failure::new(Code::from_grpc(status), self.message(status))),
        }
    }

    /// The outcome of the request on a stream that the server ended before the request's last response.
    pub fn cut_short(self) -> Failure {
        let ended = "the server ended the stream before the last response of a request";
        match self.fields.grpc_status {
            Some(status @ 1..) => Failure::new(Code::from_grpc(status), self.message(status)),
            _ => Failure::new(Code::ProtocolError, ended),
        }
    }

    fn message(self, status: u32) -> String {
        match self.fields.grpc_message {
            Some(message) => percent_decode(&message),
            None => format!("gRPC status {status} without a message"),
        }
    }
}

fn truncated(place: &str) -> Failure {
    Failure::new(Code::ProtocolError, format!("the response ended {place} though its status is OK"))
}

/// What a stream that the peer reset counts as: the mapping of the gRPC specification.
pub fn reset(code: u32) -> Failure {
    let mapped = match code {
        frame::REFUSED_STREAM => Code::UNAVAILABLE,
        frame::CANCEL => Code::CANCELLED,
        frame::ENHANCE_YOUR_CALM => Code::RESOURCE_EXHAUSTED,
        frame::INADEQUATE_SECURITY => Code::PERMISSION_DENIED,
        _ => Code::INTERNAL,
    };
    Failure::new(mapped, format!("the server reset the stream with {}", frame::error_name(code)))
}

/// gRPC percent-encodes messages; whatever is not decodable stays as it is.
fn percent_decode(text: &[u8]) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&first, after)) = rest.split_first() {
        let hex = after.get(..2).filter(|_| first == b'%').and_then(|hex| std::str::from_utf8(hex).ok());
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn response(http: u16, grpc: Option<u32>, body: &[u8]) -> Response {
        let fields = Fields { http_status: Some(http), grpc_status: grpc, grpc_message: Some(b"a%20b%2".to_vec()) };
        let mut response = Response { fields, ..Default::default() };
        response.messages.feed(body).unwrap();
        response
    }

    #[test]
    fn only_one_whole_message_with_status_zero_is_ok() {
        let code = |http, grpc, body: &[u8]| response(http, grpc, body).outcome().map_err(|f| f.code.to_string());
        assert_eq!(code(200, Some(0), b"\0\0\0\0\x01x"), Ok(()));
        assert_eq!(code(200, Some(0), b"\0\0\0\0\0"), Ok(()));
        for (http, grpc, body, expected) in [
            (200, Some(0), &b""[..], "protocol_error"),
            (200, Some(0), b"\0\0\0\0\x02x", "protocol_error"),
            (200, Some(0), b"\0\0\0\0\0\0\0\0\0\0", "protocol_error"),
            (200, None, b"\0\0\0\0\0", "protocol_error"),
            (200, Some(8), b"", "resource_exhausted"),
            (200, Some(99), b"", "unknown"),
            (503, None, b"", "http_503"),
            (503, Some(0), b"\0\0\0\0\0", "http_503"),
            (503, Some(14), b"", "unavailable"),
        ] {
            assert_eq!(code(http, grpc, body), Err(expected.to_owned()));
        }
    }

    #[test]
    fn messages_are_percent_decoded() {
        assert_eq!(response(200, Some(13), b"").outcome().unwrap_err().message, "a b%2");
        assert_eq!(percent_decode(b"100%"), "100%");
        assert_eq!(percent_decode("%C3%A9%ff".as_bytes()), "\u{e9}\u{fffd}");
    }

    #[test]
    fn resets_map_to_statuses() {
        assert_eq!(reset(frame::REFUSED_STREAM).code, Code::UNAVAILABLE);
        assert_eq!(reset(77).message, "the server reset the stream with an unknown error code");
    }

    proptest! {
        #[test]
        fn boundaries_do_not_depend_on_how_bytes_arrive(lens in prop::collection::vec(0usize..50, 0..8), cuts in prop::collection::vec(1usize..20, 1..40)) {
            let mut body = Vec::new();
            for len in &lens {
                body.extend_from_slice(&[0, 0, 0, 0, *len as u8]);
                body.resize(body.len() + len, 7);
            }
            let mut messages = Messages::default();
            let (mut rest, mut cuts) = (&body[..], cuts.iter().cycle());
            while !rest.is_empty() {
                let (now, later) = rest.split_at(rest.len().min(*cuts.next().unwrap()));
                messages.feed(now).unwrap();
                rest = later;
            }
            prop_assert_eq!((messages.complete, messages.is_partial()), (lens.len() as u64, false));
        }

        #[test]
        fn messages_are_collected_however_they_arrive(contents: Vec<Vec<u8>>, cuts in prop::collection::vec(1usize..20, 1..40)) {
            let mut body = Vec::new();
            for content in &contents {
                body.push(0);
                body.extend_from_slice(&(content.len() as u32).to_be_bytes());
                body.extend_from_slice(content);
            }
            let mut collector = Collector::default();
            let (mut rest, mut cuts, mut got) = (&body[..], cuts.iter().cycle(), Vec::new());
            while !rest.is_empty() {
                let (now, later) = rest.split_at(rest.len().min(*cuts.next().unwrap()));
                collector.feed(now, |message| { got.push(message.to_vec()); Ok(()) }).unwrap();
                rest = later;
            }
            prop_assert_eq!(got, contents);
        }

        #[test]
        fn never_panics(parts: Vec<Vec<u8>>) {
            let mut messages = Messages::default();
            let _ = parts.iter().try_for_each(|part| messages.feed(part));
            let mut collector = Collector::default();
            let _ = parts.iter().try_for_each(|part| collector.feed(part, |_| Ok(())));
        }
    }
}
