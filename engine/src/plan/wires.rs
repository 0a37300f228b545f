//! What transports share: endpoints with weights, TLS, compression; and the HTTP transport.

use super::checks::{Check, MAX_CONNECTIONS, in_range, refuse};
use serde::Deserialize;
use std::fmt;

/// Requests with ready bytes over HTTP/1.1. A payload is the rest of the head (remaining headers, each with its line
/// end, and an empty line) followed by the body, which with sequences begins with room for their parameters.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Http {
    pub endpoint: String,
    pub method: String,
    pub path: String,
    pub headers: Vec<(String, String)>,
    /// Most connections of each worker to each endpoint; 0: as many as it has requests in flight.
    #[serde(default)]
    pub connections: usize,
    #[serde(default)]
    pub tls: Option<Tls>,
    #[serde(default = "once")]
    pub weight: u32,
    /// Further endpoints that share the load.
    #[serde(default)]
    pub others: Vec<Weighted>,
}

/// One more endpoint, and how many requests it gets in each round.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Weighted {
    pub endpoint: String,
    #[serde(default = "once")]
    pub weight: u32,
}

pub(super) fn once() -> u32 {
    1
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// PEM certificates to believe in; needed unless nothing is verified.
    #[serde(default)]
    pub roots: String,
    pub verify: bool,
    /// Who the server's certificate must be for, if not for the endpoint's host.
    #[serde(default)]
    pub server_name: Option<String>,
    #[serde(default)]
    pub identity: Option<Identity>,
}

/// The client's certificate chain and its private key, in PEM.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    pub chain: String,
    pub key: String,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Identity")
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Encoding {
    Gzip,
    Deflate,
}

impl Encoding {
    pub fn name(self) -> &'static str {
        match self {
            Encoding::Gzip => "gzip",
            Encoding::Deflate => "deflate",
        }
    }
}

const MAX_WEIGHT: u64 = 1_000_000;

pub(super) fn check_endpoints(endpoint: &str, weight: u32, others: &[Weighted]) -> Check {
    check_endpoint("transport.endpoint", endpoint)?;
    in_range("transport.weight", u64::from(weight), 1, MAX_WEIGHT)?;
    others.iter().enumerate().try_for_each(|(n, other)| {
        check_endpoint(&format!("transport.others[{n}].endpoint"), &other.endpoint)?;
        in_range(&format!("transport.others[{n}].weight"), u64::from(other.weight), 1, MAX_WEIGHT)
    })
}

fn check_endpoint(path: &str, endpoint: &str) -> Check {
    let port = endpoint.rsplit_once(':').filter(|(host, _)| !host.is_empty()).map(|(_, port)| port);
    let visible = endpoint.bytes().all(|b| b.is_ascii_graphic());
    if !visible || port.and_then(|port| port.parse::<u16>().ok()).is_none_or(|port| port == 0) {
        return refuse(path, format!("expected host:port, got {endpoint:?}"));
    }
    Ok(())
}

impl Http {
    pub(super) fn check(&self) -> Check {
        in_range("transport.connections", self.connections as u64, 0, 100 * MAX_CONNECTIONS as u64)?;
        check_endpoints(&self.endpoint, self.weight, &self.others)?;
        if self.method.is_empty() || !self.method.bytes().all(is_token) {
            return refuse("transport.method", format!("expected a method such as POST, got {:?}", self.method));
        }
        if !self.path.starts_with('/') || !self.path.bytes().all(|b| b.is_ascii_graphic()) {
            return refuse("transport.path", format!("expected a path such as /v2/models, got {:?}", self.path));
        }
        self.headers.iter().enumerate().try_for_each(|(n, (name, value))| check_header(n, name, value))
    }
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

fn check_header(n: usize, name: &str, value: &str) -> Check {
    let path = format!("transport.headers[{n}]");
    if name.is_empty() || !name.bytes().all(is_token) {
        return refuse(&path, format!("expected the name of a header, got {name:?}"));
    }
    let ours = ["connection", "content-length", "transfer-encoding", "user-agent", "expect", "upgrade", "te"];
    if ours.iter().any(|own| name.eq_ignore_ascii_case(own)) {
        return refuse(&path, format!("{name:?} is set by the engine"));
    }
    if !value.bytes().all(|b| b == b'\t' || (b >= 0x20 && b != 0x7f)) {
        return refuse(&path, format!("expected a value without control characters for {name:?}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::plan::Plan;
    use serde_json::{Value, json};

    fn refusal(field: &str, value: Value) -> String {
        let mut plan = json!({
            "transport": {"kind": "http", "endpoint": "h:80", "method": "POST", "path": "/v2", "headers": []},
            "schedule": {"kind": "closed", "concurrency": 4},
            "order": "round_robin", "seed": 0, "max_requests": null, "max_duration_ns": 5, "slice_ns": 100_000_000,
            "connect_timeout_ns": 1, "request_timeout_ns": 1, "drain_timeout_ns": 0, "workers": 0, "pin_cpus": []
        });
        Plan::from_json(&plan.to_string()).unwrap();
        plan["transport"][field] = value;
        Plan::from_json(&plan.to_string()).expect_err("a refusal").to_string()
    }

    #[test]
    fn names_the_field_and_the_expectation() {
        for (field, value, expected) in [
            ("endpoint", json!("a b:80"), "transport.endpoint: expected host:port"),
            ("method", json!("PO ST"), "transport.method: expected a method"),
            ("path", json!("v2"), "transport.path: expected a path"),
            ("path", json!("/v2 HTTP/1.1\r\nX: y"), "transport.path: expected a path"),
            ("headers", json!([["a b", "c"]]), "transport.headers[0]: expected the name"),
            ("headers", json!([["a", "b"], ["a", "b\r\nc"]]), "transport.headers[1]: expected a value"),
            ("headers", json!([["Content-Length", "1"]]), "transport.headers[0]: \"Content-Length\" is set"),
            ("connections", json!(-1), "transport: invalid value"),
            ("weight", json!(0), "transport.weight: expected a number from 1"),
            ("others", json!([{"endpoint": "x"}]), "transport.others[0].endpoint: expected host:port"),
            ("others", json!([{"endpoint": "x:1", "weight": 0}]), "transport.others[0].weight: expected a number"),
            ("tls", json!({"verify": 1}), "transport"),
        ] {
            let message = refusal(field, value);
            assert!(message.starts_with(expected), "{message}");
        }
    }

    #[test]
    fn keys_are_never_shown() {
        let identity = super::Identity { chain: "c".to_owned(), key: "secret".to_owned() };
        assert_eq!(format!("{identity:?}"), "Identity");
    }
}
