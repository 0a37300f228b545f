//! What one worker counts: slices with absolute edges, handed over when they close.

use crate::error::{Code, Failure};
use crate::extra::{Extra, ExtraRecorder};
use crate::histogram::{Histogram, Pair, merge};
use crate::transport::Traffic;
use std::collections::BTreeMap;

/// What completed in [start_ns, end_ns); of one worker, or of several once merged.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Slice {
    pub start_ns: u64,
    pub end_ns: u64,
    pub sent: u64,
    pub ok: u64,
    /// What the successful requests count for together.
    pub items: u64,
    pub failed: BTreeMap<Code, u64>,
    pub dropped: u64,
    pub in_flight: u64,
    pub in_flight_ns: u64,
    pub latency_sum_ns: u64,
    pub latency_max_ns: u64,
    pub bytes_sent: u64,
    pub bytes_received: u64,
    pub cpu_ns: u64,
    pub stall_max_ns: u64,
    pub latency: Vec<Pair>,
    pub service: Vec<Pair>,
    pub send_lag: Vec<Pair>,
    pub extra: Box<Extra>,
}

impl Slice {
    /// Add another worker's slice of the same interval.
    pub fn absorb(&mut self, other: Slice) {
        self.end_ns = self.end_ns.max(other.end_ns);
        self.sent += other.sent;
        self.ok += other.ok;
        self.items += other.items;
        for (code, count) in other.failed {
            *self.failed.entry(code).or_default() += count;
        }
        self.dropped += other.dropped;
        self.in_flight += other.in_flight;
        self.in_flight_ns += other.in_flight_ns;
        self.latency_sum_ns += other.latency_sum_ns;
        self.latency_max_ns = self.latency_max_ns.max(other.latency_max_ns);
        self.bytes_sent += other.bytes_sent;
        self.bytes_received += other.bytes_received;
        self.cpu_ns += other.cpu_ns;
        self.stall_max_ns = self.stall_max_ns.max(other.stall_max_ns);
        self.latency = merge(&self.latency, &other.latency);
        self.service = merge(&self.service, &other.service);
        self.send_lag = merge(&self.send_lag, &other.send_lag);
        self.extra.absorb(*other.extra);
    }
}

/// A closed slice with its number and the failures that this worker saw for the first time.
#[derive(Debug, Clone)]
pub struct WorkerSlice {
    pub number: u64,
    pub slice: Slice,
    pub examples: Vec<Failure>,
}

/// Counts into the open slice; all arguments are clock times.
pub struct Recorder<S: FnMut(WorkerSlice)> {
    start: u64,
    slice_ns: u64,
    edge: u64,
    number: u64,
    /// Up to when `in_flight` has been integrated.
    integrated: u64,
    in_flight: usize,
    open: Slice,
    latency: Histogram,
    service: Histogram,
    send_lag: Histogram,
    pub extra: ExtraRecorder,
    cpu: u64,
    traffic: Traffic,
    seen: Vec<Code>,
    examples: Vec<Failure>,
    sink: S,
}

impl<S: FnMut(WorkerSlice)> Recorder<S> {
    pub fn new(start: u64, slice_ns: u64, cpu: u64, sink: S) -> Recorder<S> {
        Recorder {
            start,
            slice_ns,
            edge: start + slice_ns,
            number: 0,
            integrated: start,
            in_flight: 0,
            open: Slice::default(),
            latency: Histogram::default(),
            service: Histogram::default(),
            send_lag: Histogram::default(),
            extra: ExtraRecorder::default(),
            cpu,
            traffic: Traffic::default(),
            seen: Vec::new(),
            examples: Vec::new(),
            sink,
        }
    }

    pub fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// When the open slice ends.
    pub fn edge(&self) -> u64 {
        self.edge
    }

    #[inline]
    pub fn is_due(&self, now: u64) -> bool {
        now >= self.edge
    }

    #[inline]
    fn integrate(&mut self, now: u64) {
        // Two readings of the clock may be handled out of order by a few nanoseconds; time never runs backwards here.
        if now > self.integrated {
            self.open.in_flight_ns += self.in_flight as u64 * (now - self.integrated);
            self.integrated = now;
        }
    }

    #[inline]
    pub fn sent(&mut self, now: u64) {
        self.integrate(now);
        self.in_flight += 1;
        self.open.sent += 1;
    }

    #[inline]
    pub fn ok(&mut self, now: u64, intended: u64, sent: u64) {
        self.integrate(now);
        self.in_flight -= 1;
        let latency = now.saturating_sub(intended);
        self.open.ok += 1;
        self.open.latency_sum_ns += latency;
        self.open.latency_max_ns = self.open.latency_max_ns.max(latency);
        self.latency.record(latency);
        self.service.record(now.saturating_sub(sent));
        self.send_lag.record(sent.saturating_sub(intended));
    }

    /// The next success counts for so many.
    #[inline]
    pub fn items(&mut self, items: u32) {
        self.open.items += u64::from(items);
    }

    pub fn failed(&mut self, now: u64, failure: Failure) {
        self.integrate(now);
        self.in_flight -= 1;
        *self.open.failed.entry(failure.code).or_default() += 1;
        if !self.seen.contains(&failure.code) {
            self.seen.push(failure.code);
            self.examples.push(failure);
        }
    }

    pub fn dropped(&mut self) {
        self.open.dropped += 1;
    }

    /// The worker was away from its loop for this long.
    pub fn stall(&mut self, away_ns: u64) {
        self.open.stall_max_ns = self.open.stall_max_ns.max(away_ns);
    }

    /// Close every slice whose edge has passed.
    pub fn close_until(&mut self, now: u64, cpu: u64, traffic: Traffic) {
        while self.is_due(now) {
            self.close(self.edge, cpu, traffic);
            self.edge += self.slice_ns;
        }
    }

    /// Close the last slice, shorter than the others.
    pub fn finish(&mut self, now: u64, cpu: u64, traffic: Traffic) {
        self.close_until(now, cpu, traffic);
        self.close(now, cpu, traffic);
    }

    fn close(&mut self, at: u64, cpu: u64, traffic: Traffic) {
        self.integrate(at);
        let mut slice = std::mem::take(&mut self.open);
        slice.start_ns = self.number * self.slice_ns;
        slice.end_ns = at - self.start;
        slice.in_flight = self.in_flight as u64;
        slice.cpu_ns = cpu - std::mem::replace(&mut self.cpu, cpu);
        slice.bytes_sent = traffic.bytes_sent - self.traffic.bytes_sent;
        slice.bytes_received = traffic.bytes_received - self.traffic.bytes_received;
        self.traffic = traffic;
        slice.latency = self.latency.take();
        slice.service = self.service.take();
        slice.send_lag = self.send_lag.take();
        slice.extra = Box::new(self.extra.take());
        let examples = std::mem::take(&mut self.examples);
        (self.sink)(WorkerSlice { number: self.number, slice, examples });
        self.number += 1;
    }
}
