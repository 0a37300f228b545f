//! What a plan may say, each field for itself and beside the others; a refusal names the field and what was expected.

use super::{Arrivals, Compare, Grpc, Http, Order, Periodic, Plan, Schedule, Transport, wires};
use crate::error::Error;

pub(super) const MAX_IN_FLIGHT: usize = 1_000_000;
pub(super) const MAX_CONNECTIONS: usize = 1024;
const MAX_WORKERS: usize = 256;
const MAX_NS: u64 = 1 << 60;

pub(super) type Check = Result<(), Error>;

pub(super) fn refuse<T>(path: &str, message: String) -> Result<T, Error> {
    Err(Error::Plan { path: path.to_owned(), message })
}

pub(super) fn in_range(path: &str, value: u64, low: u64, high: u64) -> Check {
    if (low..=high).contains(&value) {
        return Ok(());
    }
    refuse(path, format!("expected a number from {low} to {high}, got {value}"))
}

impl Plan {
    pub(super) fn check(&self) -> Check {
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
        let encoded = matches!(&self.transport, Transport::Grpc(grpc) if grpc.encoding.is_some());
        if encoded {
            return refuse("sequences", "expected no encoding: a compressed message cannot be appended to".to_owned());
        }
        match &self.transport {
            Transport::Grpc(Grpc { others, .. }) | Transport::Http(Http { others, .. }) if !others.is_empty() => {
                refuse("sequences", "expected one endpoint: servers do not share the state of a sequence".to_owned())
            }
            _ => Ok(()),
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
}

impl Schedule {
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
