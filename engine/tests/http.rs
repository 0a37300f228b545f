//! The HTTP/1.1 transport against a scripted peer on real sockets: no hang, no lost count, every outcome by its name.

mod support;

use _engine::extra::Extra;
use _engine::plan::Plan;
use _engine::run::LoadResult;
use serde_json::json;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::thread;
use std::time::Duration;
use support::http::{OK, Server, payload, plan};
use support::{MS, failures, hang_up};

fn load(plan: &Plan, body: &[u8]) -> LoadResult {
    support::load(plan, payload(body))
}

fn only(result: &LoadResult, code: &str, message: &str) {
    assert_eq!(failures(result), [(code.to_owned(), result.sent)]);
    let example = result.examples.values().next().unwrap();
    assert!(example.contains(message), "{example}");
}

#[test]
fn every_request_is_answered_and_counted_once() {
    let server = Server::start(|session| session.send(OK));
    let result = load(&plan(server.address, 8, json!({"max_requests": 2000})), b"hello");
    assert_eq!((result.sent, result.ok, result.reconnects), (2000, 2000, 0));
    assert_eq!((server.requests(), server.connections()), (2000, 8));
    let head = server.seen.heads.lock().unwrap()[0].clone();
    assert!(head.starts_with(&format!("POST /v2/x HTTP/1.1\r\nHost: {}\r\n", server.address)), "{head}");
    assert!(head.contains("\r\nX-Test: yes\r\nContent-Length: 5\r\n\r\n"), "{head}");
    assert!(server.seen.bodies.lock().unwrap().iter().all(|body| body == b"hello"));
    let sent = result.slices.iter().map(|s| s.bytes_sent).sum::<u64>();
    assert_eq!(sent, 2000 * (head.len() as u64 + 5));
}

#[test]
fn large_bodies_pass_whole_both_ways() {
    let server = Server::start(|session| {
        session.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", 3 << 20))?;
        session.send(vec![7; 3 << 20])
    });
    let body: Vec<u8> = (0..4_500_000u32).map(|n| (n * 7 % 251) as u8).collect();
    let result = load(&plan(server.address, 2, json!({"max_requests": 6})), &body);
    assert_eq!(result.ok, 6);
    assert!(server.seen.bodies.lock().unwrap().iter().all(|seen| *seen == body));
    assert!(result.slices.iter().map(|s| s.bytes_received).sum::<u64>() > 6 * (3 << 20));
}

#[test]
fn writing_waiting_and_reading_are_told_apart() {
    const PAUSE: Duration = Duration::from_millis(60);
    let server = Server::raw("127.0.0.1:0", |session| {
        let head = session.head()?;
        // Meanwhile the sockets' buffers are full.
        thread::sleep(PAUSE);
        session.body(&head)?;
        thread::sleep(PAUSE);
        session.send(&OK[..OK.len() - 1])?;
        thread::sleep(PAUSE);
        session.send(&OK[OK.len() - 1..])
    });
    let result = load(&plan(server.address, 1, json!({"max_requests": 3})), &vec![1; 16 << 20]);
    assert_eq!(result.ok, 3);
    let sum = |part: fn(&Extra) -> u64| result.slices.iter().map(|slice| part(&slice.extra)).sum::<u64>();
    // Of three requests one is enough: a client that is held up reads what came in pieces as one.
    let pause = PAUSE.as_nanos() as u64 * 9 / 10;
    assert!(sum(|extra| extra.write_ns) >= pause);
    assert!(sum(|extra| extra.wait_ns) >= pause);
    assert!(sum(|extra| extra.read_ns) >= pause);
}

