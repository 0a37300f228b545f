//! The gRPC transport against a scripted peer on real sockets: no hang, no lost count, every outcome by its name.

mod support;

use _engine::drive::{Job, Signals, drive};
use _engine::error::Error;
use _engine::grpc::{Grpc, Target};
use _engine::http2::frame;
use _engine::payload::{Draw, Pool};
use _engine::plan::Order;
use _engine::run::SystemClock;
use _engine::schedule::Schedule;
use _engine::transport::Clock;
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};
use support::*;

fn none() -> Vec<(String, u64)> {
    Vec::new()
}

#[test]
fn every_request_is_answered_and_counted_once() {
    let server = Server::instant();
    let result = load(&plan(server.address, 8, json!({"max_requests": 2000})), b"hello".to_vec());
    assert_eq!((result.sent, result.ok, result.unfinished, failures(&result)), (2000, 2000, 0, none()));
    assert_eq!(server.requests(), 2000);
    assert!(result.slices.iter().map(|s| s.bytes_received).sum::<u64>() > 2000 * 50);
}

#[test]
fn workers_and_connections_share_the_load() {
    let server = Server::instant();
    let result =
        load(&plan(server.address, 16, json!({"max_requests": 1001, "workers": 2, "connections": 2})), vec![1]);
    assert_eq!((result.ok, result.workers, result.reconnects), (1001, 2, 0));
    assert_eq!(server.seen.connections.load(Ordering::Relaxed), 4);
}

#[test]
fn failures_are_counted_by_code_with_the_first_message() {
    let server = Server::start(Script::new(&[], |session, stream| match session.requests % 5 {
        0 => session.refuse(stream, b"\x88\x00\x0bgrpc-status\x018\x00\x0cgrpc-message\x0eExceeds%20size"),
        1 => session.refuse(stream, b"\x00\x07:status\x03503"),
        2 => session.send(frame::RST_STREAM, 0, stream, &frame::REFUSED_STREAM.to_be_bytes()),
        3 => session.send(frame::HEADERS, frame::END_HEADERS | frame::END_STREAM, stream, OK_HEAD),
        _ => session.answer(stream),
    }));
    let result = load(&plan(server.address, 4, json!({"max_requests": 100})), vec![0; 20]);
    let names = ["resource_exhausted", "unavailable", "http_503", "protocol_error"];
    assert_eq!(failures(&result), names.map(|name| (name.to_owned(), 20)));
    assert_eq!(result.ok, 20);
    let examples: Vec<&str> = result.examples.values().map(String::as_str).collect();
    assert_eq!(examples[0], "Exceeds size");
    assert!(examples[1].contains("REFUSED_STREAM"), "{examples:?}");
}

#[test]
fn an_answer_without_its_message_is_a_failure() {
    let server = Server::start(Script::new(&[], |session, stream| {
        session.send(frame::HEADERS, frame::END_HEADERS, stream, OK_HEAD)?;
        session.send(frame::DATA, 0, stream, &message(b"whole")[..7])?;
        session.send(frame::HEADERS, frame::END_HEADERS | frame::END_STREAM, stream, OK_TAIL)
    }));
    let result = load(&plan(server.address, 1, json!({"max_requests": 3})), vec![]);
    assert_eq!(failures(&result), [("protocol_error".to_owned(), 3)]);
}

