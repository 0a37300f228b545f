use super::*;
use crate::http2::frame::control;
use proptest::prelude::*;

const HEAD: &[u8] = b"\x88\x40\x0bgrpc-status\x010";
const LAST: u8 = frame::END_HEADERS | frame::END_STREAM;

fn connection(payload: usize) -> Connection {
    let pool = Arc::new(Pool::new([vec![7u8; payload]]));
    Connection::new(pool, vec![(":method".into(), "POST".into()), ("x".into(), "y".into())], 1)
}

/// As a server that has greeted sees it.
fn greeted(payload: usize, settings: &[(u16, u32)]) -> Connection {
    let mut connection = connection(payload);
    feed(&mut connection, &control(frame::SETTINGS, 0, 0, &frame::settings(settings))).unwrap();
    drain(&mut connection);
    connection
}

fn feed(connection: &mut Connection, bytes: &[u8]) -> Result<Vec<Event>, Violation> {
    let mut events = Vec::new();
    let used = connection.receive(bytes, &mut events)?;
    assert_eq!(used, bytes.len());
    Ok(events)
}

/// Everything queued so far, as frames.
fn drain(connection: &mut Connection) -> Vec<(Header, Vec<u8>)> {
    let mut bytes = Vec::new();
    assert!(connection.outbox.write_to(&connection.pool, &mut bytes).unwrap());
    let mut rest = bytes.strip_prefix(frame::PREFACE).unwrap_or(&bytes);
    let mut frames = Vec::new();
    while let Some((header, body)) = rest.split_first_chunk() {
        let header = Header::parse(header);
        frames.push((header, body[..header.len].to_vec()));
        rest = &body[header.len..];
    }
    frames
}

fn sizes(connection: &mut Connection) -> Vec<(u8, usize)> {
    drain(connection).iter().map(|(header, _)| (header.kind, header.len)).collect()
}

fn ok_answer(stream: u32) -> Vec<u8> {
    let mut bytes = control(frame::HEADERS, frame::END_HEADERS, stream, b"\x88");
    bytes.extend(control(frame::DATA, 0, stream, b"\0\0\0\0\x02hi"));
    bytes.extend(control(frame::HEADERS, LAST, stream, b"\x00\x0bgrpc-status\x010"));
    bytes
}

fn outcome(events: &[Event]) -> Vec<(u32, Result<(), String>)> {
    let done = events.iter().filter_map(|event| match event {
        Event::Done { token, outcome } => Some((*token, outcome.clone().map_err(|f| f.code.to_string()))),
        _ => None,
    });
    done.collect()
}

#[test]
fn greets_before_anything_else_and_waits_for_the_peer() {
    let mut connection = connection(3);
    assert!(!connection.has_room());
    assert_eq!(sizes(&mut connection), [(frame::SETTINGS, 18), (frame::WINDOW_UPDATE, 4)]);
    assert!(feed(&mut connection, &control(frame::PING, 0, 0, &[0; 8])).is_err());
    let events = feed(&mut greeted(3, &[]), &[]).unwrap();
    assert!(events.is_empty());
}

#[test]
fn a_small_request_is_two_frames_with_a_head_that_shrinks() {
    let mut connection = greeted(3, &[]);
    connection.open(0, 0);
    let first = drain(&mut connection);
    assert_eq!(first[1].1, [0, 0, 0, 0, 3, 7, 7, 7]);
    assert!(first[1].0.has(frame::END_STREAM));
    connection.open(1, 0);
    assert_eq!(sizes(&mut connection), [(frame::HEADERS, 2), (frame::DATA, 8)]);
}

#[test]
fn bodies_wait_for_both_windows() {
    let mut connection = greeted(100_000, &[(frame::INITIAL_WINDOW_SIZE, 70_000)]);
    connection.open(0, 0);
    connection.open(1, 0);
    // The connection's 65535 bytes are the smaller window, and the first stream takes all of them.
    assert_eq!(sizes(&mut connection)[1..5].iter().map(|f| f.1).sum::<usize>(), 65_535);
    feed(&mut connection, &control(frame::WINDOW_UPDATE, 0, 0, &100_000u32.to_be_bytes())).unwrap();
    let sent: usize = drain(&mut connection).iter().map(|(header, _)| header.len).sum();
    assert_eq!(sent, 70_000 - 65_535 + 70_000);
    feed(&mut connection, &control(frame::WINDOW_UPDATE, 0, 1, &50_000u32.to_be_bytes())).unwrap();
    let last = drain(&mut connection);
    assert!(last.iter().all(|(header, _)| header.stream == 1));
    assert!(
        !last.last().unwrap().0.has(frame::END_STREAM),
        "100000 + 70000 - 65535 - 74465 are left of the connection's"
    );
}

