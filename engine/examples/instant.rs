//! A gRPC server that answers every call at once: what is left is the client. Prints its address.
//!
//!     instant [FOLDER]
//!
//! A file of the folder is the encoded message that the method of that name answers with, `ModelInfer` what all others
//! do, with the id of the request. Files called NAME.0, NAME.1 and so on are the answers of one method in turn. Without a
//! folder every answer is four bytes.

use _engine::http2::PREFIX_LEN;
use _engine::http2::frame::{self, HEADER_LEN, Header};
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::{env, fs, thread};

const HEAD: &[u8] = b"\x88\x00\x0ccontent-type\x10application/grpc";
const TAIL: &[u8] = b"\x00\x0bgrpc-status\x010";
const SERVICE: &[u8] = b"/inference.GRPCInferenceService/";
const HEADER_TABLE_SIZE: u16 = 1;
const INITIAL_WINDOW_SIZE: u16 = 4;
const MOST: u32 = (1 << 31) - 1;

/// Whole gRPC messages.
struct Answers {
    by_method: Vec<Method>,
    other: Vec<u8>,
}

struct Method {
    name: String,
    /// Of which each is given once, and the last from then on.
    answers: Vec<Vec<u8>>,
    given: AtomicUsize,
}

impl Answers {
    fn read(folder: Option<String>) -> io::Result<Answers> {
        let mut answers = Answers { by_method: Vec::new(), other: framed(b"fine") };
        let entries = folder.map(fs::read_dir).transpose()?.into_iter().flatten();
        let mut files = entries.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
        files.sort();
        for file in files {
            let message = framed(&fs::read(&file)?);
            let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            match answers.by_method.iter_mut().find(|method| method.name == name) {
                _ if name == "ModelInfer" => answers.other = message,
                Some(method) => method.answers.push(message),
                None => answers.by_method.push(Method { name, answers: vec![message], given: AtomicUsize::new(0) }),
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
        self.by_method.iter().position(|method| block[at..].starts_with(method.name.as_bytes()))
    }
}

/// The id of a ModelInferRequest, as the field that it is there and in the response; empty where it has none.
fn id_field(message: &[u8]) -> &[u8] {
    const MODEL_NAME: u8 = 0x0a;
    const MODEL_VERSION: u8 = 0x12;
    const ID: u8 = 0x1a;
    let mut rest = message;
    while let [tag @ (MODEL_NAME | MODEL_VERSION | ID), len @ 0..0x80, ..] = *rest {
        let Some((field, after)) = rest.split_at_checked(2 + usize::from(len)) else { break };
        if tag == ID {
            return field;
        }
        rest = after;
    }
    &[]
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
        thread::spawn(move || Peer { answers, chosen: Vec::new(), begun: Vec::new(), out: Vec::new() }.serve(socket));
    }
    Ok(())
}

struct Peer {
    answers: Arc<Answers>,
    /// Open streams whose answer is one of `by_method`.
    chosen: Vec<(u32, usize)>,
    /// Messages of which the last frame has not come.
    begun: Vec<(u32, Vec<u8>)>,
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
                    self.receive(header, payload);
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

    /// Requests are nearly always in one frame.
    fn receive(&mut self, header: Header, data: &[u8]) {
        let begun = self.begun.iter().position(|(open, _)| *open == header.stream);
        match (header.has(frame::END_STREAM), begun) {
            (true, None) => self.finish(header.stream, data),
            (true, Some(at)) => {
                let (stream, message) = self.begun.swap_remove(at);
                self.finish(stream, &[&message, data].concat());
            }
            (false, None) => self.begun.push((header.stream, data.to_vec())),
            (false, Some(at)) => self.begun[at].1.extend_from_slice(data),
        }
    }

    fn finish(&mut self, stream: u32, message: &[u8]) {
        let chosen = self.chosen.iter().position(|(open, _)| *open == stream).map(|at| self.chosen.swap_remove(at).1);
        let answers = self.answers.clone();
        self.put(frame::HEADERS, frame::END_HEADERS, stream, HEAD);
        match chosen {
            Some(chosen) => {
                let Method { answers, given, .. } = &answers.by_method[chosen];
                let turn = given.fetch_add(1, Ordering::Relaxed).min(answers.len() - 1);
                self.put(frame::DATA, 0, stream, &answers[turn]);
            }
            None if answers.by_method.is_empty() => self.put(frame::DATA, 0, stream, &answers.other),
            None => {
                let id = id_field(message.get(PREFIX_LEN..).unwrap_or_default());
                self.put(frame::DATA, 0, stream, &framed(&[&answers.other[PREFIX_LEN..], id].concat()));
            }
        }
        self.put(frame::HEADERS, frame::END_HEADERS | frame::END_STREAM, stream, TAIL);
    }
}
