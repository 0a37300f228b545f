use super::*;
use serde_json::{Value, json};

fn valid() -> Value {
    json!({
        "transport": {"kind": "grpc", "endpoint": "localhost:8001", "method": "/a.B/C", "metadata": [["x", "y"]], "connections": 1},
        "schedule": {"kind": "closed", "concurrency": 4},
        "order": "weighted", "payload_weights": [], "seed": 0, "max_requests": null, "max_duration_ns": 5, "slice_ns": 100_000_000,
        "connect_timeout_ns": 1, "request_timeout_ns": 1, "drain_timeout_ns": 0, "workers": 0, "pin_cpus": []
    })
}

fn refusal(pointer: &str, value: Value) -> String {
    let mut plan = valid();
    *plan.pointer_mut(pointer).expect("a field of the plan") = value;
    Plan::from_json(&plan.to_string()).expect_err("a refusal").to_string()
}

#[test]
fn accepts_a_sound_plan() {
    let plan = Plan::from_json(&valid().to_string()).unwrap();
    assert_eq!((plan.worker_count(2), plan.worker_count(64)), (1, 1));
}

#[test]
fn open_loops_have_two_workers_where_two_can_send() {
    let count = |max_in_flight: usize, cpus: usize| {
        let mut plan = valid();
        let arrivals = json!({"kind": "constant", "rate": 10.0});
        plan["schedule"] = json!({"kind": "open", "arrivals": arrivals, "max_in_flight": max_in_flight});
        Plan::from_json(&plan.to_string()).unwrap().worker_count(cpus)
    };
    assert_eq!((count(512, 1), count(512, 2), count(512, 16), count(512, 64)), (1, 2, 2, 4));
    assert_eq!((count(1, 64), count(2, 64)), (1, 2));
}

#[test]
fn workers_look_early_for_a_twentieth_of_the_time_at_most() {
    let early = |schedule: Value| {
        let mut plan = valid();
        plan["schedule"] = schedule;
        Plan::from_json(&plan.to_string()).unwrap().early_ns()
    };
    let open = |arrivals: Value| early(json!({"kind": "open", "arrivals": arrivals, "max_in_flight": 9}));
    assert_eq!(early(valid()["schedule"].take()), 0);
    assert_eq!(open(json!({"kind": "constant", "rate": 10.0})), 50_000);
    assert_eq!(open(json!({"kind": "poisson", "rate": 10_000.0})), 5_000);
    assert_eq!(open(json!({"kind": "intervals", "gaps_ns": [100_000, 300_000]})), 10_000);
    assert_eq!(open(json!({"kind": "replay", "offsets_ns": [0, 100_000, 800_000, 800_000]})), 10_000);
}

#[test]
fn names_the_field_and_the_expectation() {
    for (pointer, value, expected) in [
        ("/schedule/concurrency", json!(0), "schedule.concurrency: expected a number from 1 to 1000000, got 0"),
        ("/transport/endpoint", json!("localhost"), "transport.endpoint: expected host:port, got \"localhost\""),
        ("/transport/endpoint", json!(":80"), "transport.endpoint: expected host:port"),
        ("/transport/method", json!("B/C"), "transport.method: expected /package.Service/Method"),
        ("/transport/metadata", json!([["te", "x"]]), "transport.metadata[0]: \"te\" is set by the engine"),
        ("/transport/metadata", json!([["A", "x"]]), "transport.metadata[0]: expected a name"),
        ("/transport/metadata", json!([["a", "\n"]]), "transport.metadata[0]: expected a value"),
        ("/transport/connections", json!(0), "transport.connections: expected a number"),
        ("/slice_ns", json!(1), "slice_ns: expected a number"),
        ("/seed", json!(-1), "seed: invalid value"),
        ("/order", json!("per_slot"), "slots: expected a number from 4 to 1000000, got 0"),
        ("/payload_weights", json!([1, -1]), "payload_weights: expected numbers above 0, got -1"),
        ("/order", json!("sorted"), "order: unknown variant `sorted`"),
        ("/schedule", json!({"kind": "closed"}), "schedule: missing field `concurrency`"),
        ("/schedule", json!({"kind": "closed", "concurrency": 1, "x": 1}), "schedule: unknown field `x`"),
        (
            "/schedule",
            json!({"kind": "periodic", "start": 4, "end": 3, "step": 1, "request_period": 1}),
            "schedule.end: expected a number from 4 to 1000000, got 3",
        ),
        (
            "/schedule",
            json!({"kind": "open", "max_in_flight": 1, "arrivals": {"kind": "poisson", "rate": 0}}),
            "schedule.arrivals.rate: expected a number above 0",
        ),
        (
            "/schedule",
            json!({"kind": "open", "max_in_flight": 1, "arrivals": {"kind": "intervals", "gaps_ns": [0]}}),
            "schedule.arrivals.gaps_ns: expected at least one gap above 0",
        ),
        (
            "/schedule",
            json!({"kind": "open", "max_in_flight": 1, "arrivals": {"kind": "replay", "offsets_ns": [2, 1]}}),
            "schedule.arrivals.offsets_ns: expected at least one offset, in ascending order",
        ),
    ] {
        let message = refusal(pointer, value);
        assert!(message.starts_with(expected), "{message}");
    }
}

