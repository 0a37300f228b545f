//! The client side of one HTTP/2 connection as a state machine: bytes in, events and bytes out.

mod receive;
mod streaming;

use super::frame::{self, Header};
use super::hpack::{Decoder, Head};
use super::outbox::{LARGE, Outbox};
use super::{PREFIX_LEN, Violation};
use crate::check::{Checker, Sampler};
use crate::error::Failure;
use crate::grpc::response::Response;
use crate::kserve::Suffix;
use crate::payload::Pool;
use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

/// Largest frame the peer may send; frames other than DATA must fit into the reader's buffer.
pub const MAX_FRAME: usize = 64 * 1024;
const MAX_HEADER_BLOCK: usize = 256 * 1024;
/// A peer that wants more answers than this without reading them is not served further.
const MAX_ANSWERS: usize = 10_000;
/// Give the receive windows back once this much is used.
const WINDOW_GRAIN: u32 = 1 << 30;

#[derive(Debug)]
pub enum Event {
    /// The peer's SETTINGS arrived: requests may be sent.
    Ready,
    Done {
        token: u32,
        outcome: Result<(), Failure>,
    },
    /// The peer says that it will never look at this request: it may be sent elsewhere.
    Unprocessed {
        token: u32,
        payload: u32,
        suffix: Suffix,
    },
    /// Something of the answer has come, and its end not with it.
    First {
        token: u32,
    },
    /// One of the responses of a stream has come.
    Response {
        token: u32,
    },
}

/// What is done with the messages of a connection beyond counting them.
#[derive(Clone, Default)]
pub struct Manner {
    /// Streams stay open for the next request; a request ends with the message that says so.
    pub streaming: bool,
    /// Every so many answers are compared with the expected ones.
    pub checker: Option<Arc<Checker>>,
}

/// Stream ids are distinct small numbers: one multiplication spreads them well enough.
#[derive(Default)]
pub struct StreamHasher(u64);