#[test]
fn answers_in_pieces_chunks_and_after_interim_ones() {
    let server = Server::start(|session| {
        let text: &[u8] = match session.requests % 3 {
            0 => b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
            1 => b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n1\r\nd\r\n0\r\nT: u\r\n\r\n",
            _ => b"HTTP/1.1 204 No Content\r\n\r\n",
        };
        for piece in text.chunks(7) {
            session.send(piece)?;
            thread::sleep(Duration::from_micros(300));
        }
        Ok(())
    });
    let result = load(&plan(server.address, 3, json!({"max_requests": 60})), b"x");
    assert_eq!((result.ok, server.connections()), (60, 3));
}

#[test]
fn failures_are_counted_by_status_with_the_first_message() {
    let server = Server::start(|session| match session.requests % 3 {
        0 => session.send("HTTP/1.1 503 Busy\r\nContent-Length: 25\r\n\r\n{\"error\":\"queue is full\"}"),
        1 => session.send("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"),
        _ => session.send(OK),
    });
    let result = load(&plan(server.address, 1, json!({"max_requests": 30})), b"x");
    assert_eq!(failures(&result), [("http_400".to_owned(), 10), ("http_503".to_owned(), 10)]);
    let examples: Vec<&str> = result.examples.values().map(String::as_str).collect();
    assert_eq!((result.ok, examples), (10, vec!["HTTP status 400", "queue is full"]));
    assert_eq!(server.connections(), 1);
}

#[test]
fn connections_that_the_server_closes_are_made_again() {
    let server = Server::start(|session| match (session.number % 2, session.requests) {
        // Announced; and without a word, right behind the answer.
        (0, 5) => session.send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"),
        (1, 5) => session.send("HTTP/1.0 200 OK\r\n\r\nuntil the end").and(Err(hang_up())),
        _ => session.send(OK),
    });
    let result = load(&plan(server.address, 2, json!({"max_requests": 200})), b"x");
    assert_eq!((result.ok, failures(&result)), (200, vec![]));
    assert_eq!((server.requests(), result.reconnects), (200, server.connections() - 2));
    assert!(result.reconnects >= 38, "{}", result.reconnects);
}

#[test]
fn a_server_may_answer_before_it_has_read_the_request() {
    let server = Server::raw("127.0.0.1:0", |session| {
        session.head()?;
        session.send("HTTP/1.1 413 Content Too Large\r\nContent-Length: 7\r\nConnection: close\r\n\r\ntoo big")?;
        // Reads on so that the answer is not lost in a reset.
        let mut sink = [0; 65_536];
        while session.socket.read(&mut sink)? > 0 {}
        Err(hang_up())
    });
    let result = load(&plan(server.address, 2, json!({"max_requests": 10})), &vec![1; 8 << 20]);
    only(&result, "http_413", "too big");
    assert_eq!(server.connections(), 10);
}

#[test]
fn truncated_answers_are_lost_connections() {
    let server = Server::start(|session| session.send(&OK[..OK.len() - 1]).and(Err(hang_up())));
    let result = load(&plan(server.address, 2, json!({"max_requests": 6})), b"x");
    only(&result, "connection_lost", "in the middle of the response");
}

