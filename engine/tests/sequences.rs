//! Sequences, answers that are compared, records and the parts of a latency, against a scripted peer on real sockets.

mod support;

use _engine::extra::{RECORD_LEN, UNFINISHED};
use _engine::http2::frame;
use _engine::kserve::{Value, fields};
use _engine::payload::Pool;
use _engine::plan::Plan;
use _engine::run::{LoadResult, run_checked};
use serde_json::json;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};
use support::*;

const PAYLOAD: &[u8] = b"\x0a\x05model";

/// Id, start and end flag of a request as the server got it.
fn flags(body: &[u8]) -> (u64, bool, bool) {
    let message = &body[5..];
    assert_eq!(u32::from_be_bytes(body[1..5].try_into().unwrap()) as usize, message.len());
    assert!(message.starts_with(PAYLOAD), "the payload is untouched");
    let (mut id, mut start, mut end) = (0, false, false);
    for field in fields(&message[PAYLOAD.len()..]) {
        let (4, Value::Bytes(entry)) = field.unwrap() else { panic!("something else than a parameter") };
        let mut parts = fields(entry).map(|part| match part.unwrap().1 {
            Value::Bytes(bytes) => bytes,
            Value::Number(_) => panic!("a number"),
        });
        let (key, value) = (parts.next().unwrap(), parts.next().unwrap());
        let Value::Number(value) = fields(value).next().unwrap().unwrap().1 else { panic!("no scalar") };
        match key {
            b"sequence_id" => id = value,
            b"sequence_start" => start = value == 1,
            b"sequence_end" => end = value == 1,
            _ => panic!("{key:?}"),
        }
    }
    (id, start, end)
}

#[test]
fn requests_of_a_sequence_come_in_order_one_at_a_time() {
    let server = Server::start(Script::new(&[], |session, stream| session.answer(stream)).keeping_bodies());
    let changes = json!({"max_requests": 40, "sequences": sequences(4, 5)});
    let result = load(&plan(server.address, 4, changes), PAYLOAD.to_vec());
    assert_eq!((result.ok, total(&result, |e| e.sequences), total(&result, |e| e.closing)), (40, 8, 0));
    assert_eq!(lengths(&server.seen.bodies, flags), [5; 8]);
    let timed = result.slices.iter().flat_map(|s| &s.extra.sequence_latency).map(|pair| pair.1).sum::<u64>();
    assert_eq!(timed, 8);
}

#[test]
fn sequences_that_the_run_cuts_short_are_ended_politely_and_not_counted() {
    let server = Server::start(Script::new(&[], |session, stream| session.answer(stream)).keeping_bodies());
    let changes = json!({"max_requests": 10, "workers": 2, "sequences": sequences(3, 4)});
    let result = load(&plan(server.address, 3, changes), PAYLOAD.to_vec());
    let (whole, closing) = (total(&result, |e| e.sequences), total(&result, |e| e.closing));
    assert_eq!((result.sent, result.ok, result.unfinished), (10, 10, 0));
    assert_eq!((server.requests(), lengths(&server.seen.bodies, flags).len() as u64), (10 + closing, whole + closing));
    assert!(closing > 0);
}

#[test]
fn a_failed_request_ends_its_sequence_and_the_server_is_told() {
    let server = Server::start(
        Script::new(&[], |session, stream| match session.requests {
            3 => session.refuse(stream, b"\x88\x00\x0bgrpc-status\x013"),
            _ => session.answer(stream),
        })
        .keeping_bodies(),
    );
    let result =
        load(&plan(server.address, 1, json!({"max_requests": 8, "sequences": sequences(1, 5)})), PAYLOAD.to_vec());
    assert_eq!((result.ok, result.failed.values().sum::<u64>()), (7, 1));
    assert_eq!((total(&result, |e| e.sequences), total(&result, |e| e.sequences_failed)), (1, 1));
    assert_eq!((total(&result, |e| e.closing), lengths(&server.seen.bodies, flags)), (1, vec![4, 5]));
}