#[test]
fn padding_continuation_pings_and_unknown_frames_are_understood() {
    let server = Server::start(Script::new(&[], |session, stream| {
        session.send(frame::PING, 0, 0, b"12345678")?;
        session.send(0x77, 0xff, stream, b"unknown")?;
        let padded = [&[3, 0, 0, 0, 0, 9][..], &OK_HEAD[..4], &[0; 3]].concat();
        session.send(frame::HEADERS, frame::PADDED | frame::PRIORITY, stream, &padded)?;
        for byte in &OK_HEAD[4..] {
            session.send(frame::CONTINUATION, 0, stream, &[*byte])?;
        }
        session.send(frame::CONTINUATION, frame::END_HEADERS, stream, &[])?;
        let body = message(b"fine");
        session.send(frame::DATA, frame::PADDED, stream, &[&[2], &body[..3], &[0; 2]].concat())?;
        session.send(frame::DATA, 0, stream, &[])?;
        session.send(frame::DATA, frame::PADDED, stream, &[&[0], &body[3..]].concat())?;
        session.send(frame::HEADERS, frame::END_HEADERS | frame::END_STREAM, stream, OK_TAIL)
    }));
    let result = load(&plan(server.address, 2, json!({"max_requests": 50})), vec![1, 2, 3]);
    assert_eq!((result.ok, failures(&result)), (50, none()));
    assert!(server.seen.ping_acks.load(Ordering::Relaxed) >= 48);
}

#[test]
fn no_more_streams_than_the_server_allows() {
    for limit in [1, 3] {
        let settings: &'static [(u16, u32)] = if limit == 1 { &[(3, 1)] } else { &[(3, 3)] };
        let server = Server::start(Script::new(settings, |session, stream| session.answer(stream)));
        let result = load(&plan(server.address, 10, json!({"max_requests": 300})), vec![7; 100]);
        assert_eq!(result.ok, 300);
        assert!(server.seen.most_streams.load(Ordering::Relaxed) <= limit);
    }
}

#[test]
fn large_messages_pass_small_windows_both_ways() {
    const SETTINGS: &[(u16, u32)] = &[(frame::INITIAL_WINDOW_SIZE, 1000), (frame::HEADER_TABLE_SIZE, 0)];
    let server = Server::start(
        Script::new(SETTINGS, |session, stream| session.answer_with(stream, &vec![5; 5 << 20])).keeping_bodies(),
    );
    let payload: Vec<u8> = (0..4_500_000u32).map(|n| (n * 7 % 251) as u8).collect();
    let result = load(&plan(server.address, 2, json!({"max_requests": 3})), payload.clone());
    assert_eq!((result.ok, failures(&result)), (3, none()));
    assert!(server.seen.bodies.lock().unwrap().iter().all(|body| *body == message(&payload)));
    assert!(result.slices.iter().map(|s| s.bytes_received).sum::<u64>() > 3 * (5 << 20));
}

#[test]
fn settings_that_change_in_the_middle_are_obeyed() {
    let script =
        Script::new(&[(frame::MAX_FRAME_SIZE, 100_000), (frame::INITIAL_WINDOW_SIZE, 1 << 20)], |session, stream| {
            // Shrinks below what is already in flight, then opens again.
            session.settings(&[(frame::INITIAL_WINDOW_SIZE, 10), (frame::MAX_FRAME_SIZE, 16_384)])?;
            session.settings(&[(frame::INITIAL_WINDOW_SIZE, 50_000), (frame::HEADER_TABLE_SIZE, 100)])?;
            session.answer(stream)
        });
    let server = Server::start(script.keeping_bodies());
    let payload = vec![9; 120_000];
    let result = load(&plan(server.address, 3, json!({"max_requests": 30})), payload.clone());
    assert_eq!((result.ok, failures(&result)), (30, none()));
    assert!(server.seen.bodies.lock().unwrap().iter().all(|body| *body == message(&payload)));
    assert!(server.seen.largest_frame.load(Ordering::Relaxed) <= 100_000);
}

#[test]
fn a_server_that_says_goodbye_loses_nothing() {
    let server = Server::start(Script::new(&[], |session, stream| {
        if session.requests == 10 {
            // This one was not processed any more, nor what came after it: all of it goes to the next connection.
            return session.go_away(stream - 2);
        }
        if session.requests > 10 { Ok(()) } else { session.answer(stream) }
    }));
    let result = load(&plan(server.address, 4, json!({"max_requests": 95})), vec![1]);
    assert_eq!((result.ok, failures(&result)), (95, none()));
    assert!(result.reconnects >= 10, "{}", result.reconnects);
}

