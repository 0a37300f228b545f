//! Long-lived streams against a scripted peer: several responses per request, markers, errors, and streams that break.

mod support;

use _engine::http2::frame;
use _engine::payload::Pool;
use _engine::run::{LoadResult, run_checked};
use serde_json::json;
use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;
use support::*;

fn field(number: u8, content: &[u8]) -> Vec<u8> {
    [&[number << 3 | 2, content.len() as u8][..], content].concat()
}

/// A ModelStreamInferResponse, with an output or without, and with the marker or without.
fn response(has_output: bool, last: Option<bool>) -> Vec<u8> {
    let marker = last.map_or_else(Vec::new, |last| {
        field(4, &[field(1, b"triton_final_response"), field(2, &[8, u8::from(last)])].concat())
    });
    let output = if has_output { field(5, &field(1, b"OUT")) } else { Vec::new() };
    field(2, &[marker, output].concat())
}

/// What the script does with the n-th request of the server, from 1, on the given stream.
type Answer = dyn Fn(&mut Session, u32, u64) -> io::Result<()> + Send + Sync;

fn server(answer: impl Fn(&mut Session, u32, u64) -> io::Result<()> + Send + Sync + 'static) -> Server {
    let answer: Arc<Answer> = Arc::new(answer);
    Server::start(Script::new(&[], |_, _| Ok(())).greeting(move |session| {
        session.settings(&[])?;
        let mut bodies: HashMap<u32, Vec<u8>> = HashMap::new();
        loop {
            let (header, payload) = session.read_frame()?;
            match header.kind {
                frame::HEADERS => {
                    bodies.insert(header.stream, Vec::new());
                    session.seen.most_streams.fetch_max(bodies.len() as u64, Ordering::Relaxed);
                    session.send(frame::HEADERS, frame::END_HEADERS, header.stream, OK_HEAD)?;
                }
                frame::DATA => {
                    assert!(!header.has(frame::END_STREAM), "the client's half stays open");
                    let Some(body) = bodies.get_mut(&header.stream) else { continue };
                    body.extend_from_slice(&payload);
                    if body.len() < 5 + u32::from_be_bytes(body[1..5].try_into().unwrap()) as usize {
                        continue;
                    }
                    body.clear();
                    let number = session.seen.requests.fetch_add(1, Ordering::Relaxed) + 1;
                    answer(session, header.stream, number)?;
                }
                frame::RST_STREAM => {
                    bodies.remove(&header.stream);
                    session.seen.resets.fetch_add(1, Ordering::Relaxed);
                }
                _ => {}
            }
        }
    }))
}

fn say(session: &mut Session, stream: u32, content: &[u8]) -> io::Result<()> {
    session.send(frame::DATA, 0, stream, &message(content))
}

fn streaming(server: &Server, concurrency: usize, mut changes: serde_json::Value) -> LoadResult {
    let endpoint = server.address.to_string();
    changes["transport"] = json!({"kind": "grpc", "endpoint": endpoint, "method": "/a.B/Stream", "metadata": [], "connections": 1, "streaming": true});
    load(&plan(server.address, concurrency, changes), vec![1, 2, 3])
}

/// As `streaming`, every answer compared with these.
fn compared(server: &Server, expected: &[Vec<u8>], requests: u64) -> LoadResult {
    let mut changes = json!({"max_requests": requests, "validate": {"every": 1, "compare": {"kind": "exact"}}});
    changes["transport"] = json!({"kind": "grpc", "endpoint": server.address.to_string(), "method": "/a.B/Stream", "metadata": [], "connections": 1, "streaming": true});
    let expected: Vec<u8> = expected.iter().flat_map(|part| message(part)).collect();
    let pools = [vec![1u8, 2, 3], expected].map(|bytes| Arc::new(Pool::new([bytes])));
    let [pool, expected] = pools;
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    let plan = plan(server.address, 1, changes);
    let result = run_checked(&plan, pool, Some(expected), &mut Deadline(deadline)).unwrap();
    assert_balanced(&result);
    result
}

fn count(pairs: &[(u32, u64)]) -> u64 {
    pairs.iter().map(|pair| pair.1).sum()
}