#[test]
fn stream_ids_run_out_and_the_connection_takes_no_more() {
    let pool = Arc::new(Pool::new([vec![1u8]]));
    let mut connection = Connection::new(pool, vec![], frame::MAX_STREAM_ID - 2);
    feed(&mut connection, &control(frame::SETTINGS, 0, 0, &[])).unwrap();
    assert_eq!(connection.open(0, 0), frame::MAX_STREAM_ID - 2);
    assert!(connection.has_room());
    assert_eq!(connection.open(1, 0), frame::MAX_STREAM_ID);
    assert!(!connection.has_room() && connection.is_draining());
    assert_eq!(outcome(&feed(&mut connection, &ok_answer(frame::MAX_STREAM_ID)).unwrap()), [(1, Ok(()))]);
}

#[test]
fn late_frames_of_cancelled_streams_are_passed_over() {
    let mut connection = greeted(3, &[]);
    let stream = connection.open(0, 0);
    connection.cancel(stream);
    assert_eq!(sizes(&mut connection).last(), Some(&(frame::RST_STREAM, 4)));
    assert!(outcome(&feed(&mut connection, &ok_answer(stream)).unwrap()).is_empty());
    assert_eq!(connection.in_flight(), 0);
}

#[test]
fn goodbye_hands_back_what_was_not_processed() {
    let mut connection = greeted(3, &[]);
    for token in 0..3 {
        connection.open(token, 0);
    }
    let events = feed(&mut connection, &control(frame::GOAWAY, 0, 0, &[0, 0, 0, 3, 0, 0, 0, 0])).unwrap();
    assert!(matches!(events[..], [Event::Unprocessed { token: 2, payload: 0, .. }]));
    assert!(!connection.has_room());
    assert_eq!(outcome(&feed(&mut connection, &ok_answer(3)).unwrap()), [(1, Ok(()))]);
}

#[test]
fn what_breaks_the_rules_is_a_violation() {
    let breaches: [(&str, Vec<u8>); 16] = [
        ("even stream", control(frame::HEADERS, LAST, 2, b"\x88")),
        ("idle stream", control(frame::DATA, 0, 9, b"")),
        ("idle reset", control(frame::RST_STREAM, 0, 9, &[0; 4])),
        ("short reset", control(frame::RST_STREAM, 0, 1, &[0; 3])),
        ("long ping", control(frame::PING, 0, 0, &[0; 9])),
        ("ping on a stream", control(frame::PING, 0, 1, &[0; 8])),
        ("odd settings", control(frame::SETTINGS, 0, 0, &[0; 5])),
        ("settings on a stream", control(frame::SETTINGS, 0, 1, &[])),
        ("window too large", control(frame::SETTINGS, 0, 0, &frame::settings(&[(4, 1 << 31)]))),
        ("frame size too small", control(frame::SETTINGS, 0, 0, &frame::settings(&[(5, 100)]))),
        ("window by nothing", control(frame::WINDOW_UPDATE, 0, 0, &[0; 4])),
        ("window overflow", control(frame::WINDOW_UPDATE, 0, 0, &[0x7f, 0xff, 0xff, 0xff])),
        ("push", control(frame::PUSH_PROMISE, 0, 1, &[0; 8])),
        ("padding beyond", control(frame::DATA, frame::PADDED, 1, &[9, 0])),
        ("bad head", control(frame::HEADERS, LAST, 1, &[0x80])),
        ("bad message", control(frame::DATA, 0, 1, &[2, 0, 0, 0, 0])),
    ];
    for (name, bytes) in breaches {
        let mut connection = greeted(3, &[]);
        connection.open(0, 0);
        assert!(connection.receive(&bytes, &mut Vec::new()).is_err(), "{name}");
    }
    let mut connection = greeted(3, &[]);
    connection.open(0, 0);
    feed(&mut connection, &control(frame::HEADERS, 0, 1, b"\x88")).unwrap();
    assert!(feed(&mut connection, &control(frame::PING, 0, 0, &[0; 8])).is_err(), "interrupted header block");
}

#[test]
fn floods_that_nobody_reads_the_answers_of_end() {
    let mut connection = greeted(3, &[]);
    let pings = control(frame::PING, 0, 0, &[0; 8]).repeat(MAX_ANSWERS + 2);
    assert_eq!(connection.receive(&pings, &mut Vec::new()).unwrap_err().code, frame::ENHANCE_YOUR_CALM);
    let mut connection = greeted(3, &[]);
    connection.open(0, 0);
    let mut endless = control(frame::HEADERS, 0, 1, b"\x88");
    endless.extend(control(frame::CONTINUATION, 0, 1, &[0; 16_000]).repeat(20));
    assert_eq!(connection.receive(&endless, &mut Vec::new()).unwrap_err().code, frame::ENHANCE_YOUR_CALM);
}

#[test]
fn the_receive_windows_are_given_back() {
    let mut connection = greeted(3, &[]);
    connection.open(0, 0);
    drain(&mut connection);
    let mut message = vec![0, 0xff, 0xff, 0xff, 0xff];
    message.resize(MAX_FRAME, 0);
    feed(&mut connection, &control(frame::DATA, 0, 1, &message)).unwrap();
    let part = control(frame::DATA, 0, 1, &vec![0; MAX_FRAME]);
    for _ in 1..(WINDOW_GRAIN as usize / MAX_FRAME) {
        feed(&mut connection, &part).unwrap();
    }
    assert_eq!(sizes(&mut connection), [(frame::WINDOW_UPDATE, 4), (frame::WINDOW_UPDATE, 4)]);
}

