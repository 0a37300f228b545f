//! The one configuration: JSON from Python, refused with the path of the field and a sentence.

mod wires;

use crate::error::Error;
use serde::Deserialize;
pub use wires::{Encoding, Http, Identity, Tls, Weighted};

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    pub transport: Transport,
    pub schedule: Schedule,
    pub order: Order,
    pub seed: u64,
    /// Of each payload, what a request with it counts for; empty: `items` stays 0.
    #[serde(default)]
    pub payload_items: Vec<u32>,
    /// Of each payload, how often it is drawn in relation to the others; only for `weighted`.
    #[serde(default)]
    pub payload_weights: Vec<f64>,
    /// Into how many equal blocks the pool is cut, one for each request in flight; only for `per_slot`.
    #[serde(default)]
    pub slots: usize,
    /// The pool begins with streams of so many payloads, one behind the other; each sequence sends one of them from its
    /// start. Empty: payloads are drawn by `order`.
    #[serde(default)]
    pub data_streams: Vec<u32>,
    pub max_requests: Option<u64>,
    pub max_duration_ns: Option<u64>,
    pub slice_ns: u64,
    pub connect_timeout_ns: u64,
    pub request_timeout_ns: u64,
    pub drain_timeout_ns: u64,
    /// 0 lets the engine choose.
    pub workers: usize,
    pub pin_cpus: Vec<usize>,
    /// Requests belong to sequences, in order.
    pub sequences: Option<Sequences>,
    /// Compare sampled answers with expected ones.
    pub validate: Option<Validate>,
    /// Hand over a record of every request with each slice.
    #[serde(default)]
    pub records: bool,
}

