//! HTTP/2 for a load generator: the client side of RFC 9113 and 7541, without sockets and without a clock.

pub mod connection;
pub mod frame;
pub mod hpack;
mod huffman;
pub mod outbox;

/// Bytes before each gRPC message: whether it is compressed, and how long it is.
pub const PREFIX_LEN: usize = 5;

/// The peer broke the protocol; the connection must end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Violation {
    /// HTTP/2 error code for the GOAWAY.
    pub code: u32,
    pub what: &'static str,
}

impl Violation {
    pub const fn protocol(what: &'static str) -> Violation {
        Violation { code: frame::PROTOCOL_ERROR, what }
    }

    pub const fn flow_control(what: &'static str) -> Violation {
        Violation { code: frame::FLOW_CONTROL_ERROR, what }
    }

    pub const fn frame_size(what: &'static str) -> Violation {
        Violation { code: frame::FRAME_SIZE_ERROR, what }
    }

    pub const fn compression(what: &'static str) -> Violation {
        Violation { code: frame::COMPRESSION_ERROR, what }
    }
}