#[test]
fn oversized_and_senseless_answers_are_protocol_errors() {
    for (text, message) in [
        (&b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nok"[..], "more bytes than its response announced"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "not an HTTP/1.1 response"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "a chunk size that is not a number"),
    ] {
        let server = Server::start(move |session| session.send(text));
        let result = load(&plan(server.address, 2, json!({"max_requests": 6})), b"x");
        only(&result, "protocol_error", message);
    }
    let server = Server::start(|session| {
        session.send("HTTP/1.1 200 OK\r\n")?;
        loop {
            session.send("X-Endless: header\r\n".repeat(1000))?;
        }
    });
    let result = load(&plan(server.address, 1, json!({"max_requests": 2})), b"x");
    only(&result, "protocol_error", "64 KiB");
}

#[test]
fn a_silent_server_times_out_and_the_slot_is_used_again() {
    let server = Server::start(|session| if session.number == 0 { Ok(()) } else { session.send(OK) });
    let changes = json!({"max_requests": 20, "request_timeout_ns": 80 * MS});
    let result = load(&plan(server.address, 1, changes), b"x");
    assert_eq!((failures(&result), result.ok), (vec![("timeout".to_owned(), 1)], 19));
    assert_eq!((result.reconnects, server.connections()), (1, 2));
}

#[test]
fn bytes_that_nobody_waits_for_end_the_connection_and_nothing_else() {
    let server = Server::start(|session| {
        session.send(OK)?;
        if session.requests == 3 {
            thread::sleep(Duration::from_millis(5));
            session.send("HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n")?;
        }
        Ok(())
    });
    let arrivals = json!({"kind": "open", "max_in_flight": 10, "arrivals": {"kind": "constant", "rate": 50}});
    let result = load(&plan(server.address, 1, json!({"max_requests": 15, "schedule": arrivals})), b"x");
    assert_eq!((result.ok, failures(&result)), (15, vec![]));
}

#[test]
fn nobody_there_is_no_run_and_says_why() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let error = support::try_load(&plan(free, 4, json!({"max_requests": 1})), payload(b"x")).unwrap_err();
    assert!(error.to_string().starts_with(&format!("cannot connect to {free}: Connection refused")), "{error}");
}

#[test]
fn payloads_that_are_no_rest_of_a_request_are_refused() {
    let server = Server::start(|session| session.send(OK));
    for (bytes, expected) in [
        (&b"hello"[..], "expected the request's remaining headers"),
        (b"Content-Length: 4\r\n\r\nhello", "its Content-Length is not its length"),
        (b"\r\nhello", "a body needs a Content-Length"),
    ] {
        let error =
            support::try_load(&plan(server.address, 1, json!({"max_requests": 1})), bytes.to_vec()).unwrap_err();
        assert!(error.to_string().starts_with(&format!("payloads[0]: {expected}")), "{error}");
    }
    let get = json!({"max_requests": 5, "transport.method": "GET"});
    assert_eq!(support::load(&plan(server.address, 1, get), b"\r\n".to_vec()).ok, 5);
}

#[test]
fn a_server_that_dies_and_comes_back_costs_counted_failures_only() {
    let first = Server::start(|session| session.send(OK));
    let address = first.address;
    let other = thread::spawn(move || {
        thread::sleep(Duration::from_millis(150));
        drop(first);
        thread::sleep(Duration::from_millis(300));
        Server::raw(&address.to_string(), |session| {
            let head = session.head()?;
            session.body(&head)?;
            session.send(OK)
        })
    });
    let result = load(&plan(address, 4, json!({"max_duration_ns": 900 * MS})), b"x");
    let second = other.join().unwrap();
    assert!(second.requests() > 0 && result.reconnects >= 4);
    let failed = failures(&result);
    assert!(
        failed.iter().all(|(code, _)| ["connect_refused", "connection_lost"].contains(&code.as_str())),
        "{failed:?}"
    );
    // 300 ms of doubling pauses from 10 ms on: a handful of attempts for each of four slots.
    assert!((4..80).contains(&failed.iter().map(|(_, count)| count).sum::<u64>()), "{failed:?}");
}

#[test]
fn an_open_loop_makes_the_connections_that_it_needs_and_no_more_than_allowed() {
    for (limit, expected) in [(0, 40), (7, 7)] {
        let server = Server::start(|session| {
            thread::sleep(Duration::from_millis(200));
            session.send(OK)
        });
        let schedule = json!({"kind": "open", "max_in_flight": 100, "arrivals": {"kind": "constant", "rate": 400}});
        let changes = json!({"max_requests": 40, "schedule": schedule, "transport.connections": limit});
        let result = load(&plan(server.address, 1, changes), b"x");
        assert_eq!((result.ok, server.connections()), (40, expected), "limit {limit}");
    }
}