#[test]
fn sequences_and_validation_are_checked() {
    let with = |key: &str, value: Value| {
        let mut plan = valid();
        plan[key] = value;
        Plan::from_json(&plan.to_string()).map(|_| ()).map_err(|e| e.to_string())
    };
    let sequences = |count: u64, ids: u64, variation: f64| json!({"count": count, "length": 3, "variation": variation, "first_id": 1, "id_count": ids});
    assert_eq!(with("sequences", sequences(4, 4, 0.5)), Ok(()));
    let refusal = with("sequences", sequences(4, 3, 0.5)).unwrap_err();
    assert!(refusal.starts_with("sequences.id_count: expected a number from 4 to"), "{refusal}");
    let refusal = with("sequences", sequences(1, 1, 1.5)).unwrap_err();
    assert_eq!(refusal, "sequences.variation: expected a number from 0 to 1, got 1.5");
    let tolerance = |rtol: f64| json!({"every": 1, "compare": {"kind": "tolerance", "rtol": rtol, "atol": 0.0}});
    assert_eq!(with("validate", tolerance(0.1)), Ok(()));
    assert_eq!(with("validate", tolerance(-1.0)).unwrap_err(), "validate.compare.rtol: expected at least 0, got -1");
    let refusal = with("validate", json!({"every": 0, "compare": {"kind": "exact"}})).unwrap_err();
    assert!(refusal.starts_with("validate.every: expected a number from 1"), "{refusal}");
    let mut both = valid();
    (both["sequences"], both["validate"]) = (sequences(1, 1, 0.0), tolerance(0.1));
    let refusal = Plan::from_json(&both.to_string()).unwrap_err().to_string();
    assert_eq!(refusal, "validate: expected the transport grpc or http without sequences");
}

fn http() -> Value {
    json!({"kind": "http", "endpoint": "localhost:1", "method": "POST", "path": "/", "headers": []})
}

#[test]
fn sequences_stay_on_one_endpoint() {
    for transport in [valid()["transport"].take(), http()] {
        let mut plan = valid();
        plan["sequences"] = json!({"count": 1, "length": 3, "variation": 0, "first_id": 1, "id_count": 1});
        plan["transport"] = transport;
        assert!(Plan::from_json(&plan.to_string()).is_ok());
        plan["transport"]["others"] = json!([{"endpoint": "other:1"}]);
        let refusal = Plan::from_json(&plan.to_string()).unwrap_err().to_string();
        assert_eq!(refusal, "sequences: expected one endpoint: servers do not share the state of a sequence");
    }
}

#[test]
fn a_sequence_has_one_connection_at_most() {
    let connections = |schedule: Value, count: u64| {
        let mut plan = valid();
        (plan["transport"], plan["schedule"]) = (http(), schedule);
        plan["sequences"] = json!({"count": count, "length": 3, "variation": 0, "first_id": 1, "id_count": count});
        Plan::from_json(&plan.to_string()).unwrap().first_connections()
    };
    let open = json!({"kind": "open", "arrivals": {"kind": "constant", "rate": 10.0}, "max_in_flight": 64});
    assert_eq!((connections(open.clone(), 3), connections(open, 20)), (3, 16));
    assert_eq!(connections(json!({"kind": "closed", "concurrency": 8}), 5), 5);
}

#[test]
fn streams_decide_how_many_connections_are_needed() {
    let connections = |connections: usize, max_streams: usize, concurrency: usize, workers: usize| {
        let mut plan = valid();
        plan["transport"]["connections"] = json!(connections);
        plan["transport"]["max_streams"] = json!(max_streams);
        plan["schedule"]["concurrency"] = json!(concurrency);
        let plan = Plan::from_json(&plan.to_string())?;
        let Transport::Grpc(grpc) = &plan.transport else { unreachable!() };
        plan.grpc_connections(grpc, workers)
    };
    assert_eq!((connections(2, 0, 64, 1), connections(0, 6, 64, 1)), (Ok(2), Ok(11)));
    assert_eq!((connections(0, 6, 64, 4), connections(3, 6, 18, 1)), (Ok(3), Ok(3)));
    for (asked, streams, expected) in [
        (0, 0, "transport.connections: expected a number from 1 to 1024, got 0"),
        (2, 6, "transport.connections: expected at least 3 for 18 requests in flight on 6 streams each, got 2"),
    ] {
        assert_eq!(connections(asked, streams, 18, 1).unwrap_err().to_string(), expected);
    }
}

