//! What follows from a plan: how many requests can be in flight, and the threads and connections that takes.

use super::checks::{MAX_CONNECTIONS, in_range, refuse};
use super::{Arrivals, Grpc, Order, Plan, Schedule};
use crate::error::Error;

/// What an open loop needs is only known once it runs; the others are made when they are needed.
const OPEN_LOOP_CONNECTIONS: usize = 16;

/// Waking up takes about this long.
const WAKE_NS: f64 = 50_000.0;
/// Share of the time that workers may spend on looking for the next request to be due.
const LOOKING: f64 = 0.05;

impl Plan {
    /// Connections of each worker to each endpoint. Requests that no stream is left for would wait in the client, and
    /// that would be measured: too few connections are refused.
    pub fn grpc_connections(&self, grpc: &Grpc, workers: usize) -> Result<usize, Error> {
        let most = match &self.schedule {
            // Its limit is no number that is kept in flight.
            Schedule::Open(_) if grpc.connections > 0 => 0,
            schedule => schedule.most_in_flight().div_ceil(workers),
        };
        let needed = if grpc.max_streams == 0 { 1 } else { most.div_ceil(grpc.max_streams).max(1) };
        if grpc.connections == 0 {
            let path = "transport.connections";
            in_range(path, needed as u64, 1, MAX_CONNECTIONS as u64)?;
            return Ok(needed);
        }
        if grpc.connections < needed && grpc.others.is_empty() {
            let (streams, connections) = (grpc.max_streams, grpc.connections);
            let message = format!(
                "expected at least {needed} for {most} requests in flight on {streams} streams each, got {connections}"
            );
            return refuse("transport.connections", message);
        }
        Ok(grpc.connections)
    }

    /// Connections worth making before the clock starts, where each carries one request at a time.
    pub fn first_connections(&self) -> usize {
        let most = match &self.schedule {
            Schedule::Open(open) => open.max_in_flight.min(OPEN_LOOP_CONNECTIONS),
            schedule => schedule.most_in_flight(),
        };
        self.at_once(most)
    }

    /// So many requests, or fewer where a sequence has at most one of them.
    fn at_once(&self, requests: usize) -> usize {
        self.sequences.as_ref().map_or(requests, |sequences| sequences.count.min(requests))
    }

    /// Threads to use. One event loop keeps up with several hundred thousand requests a second, so the engine adds
    /// threads only where the machine has cores to spare beside the server and every thread still has 16 requests. An
    /// open loop has two where it can, so that one sends on time what is due while the other waits for a processor.
    pub fn worker_count(&self, cpus: usize) -> usize {
        let slots = match &self.schedule {
            // A step is decided by one worker, which sees every slot.
            Schedule::Periodic(_) => 1,
            schedule => schedule.most_in_flight(),
        };
        let slots = self.at_once(slots);
        match self.workers {
            // Slots are counted from 0 in each thread.
            _ if self.order == Order::PerSlot => 1,
            0 => (cpus / 8).min(slots / 16).clamp(self.fewest_workers(cpus, slots), 4),
            asked => asked.min(slots),
        }
    }

    fn fewest_workers(&self, cpus: usize, slots: usize) -> usize {
        let is_timed = matches!(self.schedule, Schedule::Open(_)) && self.sequences.is_none();
        if is_timed { slots.min(cpus).clamp(1, 2) } else { 1 }
    }

    /// How long before a request of an open loop is due its worker is awake; short where many are due.
    pub fn early_ns(&self) -> u64 {
        match &self.schedule {
            Schedule::Open(open) => (open.arrivals.mean_gap_ns() * LOOKING).min(WAKE_NS) as u64,
            _ => 0,
        }
    }
}

impl Schedule {
    /// Requests that can be in flight at once, all workers together.
    pub fn most_in_flight(&self) -> usize {
        match self {
            Schedule::Closed(closed) => closed.concurrency,
            Schedule::Periodic(periodic) => periodic.end,
            Schedule::Open(open) => open.max_in_flight,
        }
    }
}

impl Arrivals {
    fn mean_gap_ns(&self) -> f64 {
        match self {
            Arrivals::Constant { rate } | Arrivals::Poisson { rate } | Arrivals::Gamma { rate, .. } => 1e9 / rate,
            Arrivals::Intervals { gaps_ns } => {
                gaps_ns.iter().map(|&gap| gap as f64).sum::<f64>() / gaps_ns.len() as f64
            }
            Arrivals::Replay { offsets_ns } => offsets_ns.last().copied().unwrap_or(0) as f64 / offsets_ns.len() as f64,
        }
    }
}
