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
mod tests;