#[test]
fn what_looks_into_messages_takes_neither_encoding_nor_slots() {
    let refusal = |change: &dyn Fn(&mut Value)| {
        let mut plan = valid();
        change(&mut plan);
        Plan::from_json(&plan.to_string()).expect_err("a refusal").to_string()
    };
    let sequences = |plan: &mut Value| {
        plan["sequences"] = json!({"count": 1, "length": 3, "variation": 0, "first_id": 1, "id_count": 1});
    };
    let encoded = refusal(&|plan| (sequences(plan), plan["transport"]["encoding"] = json!("gzip")).0);
    let slots = refusal(&|plan| {
        sequences(plan);
        (plan["order"], plan["slots"]) = (json!("per_slot"), json!(4));
    });
    assert!([encoded, slots].iter().all(|message| message.starts_with("sequences: expected ")));
    let streaming = |plan: &mut Value| plan["transport"]["streaming"] = json!(true);
    let encoded = refusal(&|plan| (streaming(plan), plan["transport"]["encoding"] = json!("gzip")).0);
    let slots = refusal(&|plan| {
        streaming(plan);
        (plan["order"], plan["slots"]) = (json!("per_slot"), json!(4));
    });
    assert!([encoded, slots].iter().all(|message| message.starts_with("transport.streaming: expected ")));
}

#[test]
fn a_pool_must_fit_the_plan() {
    let plan = |order: &str, more: Value| {
        let mut plan = valid();
        plan["order"] = json!(order);
        plan.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        Plan::from_json(&plan.to_string()).unwrap()
    };
    let message = |plan: &Plan, size| plan.check_pool(size).map_err(|e| e.to_string()).err().unwrap_or_default();
    let weighted = plan("weighted", json!({"payload_weights": [1, 2.5], "payload_items": [1, 8]}));
    assert_eq!(message(&weighted, 2), "");
    assert!(message(&weighted, 0).starts_with("payloads: expected at least one"));
    assert!(message(&weighted, 3).starts_with("payload_items: expected one for each of the 3 payloads, got 2"));
    let unweighted = plan("weighted", json!({}));
    assert!(message(&unweighted, 3).starts_with("payload_weights: expected one for each of the 3 payloads, got 0"));
    let per_slot = plan("per_slot", json!({"slots": 4, "workers": 3}));
    assert_eq!((message(&per_slot, 8), per_slot.worker_count(64)), (String::new(), 1));
    assert!(message(&per_slot, 6).starts_with("slots: expected a divisor of the 6 payloads, got 4"));
}

#[test]
fn data_streams_are_for_sequences_and_lie_in_the_pool() {
    let plan = |length: u64, order: &str, streams: Value| {
        let mut plan = valid();
        plan["sequences"] = json!({"count": 1, "length": length, "variation": 0, "first_id": 1, "id_count": 1});
        (plan["order"], plan["data_streams"]) = (json!(order), streams);
        Plan::from_json(&plan.to_string()).map_err(|e| e.to_string())
    };
    let message =
        |streams: Value, size| plan(0, "round_robin", streams).unwrap().check_pool(size).map_err(|e| e.to_string());
    assert_eq!(message(json!([3, 1]), 4), Ok(()));
    let mut without = valid();
    without["data_streams"] = json!([3]);
    let refusal = Plan::from_json(&without.to_string()).unwrap_err().to_string();
    assert_eq!(refusal, "data_streams: expected none without sequences");
    let refusal = "data_streams: expected lengths above 0, together at most 3, got 4";
    assert_eq!(message(json!([3, 1]), 3), Err(refusal.to_owned()));
    assert!(message(json!([3, 0]), 4).is_err());
    assert!(plan(0, "round_robin", json!([])).unwrap_err().starts_with("sequences.length: expected a number from 1"));
    assert!(plan(3, "shuffle", json!([3])).unwrap_err().starts_with("data_streams: expected the order round_robin"));
}

#[test]
fn refuses_what_is_not_json() {
    assert!(Plan::from_json("{").is_err());
    assert!(Plan::from_json("[]").is_err());
}
