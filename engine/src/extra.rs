//! What a slice holds beyond counts and latencies: sequences, responses of streams, the parts of a latency, records.

use crate::error::Code;
use crate::histogram::{Histogram, Pair, merge};
use std::collections::BTreeMap;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Extra {
    /// Sequences whose requests were all answered, and those that a failed request ended.
    pub sequences: u64,
    pub sequences_failed: u64,
    /// Requests that only end a sequence; no other count holds them.
    pub closing: u64,
    pub sequence_latency: Vec<Pair>,
    /// Responses of streams.
    pub responses: u64,
    pub first_response: Vec<Pair>,
    pub inter_response: Vec<Pair>,
    pub last_response: Vec<Pair>,
    pub responses_per_request: Vec<Pair>,
    /// Of successes: queue + write + wait + read is the sum of their latencies.
    pub queue_ns: u64,
    pub write_ns: u64,
    pub wait_ns: u64,
    pub read_ns: u64,
    pub records: Vec<u8>,
}

impl Extra {
    pub fn absorb(&mut self, mut other: Extra) {
        for (mine, its) in [
            (&mut self.sequences, other.sequences),
            (&mut self.sequences_failed, other.sequences_failed),
            (&mut self.closing, other.closing),
            (&mut self.responses, other.responses),
            (&mut self.queue_ns, other.queue_ns),
            (&mut self.write_ns, other.write_ns),
            (&mut self.wait_ns, other.wait_ns),
            (&mut self.read_ns, other.read_ns),
        ] {
            *mine += its;
        }
        for (mine, its) in [
            (&mut self.sequence_latency, &other.sequence_latency),
            (&mut self.first_response, &other.first_response),
            (&mut self.inter_response, &other.inter_response),
            (&mut self.last_response, &other.last_response),
            (&mut self.responses_per_request, &other.responses_per_request),
        ] {
            if !its.is_empty() {
                *mine = merge(mine, its);
            }
        }
        self.records.append(&mut other.records);
    }
}

/// Clock times of one request; `written` and `first` are 0 where nobody said when.
#[derive(Debug, Clone, Copy, Default)]
pub struct Times {
    pub intended: u64,
    pub sent: u64,
    pub written: u64,
    pub first: u64,
    pub done: u64,
}

/// One line of the records file: four offsets from the start, payload, status, worker; little-endian.
pub const RECORD_LEN: usize = 40;
/// Status of a record whose request had no outcome when the drain was over.
pub const UNFINISHED: u16 = 40;

/// The number that stands for an outcome in a record: 0 is success, then gRPC's own, then ours; HTTP statuses as they are.
pub fn status(outcome: Result<(), Code>) -> u16 {
    match outcome {
        Ok(()) => 0,
        Err(Code::Grpc(status)) => u16::from(status),
        Err(Code::Http(status)) => status,
        Err(Code::Timeout) => 32,
        Err(Code::ConnectRefused) => 33,
        Err(Code::ConnectFailed) => 34,
        Err(Code::ConnectionLost) => 35,
        Err(Code::ProtocolError) => 36,
        Err(Code::WrongOutput) => 37,
        Err(Code::Tls) => 38,
    }
}

/// Every status that a record can have but those of HTTP, with the word that counts use for it.
pub fn statuses() -> BTreeMap<u16, String> {
    let ours = [
        Code::Timeout,
        Code::ConnectRefused,
        Code::ConnectFailed,
        Code::ConnectionLost,
        Code::ProtocolError,
        Code::WrongOutput,
        Code::Tls,
    ];
    let codes = (1..=16).map(Code::Grpc).chain(ours);
    let mut named: BTreeMap<u16, String> = codes.map(|code| (status(Err(code)), code.to_string())).collect();
    named.insert(status(Ok(())), "ok".to_owned());
    named.insert(UNFINISHED, "unfinished".to_owned());
    named
}

/// A histogram that costs nothing until it is used.
#[derive(Default)]
struct Lazy(Option<Histogram>);

impl Lazy {
    #[inline]
    fn record(&mut self, value: u64) {
        self.0.get_or_insert_default().record(value);
    }

