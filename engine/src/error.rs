//! What can go wrong: with a run (`Error`), or with one request (`Code`).

use std::fmt;

/// Why a run could not begin or go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// The plan is not valid: where, and what was expected.
    Plan { path: String, message: String },
    /// No connection could be made before the run began.
    Connect { endpoint: String, reason: String },
    /// The operating system refused something the engine needs.
    System { action: &'static str, reason: String },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Plan { path, message } => write!(f, "{path}: {message}"),
            Error::Connect { endpoint, reason } => write!(f, "cannot connect to {endpoint}: {reason}"),
            Error::System { action, reason } => write!(f, "cannot {action}: {reason}"),
        }
    }
}

impl std::error::Error for Error {}

impl Error {
    pub fn system(action: &'static str) -> impl Fn(std::io::Error) -> Error {
        move |error| Error::System { action, reason: error.to_string() }
    }
}

/// How a request failed: what failures are counted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Code {
    /// The service answered with this gRPC status (never 0).
    Grpc(u8),
    /// The service, or something before it, answered with this HTTP status instead of 200.
    Http(u16),
    /// No outcome within the request timeout.
    Timeout,
    ConnectRefused,
    ConnectFailed,
    /// TLS could not be agreed on, or its peer sent an alert.
    Tls,
    /// The connection ended while the request was on it.
    ConnectionLost,
    /// The peer broke the framing of HTTP or gRPC.
    ProtocolError,
    /// A sampled answer was not the expected one.
    WrongOutput,
}

const GRPC_NAMES: [&str; 17] = [
    "ok",
    "cancelled",
    "unknown",
    "invalid_argument",
    "deadline_exceeded",
    "not_found",
    "already_exists",
    "permission_denied",
    "resource_exhausted",
    "failed_precondition",
    "aborted",
    "out_of_range",
    "unimplemented",
    "internal",
    "unavailable",
    "data_loss",
    "unauthenticated",
];

impl Code {
    pub const CANCELLED: Code = Code::Grpc(1);
    pub const UNKNOWN: Code = Code::Grpc(2);
    pub const PERMISSION_DENIED: Code = Code::Grpc(7);
    pub const RESOURCE_EXHAUSTED: Code = Code::Grpc(8);
    pub const INTERNAL: Code = Code::Grpc(13);
    pub const UNAVAILABLE: Code = Code::Grpc(14);

    /// Numbers that gRPC does not define mean `unknown`, as its specification asks.
    pub fn from_grpc(status: u32) -> Code {
        match u8::try_from(status) {
            Ok(status) if usize::from(status) < GRPC_NAMES.len() => Code::Grpc(status),
            _ => Code::UNKNOWN,
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Code::Grpc(status) => f.write_str(GRPC_NAMES[usize::from(*status)]),
            Code::Http(status) => write!(f, "http_{status}"),
            Code::Timeout => f.write_str("timeout"),
            Code::ConnectRefused => f.write_str("connect_refused"),
            Code::ConnectFailed => f.write_str("connect_failed"),
            Code::Tls => f.write_str("tls_failed"),
            Code::ConnectionLost => f.write_str("connection_lost"),
            Code::ProtocolError => f.write_str("protocol_error"),
            Code::WrongOutput => f.write_str("wrong_output"),
        }
    }
}

/// A failed request: its code, and a sentence kept as the example of that code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    pub code: Code,
    pub message: String,
}

impl Failure {
    pub fn new(code: Code, message: impl Into<String>) -> Failure {
        Failure { code, message: message.into() }
    }
}