#[test]
fn one_stream_serves_one_slot_for_the_whole_run() {
    // Request n has n % 3 + 1 responses; the marker comes with the last, or alone behind it.
    let server = server(|session, stream, number| {
        let responses = number % 3 + 1;
        for n in 1..=responses {
            let marked_later = number % 2 == 0;
            say(session, stream, &response(true, Some(n == responses && !marked_later)))?;
            if n == responses && marked_later {
                say(session, stream, &response(false, Some(true)))?;
            }
        }
        Ok(())
    });
    let result = streaming(&server, 4, json!({"max_requests": 300}));
    assert_eq!((result.ok, failures(&result)), (300, vec![]));
    assert_eq!(total(&result, |e| e.responses), 600);
    assert_eq!(server.seen.most_streams.load(Ordering::Relaxed), 4);
    assert_eq!(total(&result, |e| count(&e.first_response)), 300);
    assert_eq!(total(&result, |e| count(&e.inter_response)), 300);
    let mut per_request = HashMap::new();
    for (responses, requests) in result.slices.iter().flat_map(|s| &s.extra.responses_per_request) {
        *per_request.entry(*responses).or_insert(0) += requests;
    }
    assert_eq!(per_request, HashMap::from([(1, 100), (2, 100), (3, 100)]));
}

#[test]
fn latencies_of_the_first_and_the_last_response_and_of_the_gaps() {
    let server = server(|session, stream, _| {
        for n in 0..3 {
            thread::sleep(Duration::from_millis(10));
            say(session, stream, &response(true, Some(false)))?;
            if n == 2 {
                thread::sleep(Duration::from_millis(20));
                say(session, stream, &response(false, Some(true)))?;
            }
        }
        Ok(())
    });
    let result = streaming(&server, 1, json!({"max_requests": 4}));
    let lowest = |of: fn(&_engine::extra::Extra) -> &Vec<(u32, u64)>| {
        let found = result.slices.iter().flat_map(|s| of(&s.extra)).map(|pair| pair.0).min();
        _engine::histogram::bucket_bounds(found.unwrap() as usize).1
    };
    assert!((10 * MS..25 * MS).contains(&lowest(|e| &e.first_response)));
    assert!((9 * MS..25 * MS).contains(&lowest(|e| &e.inter_response)));
    assert!((30 * MS..50 * MS).contains(&lowest(|e| &e.last_response)));
    assert!(result.slices.iter().map(|s| s.latency_sum_ns).sum::<u64>() / 4 >= 50 * MS);
}

#[test]
fn a_model_that_is_not_decoupled_has_no_marker() {
    let server = server(|session, stream, _| say(session, stream, &response(true, None)));
    let result = streaming(&server, 3, json!({"max_requests": 60}));
    assert_eq!((result.ok, total(&result, |e| e.responses)), (60, 60));
}

#[test]
fn errors_in_the_stream_are_outcomes_of_their_request_and_the_stream_goes_on() {
    let server = server(|session, stream, number| match number % 2 {
        0 => say(session, stream, &field(1, b"no such luck")),
        _ => say(session, stream, &response(true, Some(true))),
    });
    let result = streaming(&server, 1, json!({"max_requests": 10}));
    assert_eq!((result.ok, failures(&result)), (5, vec![("unknown".to_owned(), 5)]));
    assert_eq!(result.examples.values().next().unwrap(), "no such luck");
    assert_eq!((server.seen.most_streams.load(Ordering::Relaxed), server.requests()), (1, 10));
}

#[test]
fn a_stream_that_the_server_ends_or_resets_is_replaced() {
    let server = server(|session, stream, number| match number {
        3 => session.send(frame::HEADERS, frame::END_HEADERS | frame::END_STREAM, stream, OK_TAIL),
        5 => session.refuse(stream, b"\x00\x0bgrpc-status\x0214"),
        7 => session.send(frame::RST_STREAM, 0, stream, &frame::CANCEL.to_be_bytes()),
        9 => {
            // Ends between two requests.
            say(session, stream, &response(true, Some(true)))?;
            session.send(frame::RST_STREAM, 0, stream, &[0; 4])
        }
        _ => say(session, stream, &response(true, Some(true))),
    });
    let result = streaming(&server, 1, json!({"max_requests": 20}));
    let expected = ["cancelled", "unavailable", "protocol_error"].map(|name| (name.to_owned(), 1));
    let failed = failures(&result);
    // The reset of the idle stream may meet the next request on it.
    assert!(expected.iter().all(|one| failed.contains(one)) && failed.len() <= 4, "{failed:?}");
    assert!(result.ok >= 16);
}

#[test]
fn an_answer_that_never_ends_times_out_and_its_rest_meets_nobody() {
    let server = server(|session, stream, number| match number {
        1 => say(session, stream, &response(true, Some(false))),
        _ => say(session, stream, &response(true, Some(true))),
    });
    let result = streaming(&server, 1, json!({"max_requests": 5, "request_timeout_ns": 80 * MS}));
    assert_eq!((result.ok, failures(&result)), (4, vec![("timeout".to_owned(), 1)]));
    assert_eq!(server.seen.resets.load(Ordering::Relaxed), 1);
}

