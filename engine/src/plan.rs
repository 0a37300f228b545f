//! The one configuration: JSON from Python, refused with the path of the field and a sentence.

mod checks;
mod sizes;
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

impl Plan {
    pub fn from_json(text: &str) -> Result<Plan, Error> {
        let plan: Plan = serde_path_to_error::deserialize(&mut serde_json::Deserializer::from_str(text))
            .map_err(|e| Error::Plan { path: e.path().to_string(), message: e.into_inner().to_string() })?;
        plan.check()?;
        Ok(plan)
    }
}

#[cfg(test)]
mod tests;
