//! A gRPC server that answers every call at once with four bytes: what is left is the client. Prints its address.

use _engine::http2::frame::{self, HEADER_LEN, Header};
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

const HEAD: &[u8] = b"\x88\x00\x0ccontent-type\x10application/grpc";
const TAIL: &[u8] = b"\x00\x0bgrpc-status\x010";
const MESSAGE: &[u8] = b"\x00\x00\x00\x00\x04fine";
const INITIAL_WINDOW_SIZE: u16 = 4;
const MOST: u32 = (1 << 31) - 1;

fn main() -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("{}", listener.local_addr()?);
    for socket in listener.incoming() {
        let socket = socket?;
        thread::spawn(move || serve(socket));
    }
    Ok(())
}

/// Frames are read as they come; all answers to what one read brought leave in one write.
fn serve(mut socket: TcpStream) -> io::Result<()> {
    socket.set_nodelay(true)?;
    socket.read_exact(&mut [0; frame::PREFACE.len()])?;
    let mut out = frame::control(frame::SETTINGS, 0, 0, &frame::settings(&[(INITIAL_WINDOW_SIZE, MOST)]));
    let (mut buffer, mut held) = (vec![0; 1 << 20], 0);
    loop {
        socket.write_all(&out)?;
        out.clear();
        let read = socket.read(&mut buffer[held..])?;
        if read == 0 {
            return Ok(());
        }
        held += read;
        let used = answer(&buffer[..held], &mut out);
        buffer.copy_within(used..held, 0);
        held -= used;
    }
}

/// Answers every whole frame; returns how many bytes those were.
fn answer(bytes: &[u8], out: &mut Vec<u8>) -> usize {
    let (mut used, mut data) = (0, 0u32);
    while let Some(head) = bytes.get(used..used + HEADER_LEN) {
        let header = Header::parse(head.try_into().expect("as long as a header"));
        let Some(payload) = bytes.get(used + HEADER_LEN..used + HEADER_LEN + header.len) else { break };
        used += HEADER_LEN + header.len;
        match header.kind {
            frame::DATA => {
                data += header.len as u32;
                if header.has(frame::END_STREAM) {
                    out.extend(frame::control(frame::HEADERS, frame::END_HEADERS, header.stream, HEAD));
                    out.extend(frame::control(frame::DATA, 0, header.stream, MESSAGE));
                    let last = frame::END_HEADERS | frame::END_STREAM;
                    out.extend(frame::control(frame::HEADERS, last, header.stream, TAIL));
                }
            }
            frame::SETTINGS if !header.has(frame::ACK) => {
                out.extend(frame::control(frame::SETTINGS, frame::ACK, 0, &[]))
            }
            frame::PING if !header.has(frame::ACK) => out.extend(frame::control(frame::PING, frame::ACK, 0, payload)),
            _ => {}
        }
    }
    if data > 0 {
        out.extend(frame::control(frame::WINDOW_UPDATE, 0, 0, &data.to_be_bytes()));
    }
    used
}