/// A frame as a peer might send it, right or wrong.
fn any_frame() -> impl Strategy<Value = Vec<u8>> {
    (0u8..12, any::<u8>(), 0u32..8, prop::collection::vec(any::<u8>(), 0..40))
        .prop_map(|(kind, flags, stream, payload)| control(kind, flags, stream, &payload))
}

proptest! {
    #[test]
    fn bytes_of_any_kind_never_panic_and_never_lose_a_request(
        frames in prop::collection::vec(prop_oneof![any_frame(), prop::collection::vec(any::<u8>(), 0..30), (1u32..8).prop_map(ok_answer)], 0..30),
        payload in prop::sample::select(vec![0usize, 10, 100_000]),
    ) {
        let mut connection = greeted(payload, &[]);
        for token in 0..4 {
            connection.open(token, 0);
        }
        let mut events = Vec::new();
        let mut input = Vec::new();
        for bytes in frames {
            input.extend(bytes);
            match connection.receive(&input, &mut events) {
                Ok(used) => { input.drain(..used); }
                Err(_) => break,
            }
        }
        connection.fail_all(&Failure::new(crate::error::Code::ConnectionLost, ""), &mut events);
        let mut tokens: Vec<u32> = events.iter().filter_map(|event| match event {
            Event::Done { token, .. } | Event::Unprocessed { token, .. } => Some(*token),
            Event::Ready | Event::First { .. } | Event::Response { .. } => None,
        }).collect();
        tokens.sort_unstable();
        prop_assert_eq!(tokens, vec![0, 1, 2, 3]);
    }

    /// Whatever a peer sends on long-lived streams, every request has one outcome and no stream serves two.
    #[test]
    fn streams_lose_no_request(
        frames in prop::collection::vec((0u8..5, 0u32..4, prop::sample::select(vec![
            &b"\0\0\0\0\x02\x12\0"[..],
            b"\0\0\0\0\x04\x12\x02\x2a\0",
            b"\0\0\0\0\x03\x0a\x01x",
            b"\0\0\0\0\x21\x12\x1f\x22\x1b\x0a\x15triton_final_response\x12\x02\x08\0\x2a\0",
            b"\0\0\0",
            b"\0\x01",
        ])), 0..40),
    ) {
        let mut connection = greeted(3, &[]);
        connection.manner.streaming = true;
        let (mut next, mut done) = (0, Vec::new());
        let mut events = Vec::new();
        for (kind, stream, body) in frames {
            while connection.in_flight() < 3 && connection.has_room() {
                connection.open(next, 0);
                next += 1;
            }
            let id = stream * 2 + 1;
            let bytes = match kind {
                0 => control(frame::HEADERS, frame::END_HEADERS, id, b"\x88"),
                1 => control(frame::HEADERS, LAST, id, b"\x00\x0bgrpc-status\x010"),
                2 => control(frame::RST_STREAM, 0, id, &[0; 4]),
                _ => control(frame::DATA, 0, id, body),
            };
            if connection.receive(&bytes, &mut events).is_err() {
                break;
            }
        }
        connection.fail_all(&Failure::new(crate::error::Code::ConnectionLost, ""), &mut events);
        for event in events {
            if let Event::Done { token, .. } = event {
                done.push(token);
            }
        }
        done.sort_unstable();
        prop_assert_eq!(done, (0..next).collect::<Vec<u32>>());
    }

    #[test]
    fn where_the_reads_cut_makes_no_difference(cuts in prop::collection::vec(1usize..30, 1..50)) {
        let mut connection = greeted(3, &[]);
        let mut bytes = Vec::new();
        for token in 0..3 {
            let stream = connection.open(token, 0);
            bytes.extend(control(frame::HEADERS, 0, stream, &HEAD[..2]));
            bytes.extend(control(frame::CONTINUATION, frame::END_HEADERS, stream, &HEAD[2..]));
            bytes.extend(control(frame::DATA, frame::PADDED, stream, b"\x04\0\0\0\0\x06padded\0\0\0\0"));
            bytes.extend(control(frame::PING, 0, 0, &[1; 8]));
            bytes.extend(control(frame::HEADERS, LAST, stream, b"\x00\x0bgrpc-status\x010"));
        }
        let (mut events, mut input, mut rest) = (Vec::new(), Vec::new(), &bytes[..]);
        for cut in cuts.iter().cycle() {
            let (now, later) = rest.split_at(rest.len().min(*cut));
            input.extend_from_slice(now);
            let used = connection.receive(&input, &mut events).unwrap();
            input.drain(..used);
            rest = later;
            if rest.is_empty() { break }
        }
        prop_assert_eq!(outcome(&events), vec![(0, Ok(())), (1, Ok(())), (2, Ok(()))]);
    }
}