#[test]
fn several_endpoints_share_the_load_by_weight() {
    let (one, two) = (Server::start(|session| session.send(OK)), Server::start(|session| session.send(OK)));
    let others = json!([{"endpoint": two.address.to_string(), "weight": 2}]);
    let changes = json!({"max_requests": 3000, "transport.others": others, "transport.weight": 1});
    let result = load(&plan(one.address, 12, changes), b"x");
    assert_eq!((result.ok, one.requests(), two.requests()), (3000, 1000, 2000));
}

#[test]
fn an_endpoint_that_dies_fails_its_own_share_only() {
    let (one, two) = (Server::start(|session| session.send(OK)), Server::start(|session| session.send(OK)));
    let others = json!([{"endpoint": two.address.to_string()}]);
    let plan = plan(one.address, 4, json!({"max_duration_ns": 400 * MS, "transport.others": others}));
    let killer = thread::spawn(move || {
        thread::sleep(Duration::from_millis(150));
        drop(two);
    });
    let result = load(&plan, b"x");
    killer.join().unwrap();
    let failed: u64 = result.failed.values().sum();
    assert!(failed > 0 && result.ok > 100 && failures(&result).iter().all(|(code, _)| code.starts_with("connect")));
}

#[test]
fn workers_have_connections_of_their_own() {
    let server = Server::start(|session| session.send(OK));
    let result = load(&plan(server.address, 10, json!({"max_requests": 1001, "workers": 2})), b"x");
    assert_eq!((result.ok, result.workers, server.connections()), (1001, 2, 10));
}

const TENSORS: &str =
    r#"{"outputs":[{"name":"OUT","datatype":"INT8","shape":[2],"parameters":{"binary_data_size":2}}]}"#;

/// A load whose every third answer is compared with the ModelInferResponse of OUT = [1, 2].
fn compared(server: &Server, requests: u64) -> LoadResult {
    let changes = json!({"max_requests": requests, "validate": {"every": 3, "compare": {"kind": "exact"}}});
    let output = b"\x2a\x10\x0a\x03OUT\x12\x04INT8\x1a\x01\x02\x32\x02\x01\x02";
    // Field 5 is 14 bytes: name 5, datatype 6, shape 3.
    let output = [&output[..1], &[14], &output[2..]].concat();
    let expected = support::message(&output);
    let pools = [payload(b"hello"), expected].map(|bytes| Arc::new(_engine::payload::Pool::new([bytes])));
    let [pool, expected] = pools;
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    let plan = plan(server.address, 1, changes);
    let result = _engine::run::run_checked(&plan, pool, Some(expected), &mut support::Deadline(deadline)).unwrap();
    support::assert_balanced(&result);
    result
}

fn tensors(head: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 200 OK\r\nInference-Header-Content-Length: {}\r\n{head}Content-Length: {}\r\n\r\n",
        TENSORS.len(),
        body.len()
    );
    [head.as_bytes(), body].concat()
}

#[test]
fn sampled_answers_are_compared() {
    let good = [TENSORS.as_bytes(), &[1, 2]].concat();
    let right = good.clone();
    let server = Server::start(move |session| session.send(tensors("", &right)));
    assert_eq!(compared(&server, 30).ok, 30);
    let server = Server::start(|session| session.send(tensors("", &[TENSORS.as_bytes(), &[1, 3]].concat())));
    let result = compared(&server, 30);
    assert_eq!((result.ok, failures(&result)), (20, vec![("wrong_output".to_owned(), 10)]));
    assert_eq!(result.examples.values().next().unwrap(), "payload 0: output OUT[1] expected 2, got 3");
    let server = Server::start(move |session| {
        let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(&good)?;
        session.send(tensors("Content-Encoding: deflate\r\n", &encoder.finish()?))
    });
    assert_eq!(compared(&server, 30).ok, 30);
    let server = Server::start(|session| session.send(tensors("Content-Encoding: gzip\r\n", b"neither")));
    let result = compared(&server, 3);
    assert_eq!((result.ok, failures(&result)), (2, vec![("wrong_output".to_owned(), 1)]));
}
