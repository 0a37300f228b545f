//! Reading an HTTP/1.1 response: its status, where its body ends, and whether the connection may be used again.

use crate::check::Sample;
use crate::error::{Code, Failure};

/// Status line, headers and trailers of one response, interim responses included.
const MAX_HEAD: usize = 64 * 1024;
/// What is kept of the body of a failed request, for its message.
const MAX_KEPT: usize = 4096;
const MAX_MESSAGE: usize = 500;
/// Beyond any body, and far enough from overflow.
const MAX_LENGTH: u64 = 1 << 60;

/// What the peer sent that HTTP/1.1 does not allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Violation(pub &'static str);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    StatusLine,
    Headers,
    /// A body of announced length: bytes still to come.
    Body(u64),
    ChunkSize,
    Chunk(u64),
    /// The line end behind a chunk.
    ChunkEnd,
    Trailers,
    UntilClose,
    Done,
}

/// How the headers say that the body ends.
#[derive(Debug, Default)]
struct Framing {
    length: Option<u64>,
    encoded: bool,
    chunked: bool,
    close: bool,
    keep_alive: bool,
    /// The last line could change one of these: it must not go on in a folded line.
    last_matters: bool,
}

#[derive(Debug)]
pub struct Response {
    part: Part,
    /// The beginning of a line whose end has not arrived.
    line: Vec<u8>,
    head_bytes: usize,
    status: u16,
    minor_version: u8,
    framing: Framing,
    kept: Vec<u8>,
    /// Answers to HEAD announce a body that never comes.
    bodiless: bool,
    /// Where the whole body goes, if somebody wants to look at it.
    pub sample: Option<Box<Sample>>,
}

impl Response {
    pub fn new(bodiless: bool) -> Response {
        Response {
            part: Part::StatusLine,
            line: Vec::new(),
            head_bytes: 0,
            status: 0,
            minor_version: 1,
            framing: Framing::default(),
            kept: Vec::new(),
            bodiless,
            sample: None,
        }
    }

    /// Ready for the next response on the same connection.
    pub fn reset(&mut self) {
        self.part = Part::StatusLine;
        self.line.clear();
        self.head_bytes = 0;
        self.framing = Framing::default();
        self.kept.clear();
        self.sample = None;
    }

    pub fn is_done(&self) -> bool {
        self.part == Part::Done
    }

    /// True before the first byte.
    pub fn is_untouched(&self) -> bool {
        self.part == Part::StatusLine && self.head_bytes == 0
    }

    /// True when the peer will take another request on this connection.
    pub fn may_stay_open(&self) -> bool {
        let framing = &self.framing;
        self.is_done() && !framing.close && (self.minor_version >= 1 || framing.keep_alive)
    }

    /// Understand `input` up to the end of the response; returns how many bytes belong to it.
    pub fn feed(&mut self, input: &[u8]) -> Result<usize, Violation> {
        let mut rest = input;
        while !self.is_done() {
            match self.part {
                Part::Body(left) | Part::Chunk(left) => {
                    let take = left.min(rest.len() as u64);
                    let (now, later) = rest.split_at(take as usize);
                    self.keep(now);
                    rest = later;
                    self.part = match (self.part, left - take) {
                        (Part::Body(_), 0) => Part::Done,
                        (Part::Body(_), left) => Part::Body(left),
                        (_, 0) => Part::ChunkEnd,
                        (_, left) => Part::Chunk(left),
                    };
                    if left > take {
                        break;
                    }
                }
                Part::UntilClose => {
                    self.keep(rest);
                    rest = &[];
                    break;
                }
                _ => match self.take_line(&mut rest)? {
                    true => {}
                    false => break,
                },
            }
        }
        Ok(input.len() - rest.len())
    }

    /// The connection ended; true if that completes the response.
    pub fn end(&mut self) -> bool {
        if self.part == Part::UntilClose {
            self.part = Part::Done;
            self.framing.close = true;
        }
        self.is_done()
    }

    /// Handle one line if its end has arrived.
    fn take_line(&mut self, rest: &mut &[u8]) -> Result<bool, Violation> {
        let end = rest.iter().position(|&b| b == b'\n');
        let taken = end.map_or(rest.len(), |end| end + 1);
        self.head_bytes += taken;
        if self.head_bytes > MAX_HEAD {
            return Err(Violation("a response head of more than 64 KiB"));
        }
        let (now, later) = rest.split_at(taken);
        *rest = later;
        if end.is_none() {
            self.line.extend_from_slice(now);
            return Ok(false);
        }
        if self.line.is_empty() {
            self.line_is(trim_end(now))?;
        } else {
            let mut line = std::mem::take(&mut self.line);
            line.extend_from_slice(now);
            self.line_is(trim_end(&line))?;
        }
        Ok(true)
    }