#[test]
fn what_is_no_answer_breaks_the_connection_not_the_run() {
    for nonsense in [&b"\x0a\x7fx"[..], b"\xff"] {
        let server = server(move |session, stream, number| match number {
            1 => say(session, stream, nonsense),
            _ => say(session, stream, &response(true, Some(true))),
        });
        let result = streaming(&server, 1, json!({"max_requests": 5}));
        assert_eq!((result.ok, failures(&result)), (4, vec![("protocol_error".to_owned(), 1)]));
    }
    let server = server(|session, stream, number| {
        say(session, stream, &response(true, Some(true)))?;
        if number == 1 { say(session, stream, &response(true, Some(true))) } else { Ok(()) }
    });
    let result = streaming(&server, 1, json!({"max_requests": 30, "max_duration_ns": 2000 * MS}));
    assert!(result.ok >= 28, "{:?}", failures(&result));
}

#[test]
fn sequences_keep_their_order_on_streams() {
    let server = server(|session, stream, _| say(session, stream, &response(true, Some(true))));
    let sequences = json!({"count": 3, "length": 4, "variation": 0.5, "first_id": 1, "id_count": 1000});
    let result = streaming(&server, 3, json!({"max_requests": 50, "sequences": sequences}));
    assert_eq!(result.ok, 50);
    assert_eq!(server.requests(), 50 + total(&result, |e| e.closing));
    assert!(total(&result, |e| e.sequences) >= 7);
}

/// A ModelInferResponse with one output, named by this letter.
fn named(letter: u8) -> Vec<u8> {
    field(5, &field(1, &[letter]))
}

#[test]
fn the_sequence_of_responses_is_compared() {
    // Every fourth request has its responses the wrong way round, every fifth one too few, every sixth one too many.
    let server = server(|session, stream, number| {
        let letters: &[u8] = match number {
            n if n % 4 == 0 => b"BA",
            n if n % 5 == 0 => b"A",
            n if n % 6 == 0 => b"ABA",
            _ => b"AB",
        };
        for &letter in letters {
            let marker = field(4, &[field(1, b"triton_final_response"), field(2, &[8, 0])].concat());
            say(session, stream, &field(2, &[named(letter), marker].concat()))?;
        }
        say(session, stream, &response(false, Some(true)))
    });
    let result = compared(&server, &[named(b'A'), named(b'B')], 60);
    // Of 60 requests 15 are divided by 4, 9 more by 5, and 4 more by 6.
    assert_eq!((result.ok, failures(&result)), (32, vec![("wrong_output".to_owned(), 28)]));
    let example = result.examples.values().next().unwrap();
    assert_eq!(example, "payload 0, response 1: output A is missing");
}

#[test]
fn a_compressed_answer_is_made_readable() {
    let server = server(|session, stream, _| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        io::Write::write_all(&mut encoder, &response(true, Some(true)))?;
        let packed = encoder.finish()?;
        let message = [&[1], &(packed.len() as u32).to_be_bytes()[..], &packed].concat();
        session.send(frame::DATA, 0, stream, &message)
    });
    let result = streaming(&server, 2, json!({"max_requests": 20}));
    assert_eq!((result.ok, total(&result, |e| e.responses)), (20, 20));
}

#[test]
fn a_periodic_load_counts_responses() {
    // Each request has four responses: one request of each slot is enough for a step of four, two slots start.
    let server = server(|session, stream, _| {
        for n in 0..4 {
            say(session, stream, &response(true, Some(n == 3)))?;
        }
        Ok(())
    });
    let ramp = |period: u64| json!({"schedule": {"kind": "periodic", "start": 2, "end": 6, "step": 2, "request_period": period}});
    let result = streaming(&server, 2, ramp(4));
    assert_eq!((result.ok, failures(&result)), (result.sent, vec![]));
    assert_eq!(server.seen.most_streams.load(Ordering::Relaxed), 6);
    let once = result.sent;
    // By requests, a period of eight would take four times as many as by responses.
    let twice = streaming(&server, 2, ramp(8)).sent;
    assert!(once >= 6 && twice > once && twice < 8 * 6, "{once} and {twice} requests");
}

#[test]
fn a_request_without_responses_counts_as_one_answer_of_a_periodic_load() {
    let server = server(|session, stream, _| say(session, stream, &response(false, Some(true))));
    let ramp = json!({"schedule": {"kind": "periodic", "start": 1, "end": 3, "step": 1, "request_period": 5}});
    let result = streaming(&server, 1, ramp);
    assert_eq!((result.ok, total(&result, |e| e.responses)), (result.sent, 0));
    assert!(result.sent >= 15);
}