#[test]
fn an_open_loop_waits_for_an_idle_sequence_and_counts_the_lag() {
    let server = Server::start(
        Script::new(&[], |session, stream| {
            thread::sleep(Duration::from_millis(20));
            session.answer(stream)
        })
        .keeping_bodies(),
    );
    let schedule = json!({"kind": "open", "max_in_flight": 50, "arrivals": {"kind": "constant", "rate": 200.0}});
    let changes = json!({"max_requests": 20, "schedule": schedule, "sequences": sequences(2, 10)});
    let result = load(&plan(server.address, 1, changes), PAYLOAD.to_vec());
    assert_eq!((result.ok, result.dropped, lengths(&server.seen.bodies, flags)), (20, 0, vec![10, 10]));
    assert!(server.seen.most_streams.load(std::sync::atomic::Ordering::Relaxed) <= 2);
    let lag = total(&result, |e| e.queue_ns) / 20;
    assert!(lag > 50 * MS, "the server needs 20 ms for what comes every 5: {lag}");
}

/// Fails every other request, so that many sequences are ended early.
fn failing() -> Server {
    Server::start(Script::new(&[], |session, stream| match session.requests % 2 {
        1 => session.refuse(stream, b"\x88\x00\x0bgrpc-status\x013"),
        _ => session.answer(stream),
    }))
}

#[test]
fn requests_that_end_sequences_are_no_answers_of_a_periodic_load() {
    let schedule = json!({"kind": "periodic", "start": 1, "end": 1, "step": 1, "request_period": 10});
    let changes = json!({"schedule": schedule, "sequences": sequences(1, 5)});
    let result = load(&plan(failing().address, 1, changes), PAYLOAD.to_vec());
    assert_eq!(result.sent, 10, "the step takes ten outcomes of requests");
    assert!(total(&result, |e| e.closing) > 0);
}

#[test]
fn requests_that_end_sequences_are_not_in_flight_for_an_open_loop() {
    let schedule = json!({"kind": "open", "max_in_flight": 1, "arrivals": {"kind": "constant", "rate": 100.0}});
    let changes = json!({"max_requests": 30, "schedule": schedule, "sequences": sequences(1, 5)});
    let result = load(&plan(failing().address, 1, changes), PAYLOAD.to_vec());
    // One that was counted off without having been counted on would let nothing pass any more.
    assert_eq!((result.sent, result.dropped), (30, 0));
    assert!(total(&result, |e| e.closing) > 0);
}

#[test]
fn large_payloads_get_their_suffix_through_small_windows() {
    const SETTINGS: &[(u16, u32)] = &[(frame::INITIAL_WINDOW_SIZE, 1000)];
    let server = Server::start(Script::new(SETTINGS, |session, stream| session.answer(stream)).keeping_bodies());
    let payload = [PAYLOAD, &[0x3a, 0xe8, 0x07], &[1; 1000]].concat();
    let result =
        load(&plan(server.address, 2, json!({"max_requests": 20, "sequences": sequences(2, 5)})), payload.clone());
    assert_eq!(result.ok, 20);
    for body in server.seen.bodies.lock().unwrap().iter() {
        assert_eq!(body[5..5 + payload.len()], payload);
        assert!(fields(&body[5 + payload.len()..]).all(|field| matches!(field, Ok((4, _)))));
    }
}

/// A ModelInferResponse with one FP32 output.
fn answer(values: &[f32]) -> Vec<u8> {
    let raw: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    let output = [b"\x0a\x01O\x12\x04FP32\x1a\x01", &[values.len() as u8][..]].concat();
    [&[0x2a, output.len() as u8][..], &output, &[0x32, raw.len() as u8], &raw].concat()
}

fn checked(plan: &Plan, payloads: [Vec<u8>; 2], expected: [Vec<u8>; 2]) -> LoadResult {
    let deadline = Instant::now() + Duration::from_secs(20);
    let expected = expected.map(|answer| message(&answer));
    let (payloads, expected) = (Arc::new(Pool::new(payloads)), Arc::new(Pool::new(expected)));
    let result = run_checked(plan, payloads, Some(expected), &mut Deadline(deadline)).unwrap();
    assert_balanced(&result);
    result
}