    fn line_is(&mut self, line: &[u8]) -> Result<(), Violation> {
        match self.part {
            Part::StatusLine => self.status_line(line),
            Part::Headers if line.is_empty() => self.head_ends(),
            Part::Headers => {
                if let Some(sample) = &mut self.sample {
                    sample.header(line);
                }
                self.framing.header(line)
            }
            Part::ChunkSize => {
                // Sizes and their line ends are framing, not head: a long body has any number of them.
                self.head_bytes = self.head_bytes.saturating_sub(line.len() + 2);
                self.part = match chunk_size(line)? {
                    0 => Part::Trailers,
                    size => Part::Chunk(size),
                };
                Ok(())
            }
            Part::ChunkEnd if line.is_empty() => {
                self.head_bytes = self.head_bytes.saturating_sub(2);
                self.part = Part::ChunkSize;
                Ok(())
            }
            Part::ChunkEnd => Err(Violation("a chunk longer than its size")),
            Part::Trailers => {
                if line.is_empty() {
                    self.part = Part::Done;
                }
                Ok(())
            }
            Part::Body(_) | Part::Chunk(_) | Part::UntilClose | Part::Done => unreachable!("not made of lines"),
        }
    }

    fn status_line(&mut self, line: &[u8]) -> Result<(), Violation> {
        const WRONG: Violation = Violation("something that is not an HTTP/1.1 response");
        let rest = line.strip_prefix(b"HTTP/1.").ok_or(WRONG)?;
        let [minor @ b'0'..=b'9', b' ', a @ b'1'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9', reason @ ..] = rest else {
            return Err(WRONG);
        };
        if !matches!(reason, [] | [b' ', ..]) {
            return Err(WRONG);
        }
        self.minor_version = minor - b'0';
        self.status = [a, b, c].iter().fold(0, |status, &&digit| status * 10 + u16::from(digit - b'0'));
        self.part = Part::Headers;
        Ok(())
    }

    fn head_ends(&mut self) -> Result<(), Violation> {
        let framing = &self.framing;
        self.part = match self.status {
            101 => return Err(Violation("a switch of protocols that nobody asked for")),
            // An interim response, such as 100 Continue: the real one follows.
            100..=199 => {
                self.framing = Framing::default();
                Part::StatusLine
            }
            204 | 304 => Part::Done,
            _ if self.bodiless => Part::Done,
            _ if framing.chunked => Part::ChunkSize,
            _ if framing.encoded => Part::UntilClose,
            _ => match framing.length {
                Some(0) => Part::Done,
                Some(length) => Part::Body(length),
                None => Part::UntilClose,
            },
        };
        Ok(())
    }

    /// Keep the beginning of the body of a failed request.
    #[inline]
    fn keep(&mut self, body: &[u8]) {
        if self.status >= 300 && self.kept.len() < MAX_KEPT {
            self.kept.extend_from_slice(&body[..body.len().min(MAX_KEPT - self.kept.len())]);
        }
        if let Some(sample) = &mut self.sample {
            sample.keep(body);
        }
    }

    /// The outcome of the request once the response is done.
    pub fn outcome(&self) -> Result<(), Failure> {
        if (200..300).contains(&self.status) {
            return Ok(());
        }
        Err(Failure::new(Code::Http(self.status), self.message()))
    }

    /// What the service says of a failure: KServe's `{"error": …}`, else the text itself.
    fn message(&self) -> String {
        let text = match serde_json::from_slice::<serde_json::Value>(&self.kept) {
            Ok(serde_json::Value::Object(fields)) => match fields.get("error") {
                Some(serde_json::Value::String(error)) => error.clone(),
                _ => String::from_utf8_lossy(&self.kept).into_owned(),
            },
            _ => String::from_utf8_lossy(&self.kept).into_owned(),
        };
        let text: String = text.trim().chars().take(MAX_MESSAGE).collect();
        if text.is_empty() { format!("HTTP status {}", self.status) } else { text }
    }
}