/// Sequences kept alive at the same time, and how long they are.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sequences {
    pub count: usize,
    /// 0: as long as its stream.
    pub length: u64,
    /// Lengths are uniform in length · (1 ± variation).
    pub variation: f64,
    pub first_id: u64,
    pub id_count: u64,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Validate {
    /// Every so manieth request of a worker's connection is looked at.
    pub every: u64,
    pub compare: Compare,
    #[serde(default)]
    pub shared: Option<SharedOutputs>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Compare {
    Exact,
    Tolerance {
        rtol: f64,
        atol: f64,
    },
    Argmax,
    /// Every byte, by the SHA-256 of each output, which stands in the place of its bytes.
    Digest,
}

/// Outputs that lie in shared memory: a region for each slot, all of them laid out alike.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SharedOutputs {
    /// Files of the regions, by slot.
    pub regions: Vec<String>,
    pub outputs: Vec<Place>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Place {
    pub name: String,
    pub offset: u64,
    pub size: usize,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Transport {
    Grpc(Grpc),
    Http(Http),
    Null(Empty),
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Empty {}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grpc {
    pub endpoint: String,
    pub method: String,
    pub metadata: Vec<(String, String)>,
    /// Per worker and endpoint; 0: as many as `max_streams` makes necessary.
    pub connections: usize,
    /// Most streams of a connection at a time; 0: as many as the server allows.
    #[serde(default)]
    pub max_streams: usize,
    /// One long-lived call for each request in flight; requests end with the final-response marker.
    #[serde(default)]
    pub streaming: bool,
    #[serde(default)]
    pub tls: Option<Tls>,
    /// How the messages of the pool are compressed.
    #[serde(default)]
    pub encoding: Option<Encoding>,
    /// How the service may compress its answers.
    #[serde(default)]
    pub accept: Option<Encoding>,
    #[serde(default = "wires::once")]
    pub weight: u32,
    /// Further endpoints that share the load.
    #[serde(default)]
    pub others: Vec<Weighted>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Schedule {
    Closed(Closed),
    Periodic(Periodic),
    Open(Open),
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Closed {
    pub concurrency: usize,
}

/// A closed loop that grows from `start` to `end`.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Periodic {
    pub start: usize,
    pub end: usize,
    pub step: usize,
    /// Outcomes of each slot of a step before the next one.
    pub request_period: u64,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Open {
    pub arrivals: Arrivals,
    pub max_in_flight: usize,
}

/// When requests are meant to be sent; rates are requests per second of all workers together.
#[derive(Debug, Clone, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Arrivals {
    Constant {
        rate: f64,
    },
    Poisson {
        rate: f64,
    },
    Gamma {
        rate: f64,
        cv: f64,
    },
    /// Gaps between sends, repeated for ever.
    Intervals {
        gaps_ns: Vec<u64>,
    },
    /// Offsets from the start, each once.
    Replay {
        offsets_ns: Vec<u64>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    RoundRobin,
    Shuffle,
    /// At random, by `payload_weights`.
    Weighted,
    /// A request in slot i takes the payloads of block i in turn: no two in flight have a payload in common.
    PerSlot,
}

const MAX_IN_FLIGHT: usize = 1_000_000;
const MAX_WORKERS: usize = 256;
const MAX_CONNECTIONS: usize = 1024;
const MAX_NS: u64 = 1 << 60;
/// What an open loop needs is only known once it runs; the others are made when they are needed.
const OPEN_LOOP_CONNECTIONS: usize = 16;

type Check = Result<(), Error>;

fn refuse<T>(path: &str, message: String) -> Result<T, Error> {
    Err(Error::Plan { path: path.to_owned(), message })
}

fn in_range(path: &str, value: u64, low: u64, high: u64) -> Check {
    if (low..=high).contains(&value) {
        return Ok(());
    }
    refuse(path, format!("expected a number from {low} to {high}, got {value}"))
}

impl Plan {
    pub fn from_json(text: &str) -> Result<Plan, Error> {
        let plan: Plan = serde_path_to_error::deserialize(&mut serde_json::Deserializer::from_str(text))
            .map_err(|e| Error::Plan { path: e.path().to_string(), message: e.into_inner().to_string() })?;
        plan.check()?;
        Ok(plan)
    }

    fn check(&self) -> Check {
        in_range("slice_ns", self.slice_ns, 1_000_000, 3_600_000_000_000)?;
        in_range("connect_timeout_ns", self.connect_timeout_ns, 1, MAX_NS)?;
        in_range("request_timeout_ns", self.request_timeout_ns, 1, MAX_NS)?;
        in_range("drain_timeout_ns", self.drain_timeout_ns, 0, MAX_NS)?;
        in_range("workers", self.workers as u64, 0, MAX_WORKERS as u64)?;
        in_range("max_requests", self.max_requests.unwrap_or(1), 1, u64::MAX)?;
        in_range("max_duration_ns", self.max_duration_ns.unwrap_or(1), 1, MAX_NS)?;
        self.schedule.check()?;
        self.check_order()?;
        self.check_sequences()?;
        self.check_validate()?;
        self.check_streaming()?;
        match &self.transport {
            Transport::Grpc(grpc) => grpc.check(),
            Transport::Http(http) => http.check(),
            Transport::Null(_) => Ok(()),
        }
    }

    fn check_sequences(&self) -> Check {
        let Some(sequences) = &self.sequences else {
            return match self.data_streams.is_empty() {
                true => Ok(()),
                false => refuse("data_streams", "expected none without sequences".to_owned()),
            };
        };
        let count = sequences.count as u64;
        in_range("sequences.count", count, 1, MAX_IN_FLIGHT as u64)?;
        in_range("sequences.length", sequences.length, u64::from(self.data_streams.is_empty()), 1 << 40)?;
        if !self.data_streams.is_empty() && self.order != Order::RoundRobin {
            return refuse(
                "data_streams",
                "expected the order round_robin: a stream has an order of its own".to_owned(),
            );
        }
        in_range("sequences.first_id", sequences.first_id, 1, 1 << 62)?;
        in_range("sequences.id_count", sequences.id_count, count, 1 << 62)?;
        if !(0.0..=1.0).contains(&sequences.variation) {
            return refuse(
                "sequences.variation",
                format!("expected a number from 0 to 1, got {}", sequences.variation),
            );
        }
        if self.order == Order::PerSlot {
            return refuse("sequences", "expected an order other than per_slot".to_owned());
        }
        match &self.transport {
            // Servers do not share the state of a sequence.
            Transport::Grpc(grpc) if !grpc.others.is_empty() => refuse("sequences", "expected one endpoint".to_owned()),
            // A compressed message cannot be appended to.
            Transport::Grpc(grpc) if grpc.encoding.is_none() => Ok(()),
            Transport::Null(_) => Ok(()),
            _ => refuse("sequences", "expected the transport grpc without encoding".to_owned()),
        }
    }

    fn check_validate(&self) -> Check {
        let Some(validate) = &self.validate else { return Ok(()) };
        in_range("validate.every", validate.every, 1, u64::MAX)?;
        if let Compare::Tolerance { rtol, atol } = validate.compare {
            for (name, value) in [("rtol", rtol), ("atol", atol)] {
                if !(value >= 0.0 && value.is_finite()) {
                    return refuse(&format!("validate.compare.{name}"), format!("expected at least 0, got {value}"));
                }
            }
        }
        match &self.transport {
            Transport::Grpc(_) | Transport::Http(_) if self.sequences.is_none() => Ok(()),
            _ => refuse("validate", "expected the transport grpc or http without sequences".to_owned()),
        }
    }

    fn check_streaming(&self) -> Check {
        match &self.transport {
            Transport::Grpc(grpc) if grpc.streaming && self.order == Order::PerSlot => {
                refuse("transport.streaming", "expected an order other than per_slot".to_owned())
            }
            Transport::Grpc(grpc) if grpc.streaming && grpc.encoding.is_some() => {
                refuse("transport.streaming", "expected gRPC calls without encoding".to_owned())
            }
            _ => Ok(()),
        }
    }

    fn check_order(&self) -> Check {
        let limit = self.schedule.most_in_flight();
        match self.order {
            Order::PerSlot => in_range("slots", self.slots as u64, limit as u64, MAX_IN_FLIGHT as u64),
            Order::Weighted => match self.payload_weights.iter().find(|w| !(w.is_finite() && **w > 0.0)) {
                Some(wrong) => refuse("payload_weights", format!("expected numbers above 0, got {wrong}")),
                None => Ok(()),
            },
            Order::RoundRobin | Order::Shuffle => Ok(()),
        }
    }

    /// What can be checked only beside the pool.
    pub fn check_pool(&self, size: usize) -> Check {
        let one_each = |path: &str, length: usize| match length == size {
            true => Ok(()),
            false => refuse(path, format!("expected one for each of the {size} payloads, got {length}")),
        };
        if size == 0 {
            return refuse("payloads", "expected at least one".to_owned());
        }
        if !self.payload_items.is_empty() {
            one_each("payload_items", self.payload_items.len())?;
        }
        let streamed: usize = self.data_streams.iter().map(|length| *length as usize).sum();
        if streamed > size || self.data_streams.contains(&0) {
            return refuse(
                "data_streams",
                format!("expected lengths above 0, together at most {size}, got {streamed}"),
            );
        }
        match self.order {
            Order::Weighted => one_each("payload_weights", self.payload_weights.len()),
            Order::PerSlot if size % self.slots != 0 => {
                refuse("slots", format!("expected a divisor of the {size} payloads, got {}", self.slots))
            }
            _ => Ok(()),
        }
    }

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
        match &self.schedule {
            Schedule::Open(open) => open.max_in_flight.min(OPEN_LOOP_CONNECTIONS),
            schedule => schedule.most_in_flight(),
        }
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
        let slots = self.sequences.as_ref().map_or(slots, |sequences| sequences.count.min(slots));
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
}

/// Waking up takes about this long.
const WAKE_NS: f64 = 50_000.0;
/// Share of the time that workers may spend on looking for the next request to be due.
const LOOKING: f64 = 0.05;

impl Plan {
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

    fn check(&self) -> Check {
        match self {
            Schedule::Closed(c) => in_range("schedule.concurrency", c.concurrency as u64, 1, MAX_IN_FLIGHT as u64),
            Schedule::Periodic(periodic) => periodic.check(),
            Schedule::Open(open) => {
                in_range("schedule.max_in_flight", open.max_in_flight as u64, 1, MAX_IN_FLIGHT as u64)?;
                open.arrivals.check()
            }
        }
    }
}

impl Periodic {
    fn check(&self) -> Check {
        in_range("schedule.start", self.start as u64, 1, MAX_IN_FLIGHT as u64)?;
        in_range("schedule.end", self.end as u64, self.start as u64, MAX_IN_FLIGHT as u64)?;
        in_range("schedule.step", self.step as u64, 1, MAX_IN_FLIGHT as u64)?;
        in_range("schedule.request_period", self.request_period, 1, u64::MAX)
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

    fn check(&self) -> Check {
        match self {
            Arrivals::Constant { rate } | Arrivals::Poisson { rate } => positive("schedule.arrivals.rate", *rate, 1e7),
            Arrivals::Gamma { rate, cv } => {
                positive("schedule.arrivals.rate", *rate, 1e7)?;
                positive("schedule.arrivals.cv", *cv, 100.0)
            }
            Arrivals::Intervals { gaps_ns } if gaps_ns.iter().all(|&gap| gap == 0) => {
                refuse("schedule.arrivals.gaps_ns", "expected at least one gap above 0".to_owned())
            }
            Arrivals::Intervals { gaps_ns } => bounded("schedule.arrivals.gaps_ns", gaps_ns),
            Arrivals::Replay { offsets_ns } if offsets_ns.is_empty() || !offsets_ns.is_sorted() => {
                refuse("schedule.arrivals.offsets_ns", "expected at least one offset, in ascending order".to_owned())
            }
            Arrivals::Replay { offsets_ns } => bounded("schedule.arrivals.offsets_ns", offsets_ns),
        }
    }
}

fn positive(path: &str, value: f64, high: f64) -> Check {
    if value > 0.0 && value <= high {
        return Ok(());
    }
    refuse(path, format!("expected a number above 0, at most {high}, got {value}"))
}

fn bounded(path: &str, values: &[u64]) -> Check {
    match values.iter().find(|&&value| value > MAX_NS) {
        Some(value) => refuse(path, format!("expected nanoseconds up to {MAX_NS}, got {value}")),
        None => Ok(()),
    }
}

impl Grpc {
    fn check(&self) -> Check {
        let least = u64::from(self.max_streams == 0);
        in_range("transport.connections", self.connections as u64, least, MAX_CONNECTIONS as u64)?;
        in_range("transport.max_streams", self.max_streams as u64, 0, MAX_IN_FLIGHT as u64)?;
        wires::check_endpoints(&self.endpoint, self.weight, &self.others)?;
        let parts: Vec<&str> = self.method.split('/').collect();
        if !matches!(parts[..], ["", service, method] if !service.is_empty() && !method.is_empty())
            || !self.method.bytes().all(|b| b.is_ascii_graphic())
        {
            return refuse("transport.method", format!("expected /package.Service/Method, got {:?}", self.method));
        }
        self.metadata.iter().enumerate().try_for_each(|(n, (name, value))| check_metadata(n, name, value))
    }
}

/// Names and values as the gRPC specification allows them; a wrong one would make the server end the connection.
fn check_metadata(n: usize, name: &str, value: &str) -> Check {
    let path = format!("transport.metadata[{n}]");
    let known = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_.".contains(&b);
    if name.is_empty() || !name.bytes().all(known) {
        return refuse(&path, format!("expected a name of a-z, 0-9, -, _ and ., got {name:?}"));
    }
    if name.starts_with("grpc-") || ["te", "content-type", "user-agent", "host", "connection"].contains(&name) {
        return refuse(&path, format!("{name:?} is set by the engine"));
    }
    if !value.bytes().all(|b| (0x20..0x7f).contains(&b)) {
        return refuse(&path, format!("expected a value of printable ASCII characters for {name:?}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