#[test]
fn a_graceful_goodbye_lets_what_is_in_flight_finish() {
    let server = Server::start(Script::new(&[], |session, stream| {
        if session.requests == 5 {
            session.go_away(frame::MAX_STREAM_ID)?;
        }
        session.answer(stream)
    }));
    let result = load(&plan(server.address, 3, json!({"max_requests": 60})), vec![1]);
    assert_eq!((result.ok, failures(&result), server.requests()), (60, none(), 60));
}

#[test]
fn a_silent_server_times_out_and_the_slot_is_used_again() {
    let server =
        Server::start(Script::new(
            &[],
            |session, stream| {
                if session.requests % 2 == 0 { session.answer(stream) } else { Ok(()) }
            },
        ));
    let result = load(&plan(server.address, 1, json!({"max_requests": 6, "request_timeout_ns": 60 * MS})), vec![1]);
    assert_eq!(failures(&result), [("timeout".to_owned(), 3)]);
    assert_eq!(result.ok, 3);
    assert!(server.seen.resets.load(Ordering::Relaxed) >= 1);
    assert_eq!(result.examples.values().next().unwrap(), "no answer within 0.06 s");
}

#[test]
fn a_connection_silent_for_a_whole_timeout_is_replaced() {
    let server = Server::start(Script::new(&[], |session, stream| {
        if session.number > 0 {
            return session.answer(stream);
        }
        thread::sleep(Duration::from_secs(1));
        Err(hang_up())
    }));
    let result = load(&plan(server.address, 2, json!({"max_requests": 20, "request_timeout_ns": 100 * MS})), vec![1]);
    // The first timeout asks for a sign of life, the second has waited for it in vain.
    let timeouts = 20 - result.ok;
    assert_eq!((failures(&result), result.reconnects), (vec![("timeout".to_owned(), timeouts)], 1));
    assert!((4..=6).contains(&timeouts), "{timeouts}");
}

#[test]
fn what_is_never_answered_is_counted_as_unfinished() {
    let server = Server::start(Script::new(&[], |_, _| Ok(())));
    let changes = json!({"max_duration_ns": 60 * MS, "drain_timeout_ns": 40 * MS});
    let result = load(&plan(server.address, 5, changes), vec![1]);
    assert_eq!((result.sent, result.unfinished, result.stopped_ns), (5, 5, 60 * MS));
    assert!(result.elapsed_ns >= 100 * MS && result.elapsed_ns < 400 * MS);
    assert_eq!(result.slices.last().unwrap().in_flight, 5);
}

#[test]
fn a_server_killed_and_started_again_costs_only_what_was_lost() {
    let server = Server::instant();
    let address = server.address;
    let plan = plan(address, 8, json!({"max_duration_ns": 900 * MS}));
    let killer = thread::spawn(move || {
        thread::sleep(Duration::from_millis(200));
        drop(server);
        thread::sleep(Duration::from_millis(250));
        let again = Server::start_at(address, Script::new(&[], |session, stream| session.answer(stream)));
        thread::sleep(Duration::from_millis(600));
        again.requests()
    });
    let result = load(&plan, vec![1]);
    let served_again = killer.join().unwrap();
    assert!(served_again > 0 && result.reconnects >= 1);
    let failed = failures(&result);
    assert!(failed.iter().any(|(code, _)| code == "connect_refused"), "{failed:?}");
    assert!(failed.iter().map(|(_, count)| count).sum::<u64>() < 200, "a dead server is not stormed: {failed:?}");
}

