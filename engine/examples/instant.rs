//! A gRPC server that answers every call at once: what is left is the client. Prints its address.
//!
//!     instant [FOLDER]
//!
//! A file of the folder is the encoded message that the method of that name answers with, `ModelInfer` what all others
//! do; without a folder every answer is four bytes.

use _engine::http2::frame::{self, HEADER_LEN, Header};
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::{env, fs, thread};

const HEAD: &[u8] = b"\x88\x00\x0ccontent-type\x10application/grpc";
const TAIL: &[u8] = b"\x00\x0bgrpc-status\x010";
const SERVICE: &[u8] = b"/inference.GRPCInferenceService/";
const HEADER_TABLE_SIZE: u16 = 1;
const INITIAL_WINDOW_SIZE: u16 = 4;
const MOST: u32 = (1 << 31) - 1;

/// Whole gRPC messages.
struct Answers {
    by_method: Vec<(Vec<u8>, Vec<u8>)>,
    other: Vec<u8>,
}

impl Answers {
    fn read(folder: Option<String>) -> io::Result<Answers> {
        let mut answers = Answers { by_method: Vec::new(), other: framed(b"fine") };
        for file in folder.map(fs::read_dir).into_iter().flatten().flatten() {
            let file = file?;
            let message = framed(&fs::read(file.path())?);
            match file.file_name().into_encoded_bytes() {
                name if name == b"ModelInfer" => answers.other = message,
                name => answers.by_method.push((name, message)),
            }
        }
        Ok(answers)
    }

    /// Header tables are off where methods matter, so that every header block has its path in plain text.
    fn settings(&self) -> Vec<u8> {
        let windows = (INITIAL_WINDOW_SIZE, MOST);
        if self.by_method.is_empty() {
            return frame::settings(&[windows]);
        }
        frame::settings(&[windows, (HEADER_TABLE_SIZE, 0)])
    }

    /// Which answer of `by_method` the request with this header block gets.
    fn choose(&self, block: &[u8]) -> Option<usize> {
        if self.by_method.is_empty() {
            return None;
        }
        let at = block.windows(SERVICE.len()).position(|bytes| bytes == SERVICE)? + SERVICE.len();
        self.by_method.iter().position(|(name, _)| block[at..].starts_with(name))
    }
}

fn framed(message: &[u8]) -> Vec<u8> {
    let mut framed = vec![0];
    framed.extend((message.len() as u32).to_be_bytes());
    framed.extend(message);
    framed
}

fn main() -> io::Result<()> {
    let answers = Arc::new(Answers::read(env::args().nth(1))?);
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("{}", listener.local_addr()?);
    for socket in listener.incoming() {
        let (socket, answers) = (socket?, answers.clone());
        thread::spawn(move || Peer { answers, chosen: Vec::new(), out: Vec::new() }.serve(socket));
    }
    Ok(())
}

struct Peer {
    answers: Arc<Answers>,
    /// Open streams whose answer is one of `by_method`.
    chosen: Vec<(u32, usize)>,
    out: Vec<u8>,
}

impl Peer {
    /// Frames are read as they come; all answers to what one read brought leave in one write.
    fn serve(&mut self, mut socket: TcpStream) -> io::Result<()> {
        socket.set_nodelay(true)?;
        socket.read_exact(&mut [0; frame::PREFACE.len()])?;
        self.put(frame::SETTINGS, 0, 0, &self.answers.settings());
        let (mut buffer, mut held) = (vec![0; 1 << 20], 0);
        loop {
            socket.write_all(&self.out)?;
            self.out.clear();
            let read = socket.read(&mut buffer[held..])?;
            if read == 0 {
                return Ok(());
            }
            held += read;
            let used = self.answer(&buffer[..held]);
            buffer.copy_within(used..held, 0);
            held -= used;
        }
    }

    fn put(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        self.out.extend(frame::control(kind, flags, stream, payload));
    }

    /// Answers every whole frame; returns how many bytes those were.
    fn answer(&mut self, bytes: &[u8]) -> usize {
        let (mut used, mut data) = (0, 0u32);
        while let Some(head) = bytes.get(used..used + HEADER_LEN) {
            let header = Header::parse(head.try_into().expect("as long as a header"));
            let Some(payload) = bytes.get(used + HEADER_LEN..used + HEADER_LEN + header.len) else { break };
            used += HEADER_LEN + header.len;
            match header.kind {
                frame::HEADERS => {
                    self.chosen.extend(self.answers.choose(payload).map(|answer| (header.stream, answer)));
                }
                frame::DATA => {
                    data += header.len as u32;
                    if header.has(frame::END_STREAM) {
                        self.finish(header.stream);
                    }
                }
                frame::SETTINGS if !header.has(frame::ACK) => self.put(frame::SETTINGS, frame::ACK, 0, &[]),
                frame::PING if !header.has(frame::ACK) => self.put(frame::PING, frame::ACK, 0, payload),
                _ => {}
            }
        }
        if data > 0 {
            self.put(frame::WINDOW_UPDATE, 0, 0, &data.to_be_bytes());
        }
        used
    }

    fn finish(&mut self, stream: u32) {
        let chosen = self.chosen.iter().position(|(open, _)| *open == stream).map(|at| self.chosen.swap_remove(at).1);
        let answers = self.answers.clone();
        let message = chosen.map_or(&answers.other, |chosen| &answers.by_method[chosen].1);
        self.put(frame::HEADERS, frame::END_HEADERS, stream, HEAD);
        self.put(frame::DATA, 0, stream, message);
        self.put(frame::HEADERS, frame::END_HEADERS | frame::END_STREAM, stream, TAIL);
    }
}