impl Framing {
    fn header(&mut self, line: &[u8]) -> Result<(), Violation> {
        if matches!(line[0], b' ' | b'\t') {
            let wrong = self.last_matters.then_some(Violation("a folded header that says how the body ends"));
            return wrong.map_or(Ok(()), Err);
        }
        let Some(colon) = line.iter().position(|&b| b == b':') else {
            return Err(Violation("a header line without a colon"));
        };
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        self.last_matters = true;
        if name.eq_ignore_ascii_case(b"content-length") {
            return self.content_length(value);
        }
        if name.eq_ignore_ascii_case(b"transfer-encoding") {
            for coding in value.split(|&b| b == b',').map(<[u8]>::trim_ascii).filter(|coding| !coding.is_empty()) {
                self.encoded = true;
                // Only the last coding says how the body ends.
                self.chunked = coding.eq_ignore_ascii_case(b"chunked");
            }
            // Both ways at once is how responses are smuggled: nothing behind this one can be trusted.
            self.close |= self.length.is_some();
            return Ok(());
        }
        if name.eq_ignore_ascii_case(b"connection") {
            for option in value.split(|&b| b == b',').map(<[u8]>::trim_ascii) {
                self.close |= option.eq_ignore_ascii_case(b"close");
                self.keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
            }
            return Ok(());
        }
        self.last_matters = false;
        Ok(())
    }

    fn content_length(&mut self, value: &[u8]) -> Result<(), Violation> {
        for text in value.split(|&b| b == b',').map(<[u8]>::trim_ascii) {
            let length = number(text, 10).ok_or(Violation("a Content-Length that is not a number"))?;
            if self.length.is_some_and(|known| known != length) {
                return Err(Violation("two different Content-Lengths"));
            }
            self.length = Some(length);
        }
        self.close |= self.encoded;
        Ok(())
    }
}

fn chunk_size(line: &[u8]) -> Result<u64, Violation> {
    let digits = line.split(|&b| b == b';').next().unwrap_or_default().trim_ascii();
    number(digits, 16).ok_or(Violation("a chunk size that is not a number"))
}

fn number(digits: &[u8], radix: u32) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0u64, |value, &digit| {
        let digit = (digit as char).to_digit(radix)?;
        Some(value * u64::from(radix) + u64::from(digit)).filter(|&value| value <= MAX_LENGTH)
    })
}

