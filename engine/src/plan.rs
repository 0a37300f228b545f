//! The one configuration: JSON from Python, refused with the path of the field and a sentence.

use crate::error::Error;
use serde::Deserialize;

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    pub transport: Transport,
    pub schedule: Schedule,
    pub order: Order,
    pub seed: u64,
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
}

#[derive(Debug, Clone, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Compare {
    Exact,
    Tolerance { rtol: f64, atol: f64 },
    Argmax,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Transport {
    Grpc(Grpc),
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
    /// Per worker.
    pub connections: usize,
    /// One long-lived call for each request in flight; requests end with the final-response marker.
    #[serde(default)]
    pub streaming: bool,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Schedule {
    Closed(Closed),
    Open(Open),
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Closed {
    pub concurrency: usize,
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
}

const MAX_IN_FLIGHT: usize = 1_000_000;
const MAX_WORKERS: usize = 256;
const MAX_CONNECTIONS: usize = 1024;
const MAX_NS: u64 = 1 << 60;

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
        self.check_sequences()?;
        self.check_validate()?;
        match &self.transport {
            Transport::Grpc(grpc) => grpc.check(),
            Transport::Null(_) => Ok(()),
        }
    }

    fn check_sequences(&self) -> Check {
        let Some(sequences) = &self.sequences else { return Ok(()) };
        let count = sequences.count as u64;
        in_range("sequences.count", count, 1, MAX_IN_FLIGHT as u64)?;
        in_range("sequences.length", sequences.length, 1, 1 << 40)?;
        in_range("sequences.first_id", sequences.first_id, 1, 1 << 62)?;
        in_range("sequences.id_count", sequences.id_count, count, 1 << 62)?;
        if !(0.0..=1.0).contains(&sequences.variation) {
            return refuse(
                "sequences.variation",
                format!("expected a number from 0 to 1, got {}", sequences.variation),
            );
        }
        match &self.transport {
            Transport::Grpc(_) | Transport::Null(_) => Ok(()),
            #[allow(unreachable_patterns, reason = "for transports whose messages cannot be appended to")]
            _ => refuse("sequences", "expected the transport grpc".to_owned()),
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
            Transport::Grpc(grpc) if !grpc.streaming && self.sequences.is_none() => Ok(()),
            _ => refuse("validate", "expected unary gRPC calls without sequences".to_owned()),
        }
    }

    /// Threads to use. One event loop keeps up with several hundred thousand requests a second, so the engine adds
    /// threads only where the machine has cores to spare beside the server and every thread still has 16 requests.
    pub fn worker_count(&self, cpus: usize) -> usize {
        let slots = match &self.schedule {
            Schedule::Closed(closed) => closed.concurrency,
            Schedule::Open(open) => open.max_in_flight,
        };
        let slots = self.sequences.as_ref().map_or(slots, |sequences| sequences.count.min(slots));
        match self.workers {
            0 => (cpus / 8).min(slots / 16).clamp(1, 4),
            asked => asked.min(slots),
        }
    }
}