#[test]
fn sampled_answers_are_compared_with_those_of_their_payload() {
    // Answers the two payloads in turn; the ninth answer is wrong.
    let server = Server::start(Script::new(&[], |session, stream| {
        let value = if session.requests == 9 { 7.5 } else { (session.requests % 2) as f32 };
        session.answer_with(stream, &answer(&[value, 1.0]))
    }));
    let expected = || [answer(&[1.0, 1.0]), answer(&[0.0, 1.0])];
    let changes = |every| json!({"max_requests": 20, "validate": {"every": every, "compare": {"kind": "exact"}}});
    let payloads = || [vec![0], vec![1]];
    let result = checked(&plan(server.address, 1, changes(1)), payloads(), expected());
    assert_eq!((result.ok, failures(&result)), (19, vec![("wrong_output".to_owned(), 1)]));
    assert_eq!(result.examples.values().next().unwrap(), "payload 0: output O[0] expected 1, got 7.5");
    // A look at every third one passes the ninth by.
    let result = checked(&plan(server.address, 1, changes(3)), payloads(), expected());
    assert_eq!(result.ok, 20);
}

#[test]
fn expected_answers_that_do_not_fit_the_pool_are_refused() {
    let changes = json!({"validate": {"every": 1, "compare": {"kind": "argmax"}}});
    let plan = plan(Server::instant().address, 1, changes);
    let refusal = try_load(&plan, vec![1]).unwrap_err().to_string();
    assert_eq!(refusal, "validate: expected an answer for each of 1 payloads, got 0");
}

#[test]
fn every_request_has_a_record() {
    let server = Server::start(Script::new(&[], |session, stream| match session.requests {
        4 => session.refuse(stream, b"\x88\x00\x0bgrpc-status\x0214"),
        10 => Ok(()),
        _ => session.answer(stream),
    }));
    let changes = json!({"max_requests": 10, "records": true, "drain_timeout_ns": 100 * MS});
    let result = load(&plan(server.address, 2, changes), vec![1]);
    let records: Vec<u8> = result.slices.iter().flat_map(|s| s.extra.records.clone()).collect();
    let lines: Vec<_> = records.chunks(RECORD_LEN).collect();
    assert_eq!(lines.len(), 10);
    let number = |line: &[u8], at: usize| u64::from_le_bytes(line[at..at + 8].try_into().unwrap());
    let status = |line: &[u8]| u16::from_le_bytes([line[36], line[37]]);
    let mut statuses: Vec<u16> = lines.iter().map(|line| status(line)).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [0, 0, 0, 0, 0, 0, 0, 0, 14, UNFINISHED]);
    for line in lines.iter().filter(|line| status(line) == 0) {
        let times = [0, 8, 16, 24].map(|at| number(line, at));
        assert!(times.is_sorted(), "{times:?}");
    }
}

#[test]
fn the_parts_of_the_latency_say_where_the_time_went() {
    // The head comes after 20 ms, the end 30 ms later.
    let server = Server::start(Script::new(&[], |session, stream| {
        thread::sleep(Duration::from_millis(20));
        session.send(frame::HEADERS, frame::END_HEADERS, stream, OK_HEAD)?;
        thread::sleep(Duration::from_millis(30));
        session.send(frame::DATA, 0, stream, &message(b"fine"))?;
        session.send(frame::HEADERS, frame::END_HEADERS | frame::END_STREAM, stream, OK_TAIL)
    }));
    let result = load(&plan(server.address, 1, json!({"max_requests": 5})), vec![1; 200_000]);
    let sum = |of: fn(&_engine::extra::Extra) -> u64| total(&result, of);
    let parts = [sum(|e| e.queue_ns), sum(|e| e.write_ns), sum(|e| e.wait_ns), sum(|e| e.read_ns)];
    assert_eq!(parts.iter().sum::<u64>(), result.slices.iter().map(|s| s.latency_sum_ns).sum::<u64>());
    assert!(parts[1] > 0 && parts[2] >= 95 * MS && parts[3] >= 145 * MS, "{parts:?}");
}