fn trim_end(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Feed in pieces of the given sizes; returns what was used.
    fn fed(response: &mut Response, bytes: &[u8], sizes: &[usize]) -> Result<usize, Violation> {
        let (mut at, mut sizes) = (0, sizes.iter().cycle());
        while at < bytes.len() && !response.is_done() {
            let to = bytes.len().min(at + *sizes.next().unwrap());
            let used = response.feed(&bytes[at..to])?;
            assert!(used == to - at || response.is_done());
            at += used;
        }
        Ok(at)
    }

    fn whole(text: &str) -> Response {
        let mut response = Response::new(false);
        let used = response.feed(text.as_bytes()).unwrap();
        assert_eq!((used, response.is_done()), (text.len(), true), "{text:?}");
        response
    }

    #[test]
    fn every_way_to_end_a_body() {
        for (text, stays) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", true),
            ("HTTP/1.1 200 OK\r\ncontent-length:3, 3\r\nCONTENT-LENGTH: 3\r\n\r\nabc", true),
            ("HTTP/1.1 200\r\nContent-Length: 0\r\nConnection: Keep-Alive, x\r\n\r\n", true),
            ("HTTP/1.1 204 No Content\r\n\r\n", true),
            (
                "HTTP/1.1 200 OK\nTransfer-Encoding: gzip, Chunked\n\n3;a=b\nabc\n0A\n0123456789\n0\nTrailer: x\n\n",
                true,
            ),
            ("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\nx", false),
            ("HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\nx", false),
            ("HTTP/1.0 200 OK\r\nContent-Length: 1\r\nConnection: keep-alive\r\n\r\nx", true),
            ("HTTP/1.1 200 OK\r\nContent-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", false),
            (
                "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
                true,
            ),
            ("HTTP/1.1 200 OK\r\nX-Long: a\r\n  folded\r\nContent-Length: 0\r\n\r\n", true),
        ] {
            let response = whole(text);
            assert_eq!((response.outcome(), response.may_stay_open()), (Ok(()), stays), "{text:?}");
        }
    }

    #[test]
    fn a_body_without_an_announced_end_ends_with_the_connection() {
        for head in ["HTTP/1.1 200 OK\r\n\r\n", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n"] {
            let mut response = Response::new(false);
            response.feed(head.as_bytes()).unwrap();
            response.feed(b"abc").unwrap();
            assert!(!response.is_done() && response.end());
            assert_eq!((response.outcome(), response.may_stay_open()), (Ok(()), false));
        }
        let mut cut = Response::new(false);
        cut.feed(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nabc").unwrap();
        assert!(!cut.end());
    }

    #[test]
    fn head_has_no_body() {
        let mut response = Response::new(true);
        assert_eq!(response.feed(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n"), Ok(38));
        assert!(response.is_done());
    }

    #[test]
    fn failures_keep_what_the_service_says() {
        for (body, message) in [
            (r#"{"error": "unknown model 'x'"}"#, "unknown model 'x'"),
            ("  plain text ", "plain text"),
            ("{\"detail\": 1}", "{\"detail\": 1}"),
            ("", "HTTP status 503"),
        ] {
            let text = format!("HTTP/1.1 503 Busy\r\nContent-Length: {}\r\n\r\n{body}", body.len());
            assert_eq!(whole(&text).outcome(), Err(Failure::new(Code::Http(503), message)));
        }
    }

    #[test]
    fn what_http_does_not_allow_is_refused() {
        for text in [
            "HTTP/2 200 OK\r\n",
            "HTTP/1.1 2000 OK\r\n",
            "HTTP/1.1 099 X\r\n",
            "SSH-2.0-OpenSSH\r\n",
            "\r\n",
            "HTTP/1.1 101 Switching Protocols\r\n\r\n",
            "HTTP/1.1 200 OK\r\nnonsense\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: \r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n 2\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffffff\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n",
        ] {
            assert!(Response::new(false).feed(text.as_bytes()).is_err(), "{text:?}");
        }
        let mut endless = Response::new(false);
        endless.feed(b"HTTP/1.1 200 OK\r\n").unwrap();
        assert!((0..2000).any(|_| endless.feed(b"X-Padding: 0123456789012345678901234567890123456789\r\n").is_err()));
        assert!(Response::new(false).feed(&[b'H'; MAX_HEAD + 1]).is_err());
        let mut interim = Response::new(false);
        assert!((0..5000).any(|_| interim.feed(b"HTTP/1.1 100 Continue\r\n\r\n").is_err()));
    }

    #[test]
    fn any_number_of_chunks_is_not_a_long_head() {
        let mut response = Response::new(false);
        response.feed(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").unwrap();
        for _ in 0..100_000 {
            response.feed(b"1\r\nx\r\n").unwrap();
        }
        response.feed(b"0\r\n\r\n").unwrap();
        assert!(response.is_done());
    }

    const HEADS: [&str; 5] =
        ["HTTP/1.1 200 OK", "Content-Length: 12", "Transfer-Encoding: chunked", "Connection: close", "X: y"];

    proptest! {
        #[test]
        fn outcomes_do_not_depend_on_how_bytes_arrive(
            chunks in prop::collection::vec(1usize..300, 0..6), chunked: bool, status in 200u16..600, sizes in prop::collection::vec(1usize..40, 1..30),
        ) {
            let body: Vec<u8> = (0..chunks.iter().sum()).map(|n| n as u8).collect();
            let mut text = format!("HTTP/1.1 {status} Some Reason\r\nX-A: b\r\n").into_bytes();
            if chunked {
                text.extend_from_slice(b"Transfer-Encoding: chunked\r\n\r\n");
                let mut rest = &body[..];
                for &size in &chunks {
                    text.extend_from_slice(format!("{size:x}\r\n").as_bytes());
                    text.extend_from_slice(&rest[..size]);
                    text.extend_from_slice(b"\r\n");
                    rest = &rest[size..];
                }
                text.extend_from_slice(b"0\r\n\r\n");
            } else {
                text.extend_from_slice(format!("Content-Length: {}\r\n\r\n", body.len()).as_bytes());
                text.extend_from_slice(&body);
            }
            prop_assume!(status != 204 && status != 304);
            let len = text.len();
            text.extend_from_slice(b"HTTP/1.1 next");
            let (mut once, mut pieces) = (Response::new(false), Response::new(false));
            prop_assert_eq!(once.feed(&text), Ok(len));
            prop_assert_eq!(fed(&mut pieces, &text, &sizes), Ok(len));
            prop_assert!(once.is_done() && pieces.is_done());
            prop_assert_eq!(once.outcome(), pieces.outcome());
            prop_assert_eq!(once.outcome().is_ok(), status < 300);
        }

        #[test]
        fn never_panics(parts: Vec<Vec<u8>>) {
            let mut response = Response::new(false);
            let _ = parts.iter().try_for_each(|part| response.feed(part).map(|_| ()));
            let _ = (response.end(), response.may_stay_open(), response.outcome());
        }

        #[test]
        fn never_panics_behind_likely_lines(lines in prop::collection::vec(0usize..6, 0..12), tail: Vec<u8>, sizes in prop::collection::vec(1usize..9, 1..9)) {
            let mut text = b"HTTP/1.1 200 OK\r\n".to_vec();
            for line in lines {
                text.extend_from_slice(HEADS.get(line).unwrap_or(&"").as_bytes());
                text.extend_from_slice(b"\r\n");
            }
            text.extend_from_slice(&tail);
            let mut response = Response::new(false);
            let _ = fed(&mut response, &text, &sizes);
            let _ = response.outcome();
        }
    }
}