impl Schedule {
    fn check(&self) -> Check {
        match self {
            Schedule::Closed(c) => in_range("schedule.concurrency", c.concurrency as u64, 1, MAX_IN_FLIGHT as u64),
            Schedule::Open(open) => {
                in_range("schedule.max_in_flight", open.max_in_flight as u64, 1, MAX_IN_FLIGHT as u64)?;
                open.arrivals.check()
            }
        }
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
        in_range("transport.connections", self.connections as u64, 1, MAX_CONNECTIONS as u64)?;
        let port = self.endpoint.rsplit_once(':').filter(|(host, _)| !host.is_empty()).map(|(_, port)| port);
        if port.and_then(|port| port.parse::<u16>().ok()).is_none_or(|port| port == 0) {
            return refuse("transport.endpoint", format!("expected host:port, got {:?}", self.endpoint));
        }
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
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn valid() -> Value {
        json!({
            "transport": {"kind": "grpc", "endpoint": "localhost:8001", "method": "/a.B/C", "metadata": [["x", "y"]], "connections": 1},
            "schedule": {"kind": "closed", "concurrency": 4},
            "order": "round_robin", "seed": 0, "max_requests": null, "max_duration_ns": 5, "slice_ns": 100_000_000,
            "connect_timeout_ns": 1, "request_timeout_ns": 1, "drain_timeout_ns": 0, "workers": 0, "pin_cpus": []
        })
    }

    fn refusal(pointer: &str, value: Value) -> String {
        let mut plan = valid();
        *plan.pointer_mut(pointer).expect("a field of the plan") = value;
        Plan::from_json(&plan.to_string()).expect_err("a refusal").to_string()
    }

    #[test]
    fn accepts_a_sound_plan() {
        let plan = Plan::from_json(&valid().to_string()).unwrap();
        assert_eq!((plan.worker_count(2), plan.worker_count(64)), (1, 1));
    }

    #[test]
    fn names_the_field_and_the_expectation() {
        for (pointer, value, expected) in [
            ("/schedule/concurrency", json!(0), "schedule.concurrency: expected a number from 1 to 1000000, got 0"),
            ("/transport/endpoint", json!("localhost"), "transport.endpoint: expected host:port, got \"localhost\""),
            ("/transport/endpoint", json!(":80"), "transport.endpoint: expected host:port"),
            ("/transport/method", json!("B/C"), "transport.method: expected /package.Service/Method"),
            ("/transport/metadata", json!([["te", "x"]]), "transport.metadata[0]: \"te\" is set by the engine"),
            ("/transport/metadata", json!([["A", "x"]]), "transport.metadata[0]: expected a name"),
            ("/transport/metadata", json!([["a", "\n"]]), "transport.metadata[0]: expected a value"),
            ("/transport/connections", json!(0), "transport.connections: expected a number"),
            ("/slice_ns", json!(1), "slice_ns: expected a number"),
            ("/seed", json!(-1), "seed: invalid value"),
            ("/order", json!("sorted"), "order: unknown variant `sorted`"),
            ("/schedule", json!({"kind": "closed"}), "schedule: missing field `concurrency`"),
            ("/schedule", json!({"kind": "closed", "concurrency": 1, "x": 1}), "schedule: unknown field `x`"),
            (
                "/schedule",
                json!({"kind": "open", "max_in_flight": 1, "arrivals": {"kind": "poisson", "rate": 0}}),
                "schedule.arrivals.rate: expected a number above 0",
            ),
            (
                "/schedule",
                json!({"kind": "open", "max_in_flight": 1, "arrivals": {"kind": "intervals", "gaps_ns": [0]}}),
                "schedule.arrivals.gaps_ns: expected at least one gap above 0",
            ),
            (
                "/schedule",
                json!({"kind": "open", "max_in_flight": 1, "arrivals": {"kind": "replay", "offsets_ns": [2, 1]}}),
                "schedule.arrivals.offsets_ns: expected at least one offset, in ascending order",
            ),
        ] {
            let message = refusal(pointer, value);
            assert!(message.starts_with(expected), "{message}");
        }
    }

    #[test]
    fn sequences_and_validation_are_checked() {
        let with = |key: &str, value: Value| {
            let mut plan = valid();
            plan[key] = value;
            Plan::from_json(&plan.to_string()).map(|_| ()).map_err(|e| e.to_string())
        };
        let sequences = |count: u64, ids: u64, variation: f64| json!({"count": count, "length": 3, "variation": variation, "first_id": 1, "id_count": ids});
        assert_eq!(with("sequences", sequences(4, 4, 0.5)), Ok(()));
        let refusal = with("sequences", sequences(4, 3, 0.5)).unwrap_err();
        assert!(refusal.starts_with("sequences.id_count: expected a number from 4 to"), "{refusal}");
        let refusal = with("sequences", sequences(1, 1, 1.5)).unwrap_err();
        assert_eq!(refusal, "sequences.variation: expected a number from 0 to 1, got 1.5");
        let tolerance = |rtol: f64| json!({"every": 1, "compare": {"kind": "tolerance", "rtol": rtol, "atol": 0.0}});
        assert_eq!(with("validate", tolerance(0.1)), Ok(()));
        assert_eq!(
            with("validate", tolerance(-1.0)).unwrap_err(),
            "validate.compare.rtol: expected at least 0, got -1"
        );
        let refusal = with("validate", json!({"every": 0, "compare": {"kind": "exact"}})).unwrap_err();
        assert!(refusal.starts_with("validate.every: expected a number from 1"), "{refusal}");
        let mut both = valid();
        (both["sequences"], both["validate"]) = (sequences(1, 1, 0.0), tolerance(0.1));
        let refusal = Plan::from_json(&both.to_string()).unwrap_err().to_string();
        assert_eq!(refusal, "validate: expected unary gRPC calls without sequences");
    }

    #[test]
    fn refuses_what_is_not_json() {
        assert!(Plan::from_json("{").is_err());
        assert!(Plan::from_json("[]").is_err());
    }
}