impl Hasher for StreamHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {
        unreachable!("only u32 keys are hashed");
    }

    #[inline]
    fn write_u32(&mut self, id: u32) {
        self.0 = u64::from(id).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

struct Stream {
    token: u32,
    payload: u32,
    suffix: Suffix,
    /// Without a request; stays open for the next one.
    idle: bool,
    /// Bytes of the prefixed message already queued.
    queued: usize,
    window: i64,
    response: Response,
}

impl Stream {
    /// Length of the payload and of what is appended to it.
    #[inline]
    fn message_len(&self, pool: &Pool) -> usize {
        pool.get(self.payload).len() + self.suffix.as_ref().map_or(0, |suffix| suffix.len())
    }
}

/// The frame being received, where it is not received as a whole.
enum Receiving {
    Header,
    Data { stream: u32, left: usize, padding: usize, end_stream: bool },
}

pub struct Connection {
    pool: Arc<Pool>,
    pub outbox: Outbox,
    /// The messages of the pool are compressed: say so in each message's prefix.
    pub compressed: bool,
    head: Head,
    decoder: Decoder,
    streams: HashMap<u32, Stream, BuildHasherDefault<StreamHasher>>,
    next_stream: u32,
    initial_window: i64,
    max_frame: usize,
    max_streams: usize,
    /// As `max_streams`, by our own wish.
    own_max_streams: usize,
    send_window: i64,
    unacknowledged: u32,
    /// Streams with a body that the windows have not let out yet.
    blocked: VecDeque<u32>,
    receiving: Receiving,
    /// A header block that goes on in CONTINUATION frames: stream, END_STREAM, what has come so far.
    block: Option<(u32, bool, Vec<u8>)>,
    ready: bool,
    going_away: bool,
    pub manner: Manner,
    /// Requests too large to be written at once, all of them queued: token and the position behind the last byte.
    pub ends: VecDeque<(u32, u64)>,
    /// Open streams without a request.
    idle: Vec<u32>,
    sampler: Sampler,
    /// Streams whose answer began in the bytes being read, and has not ended there as far as is known.
    begun: Vec<u32>,
    /// Acknowledgements queued since the outbox was last empty.
    answers: usize,
}

impl Connection {
    pub fn new(pool: Arc<Pool>, head: Vec<(String, String)>, first_stream: u32) -> Connection {
        let mut connection = Connection {
            pool,
            outbox: Outbox::default(),
            compressed: false,
            head: Head::new(head),
            decoder: Decoder::default(),
            streams: HashMap::default(),
            next_stream: first_stream,
            initial_window: frame::DEFAULT_WINDOW,
            max_frame: frame::DEFAULT_MAX_FRAME,
            max_streams: usize::MAX,
            own_max_streams: usize::MAX,
            send_window: frame::DEFAULT_WINDOW,
            unacknowledged: 0,
            blocked: VecDeque::new(),
            receiving: Receiving::Header,
            block: None,
            ready: false,
            going_away: false,
            manner: Manner::default(),
            ends: VecDeque::new(),
            idle: Vec::new(),
            sampler: Sampler::default(),
            begun: Vec::new(),
            answers: 0,
        };
        connection.greet();
        connection
    }

    fn greet(&mut self) {
        let settings = frame::settings(&[
            (frame::ENABLE_PUSH, 0),
            (frame::INITIAL_WINDOW_SIZE, frame::MAX_WINDOW as u32),
            (frame::MAX_FRAME_SIZE, MAX_FRAME as u32),
        ]);
        self.outbox.put(frame::PREFACE);
        self.control(frame::SETTINGS, 0, 0, &settings);
        let increment = (frame::MAX_WINDOW - frame::DEFAULT_WINDOW) as u32;
        self.control(frame::WINDOW_UPDATE, 0, 0, &increment.to_be_bytes());
    }

    /// Acknowledge a frame, unless the peer only asks and never reads.
    fn answer(&mut self, kind: u8, payload: &[u8]) -> Result<(), Violation> {
        self.answers = if self.outbox.is_empty() { 0 } else { self.answers + 1 };
        if self.answers > MAX_ANSWERS {
            return Err(Violation { code: frame::ENHANCE_YOUR_CALM, what: "a flood of frames to answer" });
        }
        self.control(kind, frame::ACK, 0, payload);
        Ok(())
    }

    fn control(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        self.outbox.put(&frame::control(kind, flags, stream, payload));
    }

    /// Have no more streams open than this, whatever the peer allows.
    pub fn limit_streams(&mut self, limit: usize) {
        self.own_max_streams = limit;
        self.max_streams = self.max_streams.min(limit);
    }

    /// True while one more request may be opened.
    #[inline]
    pub fn has_room(&self) -> bool {
        self.ready && !self.is_draining() && (self.streams.len() < self.max_streams || !self.idle.is_empty())
    }

    /// True once no more requests will ever fit, although those in flight may still be answered.
    pub fn is_draining(&self) -> bool {
        self.going_away || self.next_stream > frame::MAX_STREAM_ID
    }

    /// Take no more requests.
    pub fn retire(&mut self) {
        self.going_away = true;
    }

    /// Make the peer answer without a request; returns the id that the next stream will have. An empty SETTINGS frame
    /// must be acknowledged like a PING, but gRPC servers count PINGs and end connections that send many.
    pub fn probe(&mut self) -> u32 {
        self.control(frame::SETTINGS, 0, 0, &[]);
        self.next_stream
    }

    pub fn is_ready(&self) -> bool {
        self.ready
    }

    pub fn in_flight(&self) -> usize {
        self.streams.len() - self.idle.len()
    }

    /// Queue a request on a new stream, whose id is returned; only while `has_room`.
    #[inline]
    pub fn open(&mut self, token: u32, payload: u32) -> u32 {
        self.open_with(token, payload, None)
    }

    /// As `open`, with bytes behind the payload.
    #[inline]
    pub fn open_with(&mut self, token: u32, payload: u32, suffix: Suffix) -> u32 {
        if let Some(id) = self.idle.pop() {
            self.reuse(id, token, payload, suffix);
            return id;
        }
        let id = self.next_stream;
        self.next_stream += 2;
        let head = &mut self.head;
        self.outbox.fill(|out| {
            let start = out.len();
            out.extend_from_slice(&[0; frame::HEADER_LEN]);
            head.encode(out);
            let len = out.len() - start - frame::HEADER_LEN;
            let header = Header { len, kind: frame::HEADERS, flags: frame::END_HEADERS, stream: id };
            out[start..start + frame::HEADER_LEN].copy_from_slice(&header.encode());
        });
        let window = self.initial_window;
        let mut stream =
            Stream { token, payload, suffix, idle: false, queued: 0, window, response: Response::default() };
        let sampled = self.is_sampled();
        if self.manner.streaming || sampled {
            stream.response.collector = Some(Box::default());
            stream.response.compared = sampled.then_some(0);
        }
        if !self.pump(id, &mut stream) {
            self.blocked.push_back(id);
        }
        self.streams.insert(id, stream);
        id
    }

    /// The next request on a stream that has answered the one before.
    fn reuse(&mut self, id: u32, token: u32, payload: u32, suffix: Suffix) {
        let Some(mut stream) = self.streams.remove(&id) else { return };
        stream = Stream { token, payload, suffix, idle: false, queued: 0, ..stream };
        stream.response.compared = self.is_sampled().then_some(0);
        if !self.pump(id, &mut stream) {
            self.blocked.push_back(id);
        }
        self.streams.insert(id, stream);
    }

    /// Whether the answer of the request being opened is looked at.
    #[inline]
    fn is_sampled(&mut self) -> bool {
        self.manner.checker.as_ref().is_some_and(|checker| self.sampler.is_next(checker))
    }

    /// Queue as much of the body as both windows allow; true when all of it is queued.
    #[inline]
    fn pump(&mut self, id: u32, stream: &mut Stream) -> bool {
        let (pool, flag) = (&self.pool, u8::from(self.compressed));
        let payload_end = PREFIX_LEN + pool.get(stream.payload).len();
        let message_len = stream.message_len(pool);
        let total = PREFIX_LEN + message_len;
        while stream.queued < total {
            let window = self.send_window.min(stream.window);
            if window <= 0 {
                return false;
            }
            let from = stream.queued;
            let len = (total - from).min(window as usize).min(self.max_frame);
            let to = from + len;
            let flags = if to == total && !self.manner.streaming { frame::END_STREAM } else { 0 };
            self.outbox.fill(|out| {
                out.extend_from_slice(&Header { len, kind: frame::DATA, flags, stream: id }.encode());
                if from < PREFIX_LEN {
                    let size = (message_len as u32).to_be_bytes();
                    let prefix = [flag, size[0], size[1], size[2], size[3]];
                    out.extend_from_slice(&prefix[from..to.min(PREFIX_LEN)]);
                }
            });
            if to > PREFIX_LEN && from < payload_end {
                let (from, to) = (from.max(PREFIX_LEN), to.min(payload_end));
                self.outbox.put_payload(pool, stream.payload, from - PREFIX_LEN, to - PREFIX_LEN);
            }
            if let Some(suffix) = stream.suffix.as_ref().filter(|_| to > payload_end) {
                self.outbox.put(&suffix[from.max(payload_end) - payload_end..to - payload_end]);
            }
            stream.queued = to;
            stream.window -= len as i64;
            self.send_window -= len as i64;
        }
        if total > LARGE {
            self.ends.push_back((stream.token, self.outbox.queued()));
        }
        true
    }

    fn pump_blocked(&mut self) {
        for _ in 0..self.blocked.len() {
            if self.send_window <= 0 {
                return;
            }
            let Some(id) = self.blocked.pop_front() else { return };
            if self.pump_again(id) == Some(false) {
                self.blocked.push_back(id);
            }
        }
    }

    /// As `pump`, or None where the stream has ended.
    fn pump_again(&mut self, id: u32) -> Option<bool> {
        let mut stream = self.streams.remove(&id)?;
        let all = self.pump(id, &mut stream);
        self.streams.insert(id, stream);
        Some(all)
    }

    /// Forget a request and tell the peer.
    pub fn cancel(&mut self, id: u32) {
        if self.streams.remove(&id).is_some() {
            self.control(frame::RST_STREAM, 0, id, &frame::CANCEL.to_be_bytes());
        }
    }

    /// End every request with the same failure.
    pub fn fail_all(&mut self, failure: &Failure, events: &mut Vec<Event>) {
        let streams = std::mem::take(&mut self.streams);
        self.idle.clear();
        let busy = streams.into_values().filter(|stream| !stream.idle);
        events.extend(busy.map(|s| Event::Done { token: s.token, outcome: Err(failure.clone()) }));
    }

    /// Tell the peer why the connection ends.
    pub fn goodbye(&mut self, code: u32) {
        let mut payload = [0; 8];
        payload[4..].copy_from_slice(&code.to_be_bytes());
        self.control(frame::GOAWAY, 0, 0, &payload);
    }
}

#[cfg(test)]
mod tests;