    fn take(&mut self) -> Vec<Pair> {
        self.0.as_mut().map_or_else(Vec::new, Histogram::take)
    }
}

#[derive(Default)]
pub struct ExtraRecorder {
    open: Extra,
    sequence_latency: Lazy,
    first_response: Lazy,
    inter_response: Lazy,
    last_response: Lazy,
    responses_per_request: Lazy,
}

impl ExtraRecorder {
    /// The parts of a success's latency, each cut to what the ones before it left, so that they add up.
    #[inline]
    pub fn split(&mut self, times: &Times) {
        let sent = times.sent.clamp(times.intended.min(times.done), times.done);
        let written = times.written.clamp(sent, times.done);
        let first = if times.first == 0 { times.done } else { times.first.clamp(written, times.done) };
        self.open.queue_ns += sent.saturating_sub(times.intended);
        self.open.write_ns += written - sent;
        self.open.wait_ns += first - written;
        self.open.read_ns += times.done - first;
    }

    pub fn gap(&mut self, gap_ns: u64) {
        self.inter_response.record(gap_ns);
    }

    pub fn response(&mut self) {
        self.open.responses += 1;
    }

    /// A request of a stream succeeded with so many responses, the first and the last of them after so long.
    pub fn streamed(&mut self, responses: u64, first_ns: u64, last_ns: u64) {
        self.responses_per_request.record(responses);
        if responses > 0 {
            self.first_response.record(first_ns);
            self.last_response.record(last_ns);
        }
    }

    pub fn sequence(&mut self, latency_ns: u64) {
        self.open.sequences += 1;
        self.sequence_latency.record(latency_ns);
    }

    pub fn sequence_failed(&mut self) {
        self.open.sequences_failed += 1;
    }

    pub fn closing(&mut self) {
        self.open.closing += 1;
    }

    pub fn record(&mut self, start: u64, times: &Times, payload: u32, status: u16, worker: u16) {
        let offset = |at: u64| if at == 0 { u64::MAX } else { at.saturating_sub(start) };
        let out = &mut self.open.records;
        for at in [times.intended, times.sent, times.first, times.done] {
            out.extend_from_slice(&offset(at).to_le_bytes());
        }
        out.extend_from_slice(&payload.to_le_bytes());
        out.extend_from_slice(&status.to_le_bytes());
        out.extend_from_slice(&worker.to_le_bytes());
    }

    pub fn take(&mut self) -> Extra {
        let mut extra = std::mem::take(&mut self.open);
        extra.sequence_latency = self.sequence_latency.take();
        extra.first_response = self.first_response.take();
        extra.inter_response = self.inter_response.take();
        extra.last_response = self.last_response.take();
        extra.responses_per_request = self.responses_per_request.take();
        extra
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_parts_add_up_whatever_the_order_of_the_times(
            intended in 1u64..1000, sent in 0u64..1000, written in 0u64..2000, first in 0u64..2000, took in 0u64..2000,
        ) {
            let (sent, done) = (intended + sent, intended + took.max(sent));
            let mut recorder = ExtraRecorder::default();
            recorder.split(&Times { intended, sent, written, first, done });
            let extra = recorder.take();
            prop_assert_eq!(extra.queue_ns + extra.write_ns + extra.wait_ns + extra.read_ns, done - intended);
            prop_assert_eq!(extra.queue_ns, sent - intended);
        }
    }

    #[test]
    fn records_have_one_length_and_say_what_is_unknown() {
        let mut recorder = ExtraRecorder::default();
        recorder.record(10, &Times { intended: 15, sent: 20, written: 0, first: 0, done: 30 }, 7, UNFINISHED, 2);
        let records = recorder.take().records;
        assert_eq!(records.len(), RECORD_LEN);
        assert_eq!(records[..8], 5u64.to_le_bytes());
        assert_eq!(records[16..24], u64::MAX.to_le_bytes());
        assert_eq!(records[32..], [7, 0, 0, 0, 40, 0, 2, 0]);
        assert!(recorder.take().records.is_empty());
    }
}
