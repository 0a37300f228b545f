//! The bytes of one connection: a socket that never blocks, in clear text or under TLS.

use crate::error::{Code, Error, Failure};
use crate::tls::Tls;
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use rustls::ClientConnection;
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::{SocketAddr, ToSocketAddrs};

/// First and longest pause before connecting again to a server that does not answer.
pub const FIRST_BACKOFF_NS: u64 = 10_000_000;
const LONGEST_BACKOFF_NS: u64 = 1_000_000_000;

/// How long to wait after so many attempts in a row that came to nothing.
pub fn backoff_ns(failures: u32) -> u64 {
    (FIRST_BACKOFF_NS << failures.saturating_sub(1).min(10)).min(LONGEST_BACKOFF_NS)
}

/// The error of a run that cannot begin: nobody can be reached, for this reason, or somebody ends the wait.
pub fn give_up(endpoint: &str, reason: Option<Failure>, go_on: bool) -> Result<(), Error> {
    match reason.map(|failure| failure.message).or_else(|| (!go_on).then(|| "interrupted".to_owned())) {
        Some(reason) => Err(Error::Connect { endpoint: endpoint.to_owned(), reason }),
        None => Ok(()),
    }
}

pub struct Wire {
    socket: TcpStream,
    tls: Option<Box<ClientConnection>>,
    connected: bool,
}

impl Wire {
    pub fn dial(address: SocketAddr, tls: Option<&Tls>, registry: &Registry, token: Token) -> Result<Wire, Failure> {
        let tls = tls.map(Tls::connection).transpose();
        let tls = tls.map_err(|error| Failure::new(Code::Tls, format!("TLS: {error}")))?;
        let mut socket = TcpStream::connect(address).map_err(|error| connect_failure(&error))?;
        let interest = Interest::READABLE | Interest::WRITABLE;
        registry.register(&mut socket, token, interest).map_err(|error| connect_failure(&error))?;
        Ok(Wire { socket, tls: tls.map(Box::new), connected: false })
    }

    /// The kernel says that the socket may be written: for the first time, that the connection was made, or not.
    /// True once it was made.
    pub fn became_writable(&mut self) -> Result<bool, Failure> {
        if !self.connected {
            if let Some(error) = self.socket.take_error().unwrap_or_else(Some) {
                return Err(connect_failure(&error));
            }
            match self.socket.peer_addr() {
                Err(error) if error.kind() == ErrorKind::NotConnected => return Ok(false),
                Err(error) => return Err(connect_failure(&error)),
                Ok(_) => self.connected = true,
            }
            self.socket.set_nodelay(true).map_err(|error| connect_failure(&error))?;
        }
        match self.flush() {
            Err(error) if error.kind() != ErrorKind::WouldBlock => Err(self.failure(&error)),
            _ => Ok(true),
        }
    }

    pub fn is_encrypted(&self) -> bool {
        self.tls.is_some()
    }

    /// Connected, and shaken hands where that is asked for.
    pub fn is_open(&self) -> bool {
        self.connected && self.tls.as_ref().is_none_or(|tls| !tls.is_handshaking())
    }

    /// What a broken connection counts as.
    pub fn failure(&self, error: &io::Error) -> Failure {
        let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
        match tls {
            Some(reason) => Failure::new(Code::Tls, format!("TLS: {reason}")),
            None if self.tls.is_some() && !self.is_open() => {
                Failure::new(Code::Tls, format!("TLS: the connection ended during the handshake: {error}"))
            }
            None => Failure::new(Code::ConnectionLost, format!("connection lost: {error}")),
        }
    }

    /// What the end of the stream counts as.
    pub fn ended(&self) -> Failure {
        self.failure(&io::Error::new(ErrorKind::UnexpectedEof, "the server closed it"))
    }

    pub fn deregister(&mut self, registry: &Registry) {
        if let Some(tls) = &mut self.tls {
            tls.send_close_notify();
            let _ = tls.write_tls(&mut self.socket);
        }
        let _ = registry.deregister(&mut self.socket);
    }

    fn write_through(
        &mut self,
        plain: impl FnOnce(&mut TcpStream) -> io::Result<usize>,
        encrypt: impl FnOnce(&mut rustls::Writer<'_>) -> io::Result<usize>,
    ) -> io::Result<usize> {
        let Some(tls) = &mut self.tls else { return plain(&mut self.socket) };
        if tls.is_handshaking() {
            return Err(ErrorKind::WouldBlock.into());
        }
        // What was encrypted earlier leaves first; rustls would otherwise collect without end.
        send(tls, &mut self.socket)?;
        let count = encrypt(&mut tls.writer())?;
        match send(tls, &mut self.socket) {
            Err(error) if error.kind() != ErrorKind::WouldBlock => Err(error),
            _ => Ok(count),
        }
    }
}

/// Hand over everything that is encrypted, or say that the socket would block.
fn send(tls: &mut ClientConnection, socket: &mut TcpStream) -> io::Result<()> {
    while tls.wants_write() {
        match tls.write_tls(socket) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_through(|socket| socket.write(bytes), |tls| tls.write(bytes))
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.write_through(|socket| socket.write_vectored(slices), |tls| tls.write_vectored(slices))
    }

    /// Encrypted bytes that the socket has not taken yet.
    fn flush(&mut self) -> io::Result<()> {
        match &mut self.tls {
            Some(tls) => send(tls, &mut self.socket),
            None => Ok(()),
        }
    }
}

impl Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(tls) = &mut self.tls else { return self.socket.read(buffer) };
        loop {
            match tls.reader().read(buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                // Many servers close without saying goodbye; where a response ends, HTTP says itself.
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(0),
                outcome => return outcome,
            }
            let ended = tls.read_tls(&mut self.socket)? == 0;
            let state = tls.process_new_packets();
            // Answers of the handshake, or the alert that says why there will be none.
            let sent = send(tls, &mut self.socket);
            let state = state.map_err(|error| io::Error::new(ErrorKind::InvalidData, error))?;
            sent.or_else(|error| if error.kind() == ErrorKind::WouldBlock { Ok(()) } else { Err(error) })?;
            if ended && state.plaintext_bytes_to_read() == 0 {
                return Ok(0);
            }
        }
    }
}

/// Looks the host name of host:port up, which may block.
pub fn resolve(endpoint: &str) -> Result<Vec<SocketAddr>, Error> {
    let refused = |reason: String| Error::Connect { endpoint: endpoint.to_owned(), reason };
    let addresses: Vec<_> = endpoint.to_socket_addrs().map_err(|e| refused(e.to_string()))?.collect();
    if addresses.is_empty() { Err(refused("the host name has no address".to_owned())) } else { Ok(addresses) }
}

pub fn connect_failure(error: &io::Error) -> Failure {
    let code = if error.kind() == ErrorKind::ConnectionRefused { Code::ConnectRefused } else { Code::ConnectFailed };
    Failure::new(code, error.to_string())
}
