//! Sequences over HTTP/1.1: what a request says of its sequence is written into ready bytes whose length never changes.

mod support;

use _engine::payload::Pool;
use _engine::plan::Plan;
use _engine::run::{LoadResult, run};
use serde_json::{Value, json};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};
use support::http::{OK, Server, payload, plan};
use support::{Deadline, MS, assert_balanced, failures, lengths, sequences, total, try_load};

const BLANK: &str = r#""sequence_id":0,"sequence_start":false,"sequence_end":false                   "#;
const BUSY: &str = "HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n";

/// A document with room, and what is behind it.
fn body(value: usize, tail: &[u8]) -> Vec<u8> {
    let document = format!(r#"{{"parameters":{{{BLANK},"priority":1}},"inputs":[{value}]}}"#);
    [document.as_bytes(), tail].concat()
}

fn load(plan: &Plan, bodies: &[Vec<u8>]) -> LoadResult {
    let pool = Arc::new(Pool::new(bodies.iter().map(|body| payload(body)).collect::<Vec<_>>()));
    let result = run(plan, pool, &mut Deadline(Instant::now() + Duration::from_secs(20))).unwrap();
    assert_balanced(&result);
    result
}

/// Id, start and end flag of a request as the server got it.
fn flags(body: &[u8]) -> (u64, bool, bool) {
    let document: Value = serde_json::Deserializer::from_slice(body).into_iter().next().unwrap().unwrap();
    let parameters = &document["parameters"];
    assert_eq!(parameters["priority"], 1);
    let flag = |name: &str| parameters[name].as_bool().unwrap();
    (parameters["sequence_id"].as_u64().unwrap(), flag("sequence_start"), flag("sequence_end"))
}

/// Runs the load; answers of several connections come in any order, and with them the sequences begin.
fn whole_and_closing(server: &Server, concurrency: usize, changes: Value) -> (u64, u64) {
    let result = load(&plan(server.address, concurrency, changes), &[body(0, b"")]);
    assert_eq!((result.sent, result.ok, result.unfinished), (40, 40, 0));
    let (whole, closing) = (total(&result, |e| e.sequences), total(&result, |e| e.closing));
    assert_eq!((server.requests(), lengths(&server.seen.bodies, flags).len() as u64), (40 + closing, whole + closing));
    assert!(lengths(&server.seen.bodies, flags).iter().filter(|length| **length == 5).count() as u64 >= whole);
    (whole, closing)
}

#[test]
fn requests_of_a_sequence_come_in_order_one_at_a_time() {
    let server = Server::start(|session| session.send(OK));
    let (whole, closing) = whole_and_closing(&server, 6, json!({"max_requests": 40, "sequences": sequences(4, 5)}));
    assert!((5..=8).contains(&whole) && closing <= 4, "{whole}, {closing}");
    assert_eq!(server.connections(), 4, "a sequence has one request in flight at most");
    let server = Server::start(|session| session.send(OK));
    assert_eq!(whole_and_closing(&server, 1, json!({"max_requests": 40, "sequences": sequences(4, 5)})), (8, 0));
}

#[test]
fn sequences_that_the_run_cuts_short_are_ended_politely() {
    let server = Server::start(|session| session.send(OK));
    let changes = json!({"max_requests": 40, "workers": 2, "sequences": sequences(3, 5)});
    assert!(whole_and_closing(&server, 3, changes).1 <= 3);
    let server = Server::start(|session| session.send(OK));
    let changes = json!({"max_requests": 40, "sequences": sequences(2, 100)});
    assert_eq!(whole_and_closing(&server, 2, changes), (0, 2));
}

#[test]
fn everything_but_the_room_stays_as_it_was() {
    let server = Server::start(|session| session.send(OK));
    // Copied, passed on by reference, and more than a socket takes at once; what looks like room in a tensor is none.
    let tails = [b"x".to_vec(), BLANK.as_bytes().repeat(200), vec![7; 3 << 20]];
    let bodies: Vec<Vec<u8>> = tails.iter().enumerate().map(|(n, tail)| body(n, tail)).collect();
    let changes = json!({"max_requests": 24, "sequences": sequences(2, 4)});
    let result = load(&plan(server.address, 2, changes), &bodies);
    assert_eq!(result.ok, 24);
    assert!(lengths(&server.seen.bodies, flags).iter().filter(|length| **length == 4).count() >= 4);
    for seen in server.seen.bodies.lock().unwrap().iter() {
        let sent = bodies.iter().find(|body| body.len() == seen.len()).expect("no length changes");
        let room = 15..15 + BLANK.len();
        assert_eq!((&seen[..15], &seen[room.end..]), (&sent[..15], &sent[room.end..]));
    }
}

#[test]
fn a_failed_request_ends_its_sequence_and_the_server_is_told() {
    let server = Server::start(|session| match (session.number, session.requests) {
        (0, 3) => session.send(BUSY),
        _ => session.send(OK),
    });
    let changes = json!({"max_requests": 8, "sequences": sequences(1, 5)});
    let result = load(&plan(server.address, 1, changes), &[body(0, b"")]);
    assert_eq!((result.ok, failures(&result)), (7, vec![("http_500".to_owned(), 1)]));
    assert_eq!((total(&result, |e| e.sequences), total(&result, |e| e.sequences_failed)), (1, 1));
    let mut lengths = lengths(&server.seen.bodies, flags);
    // Its end and the start of the next one travel over different connections.
    lengths.sort_unstable();
    assert_eq!((total(&result, |e| e.closing), lengths), (1, vec![4, 5]));
}

#[test]
fn a_sequence_that_timed_out_is_ended_over_another_connection() {
    let server = Server::start(|session| match session.number {
        0 if session.requests == 2 => Ok(()),
        _ => session.send(OK),
    });
    let changes = json!({"max_requests": 6, "request_timeout_ns": 150 * MS, "sequences": sequences(1, 3)});
    let result = load(&plan(server.address, 1, changes), &[body(0, b"")]);
    assert_eq!((result.ok, failures(&result)), (5, vec![("timeout".to_owned(), 1)]));
    let mut lengths = lengths(&server.seen.bodies, flags);
    lengths.sort_unstable();
    // Two requests and the end of the broken one; a whole one; the last one, ended after its first.
    assert_eq!(lengths, [2, 3, 3]);
    assert!(server.connections() > 1);
}

#[test]
fn an_open_loop_has_no_more_connections_than_sequences() {
    let server = Server::start(|session| {
        thread::sleep(Duration::from_millis(10));
        session.send(OK)
    });
    let schedule = json!({"kind": "open", "max_in_flight": 50, "arrivals": {"kind": "constant", "rate": 400.0}});
    let changes = json!({"max_requests": 20, "schedule": schedule, "sequences": sequences(2, 10)});
    let result = load(&plan(server.address, 1, changes), &[body(0, b"")]);
    assert_eq!((result.ok, result.dropped, lengths(&server.seen.bodies, flags)), (20, 0, vec![10, 10]));
    assert_eq!(server.connections(), 2);
}

#[test]
fn ids_of_every_length_fit() {
    let server = Server::start(|session| session.send(OK));
    let largest = 1u64 << 62;
    let ids = json!({"count": 1, "length": 1, "variation": 0.0, "first_id": largest, "id_count": largest});
    load(&plan(server.address, 1, json!({"max_requests": 3, "sequences": ids})), &[body(0, b"")]);
    let seen: Vec<u64> = server.seen.bodies.lock().unwrap().iter().map(|body| flags(body).0).collect();
    assert_eq!(seen, [largest, largest + 1, largest + 2]);
}

#[test]
fn payloads_without_room_are_refused_where_it_is_needed() {
    let server = Server::start(|session| session.send(OK));
    let refusal = |bytes: &[u8]| {
        let changes = json!({"max_requests": 1, "sequences": sequences(1, 1)});
        try_load(&plan(server.address, 1, changes), payload(bytes)).unwrap_err().to_string()
    };
    let expected = "payloads[0]: expected a document that begins with room for the parameters of a sequence";
    assert_eq!([refusal(br#"{"inputs":[]}"#), refusal(b"\x1f\x8bpacked")], [expected; 2]);
    assert_eq!(load(&plan(server.address, 1, json!({"max_requests": 3})), &[body(0, b"")]).ok, 3);
    assert!(server.seen.bodies.lock().unwrap().iter().all(|seen| *seen == body(0, b"")), "that of no sequence");
}