#[test]
fn a_server_that_greets_and_dies_is_not_stormed() {
    let server = Server::start(Script::new(&[], |_, _| Err(hang_up())));
    let result = load(&plan(server.address, 4, json!({"max_duration_ns": 400 * MS})), vec![1]);
    assert_eq!(result.ok, 0);
    assert_eq!(failures(&result).len(), 1);
    assert_eq!(failures(&result)[0].0, "connection_lost");
    assert!(server.seen.connections.load(Ordering::Relaxed) < 20);
}

#[test]
fn a_peer_that_breaks_the_protocol_is_left_and_tried_again() {
    let breaches: [&[u8]; 6] = [
        &[0, 0, 0, frame::CONTINUATION, 0, 0, 0, 0, 1],
        &[0, 0, 1, frame::HEADERS, frame::END_HEADERS, 0, 0, 0, 1, 0xff],
        &[0, 0, 4, frame::WINDOW_UPDATE, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        &[0, 0, 0, frame::HEADERS, frame::END_HEADERS, 0, 0, 0, 99],
        &[0xff, 0, 0, frame::PING, 0, 0, 0, 0, 0],
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
    ];
    for breach in breaches {
        let server = Server::start(Script::new(&[], move |session, stream| {
            if session.number == 0 { session.send_raw(breach) } else { session.answer(stream) }
        }));
        let result = load(&plan(server.address, 1, json!({"max_requests": 5})), vec![1]);
        assert_eq!((result.ok, failures(&result)), (4, vec![("protocol_error".to_owned(), 1)]), "{breach:?}");
    }
}

#[test]
fn an_early_answer_ends_the_request() {
    let server = Server::start(
        Script::new(&[(frame::INITIAL_WINDOW_SIZE, 0)], |session, stream| session.answer(stream)).greeting(|session| {
            session.settings(&[(frame::INITIAL_WINDOW_SIZE, 0)])?;
            loop {
                let (header, _) = session.read_frame()?;
                if header.kind == frame::HEADERS {
                    session.refuse(header.stream, b"\x88\x00\x0bgrpc-status\x013")?;
                }
            }
        }),
    );
    let result = load(&plan(server.address, 2, json!({"max_requests": 10})), vec![1; 100]);
    assert_eq!(failures(&result), [("invalid_argument".to_owned(), 10)]);
}

fn connect_reason(plan: &_engine::plan::Plan) -> String {
    match try_load(plan, vec![1]) {
        Err(Error::Connect { reason, .. }) => reason,
        other => panic!("expected a connect error, got {other:?}"),
    }
}

#[test]
fn no_server_no_run() {
    let address = Server::instant().address;
    assert!(connect_reason(&plan(address, 1, json!({}))).contains("Connection refused"));
}

#[test]
fn a_listener_that_never_greets_is_given_up_in_time() {
    let server = Server::start(Script::new(&[], |_, _| Ok(())).greeting(|session| {
        loop {
            session.read_frame()?;
        }
    }));
    let begun = Instant::now();
    let reason = connect_reason(&plan(server.address, 1, json!({"connect_timeout_ns": 150 * MS, "workers": 1})));
    assert_eq!(reason, "no HTTP/2 greeting within 0.15 s");
    assert!(begun.elapsed() < Duration::from_secs(2));
}

#[test]
fn a_listener_of_another_protocol_is_named() {
    let server = Server::start(Script::new(&[], |_, _| Ok(())).greeting(|session| session.send_raw(&[b'x'; 100])));
    let reason = connect_reason(&plan(server.address, 1, json!({})));
    assert!(reason.contains("the server sent"), "{reason}");
}

#[test]
fn hundreds_of_slots_over_several_connections() {
    let server =
        Server::start(Script::new(&[(frame::MAX_CONCURRENT_STREAMS, 100)], |session, stream| session.answer(stream)));
    let result =
        load(&plan(server.address, 500, json!({"max_requests": 5000, "connections": 4, "workers": 2})), vec![3; 64]);
    assert_eq!((result.ok, server.requests()), (5000, 5000));
}

#[test]
fn streams_of_a_connection_are_limited_and_as_many_connections_made_as_that_takes() {
    let server =
        Server::start(Script::new(&[(frame::MAX_CONCURRENT_STREAMS, 100)], |session, stream| session.answer(stream)));
    let endpoint = server.address.to_string();
    let transport = |connections: u64| json!({"kind": "grpc", "endpoint": endpoint, "method": "/a.B/C", "metadata": [], "connections": connections, "max_streams": 3});
    let result = load(&plan(server.address, 8, json!({"max_requests": 400, "transport": transport(0)})), vec![1]);
    assert_eq!((result.ok, server.seen.connections.load(Ordering::Relaxed)), (400, 3));
    let most = server.seen.most_streams.load(Ordering::Relaxed);
    assert!(most <= 3, "{most} streams at the same time");
    let refused = try_load(&plan(server.address, 8, json!({"transport": transport(2)})), vec![1]).unwrap_err();
    let expected = "transport.connections: expected at least 3 for 8 requests in flight on 3 streams each, got 2";
    assert_eq!(refused.to_string(), expected);
}

#[test]
fn connections_whose_stream_ids_run_out_are_replaced() {
    let server = Server::instant();
    let target = Target {
        endpoint: server.address.to_string(),
        addresses: vec![server.address],
        tls: None,
        compressed: false,
        head: vec![(":method".to_owned(), "POST".to_owned())],
        connections: 1,
        max_streams: usize::MAX,
        connect_timeout_ns: 2000 * MS,
        first_stream: frame::MAX_STREAM_ID - 18,
    };
    let clock = SystemClock::start();
    let mut grpc = Grpc::connect(target, Arc::new(Pool::new([vec![1u8]])), &clock, || true).unwrap();
    let job = Job {
        schedule: Schedule::closed(3),
        draw: Draw::new(Order::RoundRobin, 1, 0, 0, 1),
        start: clock.now(),
        slice_ns: 50 * MS,
        max_requests: Some(100),
        max_duration_ns: None,
        request_timeout_ns: 5000 * MS,
        drain_timeout_ns: 5000 * MS,
        signals: &Signals::default(),
    };
    let mut slices = Vec::new();
    let ended = drive(job, &mut grpc, &clock, |closed| slices.push(closed.slice));
    assert_eq!(slices.iter().map(|s| s.ok).sum::<u64>(), 100);
    assert_eq!(ended.unfinished, 0);
    // Ten requests fit on each connection; the last one is replaced, too, if the new one's greeting beats its answers.
    assert!(matches!(ended.reconnects, 9 | 10), "{}", ended.reconnects);
}

#[test]
fn compressed_messages_say_so_in_their_prefix() {
    let server = Server::start(Script::new(&[], |session, stream| session.answer(stream)).keeping_bodies());
    let mut plan = plan(server.address, 1, json!({"max_requests": 2}));
    let _engine::plan::Transport::Grpc(grpc) = &mut plan.transport else { unreachable!() };
    grpc.encoding = Some(_engine::plan::Encoding::Gzip);
    assert_eq!(load(&plan, b"zipped".to_vec()).ok, 2);
    assert!(server.seen.bodies.lock().unwrap().iter().all(|body| body == b"\x01\0\0\0\x06zipped"));
}

#[test]
fn several_endpoints_share_the_load_by_weight() {
    let (one, two) = (Server::instant(), Server::instant());
    let mut plan = plan(one.address, 8, json!({"max_requests": 4000}));
    let _engine::plan::Transport::Grpc(grpc) = &mut plan.transport else { unreachable!() };
    grpc.weight = 3;
    grpc.others = vec![_engine::plan::Weighted { endpoint: two.address.to_string(), weight: 1 }];
    assert_eq!(load(&plan, vec![1]).ok, 4000);
    assert_eq!((one.requests(), two.requests()), (3000, 1000));
}
