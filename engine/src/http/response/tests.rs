use super::*;
use proptest::prelude::*;

/// Feed in pieces of the given sizes; returns what was used.
fn fed(response: &mut Response, bytes: &[u8], sizes: &[usize]) -> Result<usize, Violation> {
    let (mut at, mut sizes) = (0, sizes.iter().cycle());
    while at < bytes.len() && !response.is_done() {
        let to = bytes.len().min(at + *sizes.next().unwrap());
        let used = response.feed(&bytes[at..to])?;
        assert!(used == to - at || response.is_done());
        at += used;
    }
    Ok(at)
}

fn whole(text: &str) -> Response {
    let mut response = Response::new(false);
    let used = response.feed(text.as_bytes()).unwrap();
    assert_eq!((used, response.is_done()), (text.len(), true), "{text:?}");
    response
}

#[test]
fn every_way_to_end_a_body() {
    for (text, stays) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", true),
        ("HTTP/1.1 200 OK\r\ncontent-length:3, 3\r\nCONTENT-LENGTH: 3\r\n\r\nabc", true),
        ("HTTP/1.1 200\r\nContent-Length: 0\r\nConnection: Keep-Alive, x\r\n\r\n", true),
        ("HTTP/1.1 204 No Content\r\n\r\n", true),
        ("HTTP/1.1 200 OK\nTransfer-Encoding: gzip, Chunked\n\n3;a=b\nabc\n0A\n0123456789\n0\nTrailer: x\n\n", true),
        ("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\nx", false),
        ("HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\nx", false),
        ("HTTP/1.0 200 OK\r\nContent-Length: 1\r\nConnection: keep-alive\r\n\r\nx", true),
        ("HTTP/1.1 200 OK\r\nContent-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", false),
        (
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
            true,
        ),
        ("HTTP/1.1 200 OK\r\nX-Long: a\r\n  folded\r\nContent-Length: 0\r\n\r\n", true),
    ] {
        let response = whole(text);
        assert_eq!((response.outcome(), response.may_stay_open()), (Ok(()), stays), "{text:?}");
    }
}

#[test]
fn a_body_without_an_announced_end_ends_with_the_connection() {
    for head in ["HTTP/1.1 200 OK\r\n\r\n", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n"] {
        let mut response = Response::new(false);
        response.feed(head.as_bytes()).unwrap();
        response.feed(b"abc").unwrap();
        assert!(!response.is_done() && response.end());
        assert_eq!((response.outcome(), response.may_stay_open()), (Ok(()), false));
    }
    let mut cut = Response::new(false);
    cut.feed(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nabc").unwrap();
    assert!(!cut.end());
}

#[test]
fn head_has_no_body() {
    let mut response = Response::new(true);
    assert_eq!(response.feed(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n"), Ok(38));
    assert!(response.is_done());
}

#[test]
fn failures_keep_what_the_service_says() {
    for (body, message) in [
        (r#"{"error": "unknown model 'x'"}"#, "unknown model 'x'"),
        ("  plain text ", "plain text"),
        ("{\"detail\": 1}", "{\"detail\": 1}"),
        ("", "HTTP status 503"),
    ] {
        let text = format!("HTTP/1.1 503 Busy\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        assert_eq!(whole(&text).outcome(), Err(Failure::new(Code::Http(503), message)));
    }
}

#[test]
fn what_http_does_not_allow_is_refused() {
    for text in [
        "HTTP/2 200 OK\r\n",
        "HTTP/1.1 2000 OK\r\n",
        "HTTP/1.1 099 X\r\n",
        "SSH-2.0-OpenSSH\r\n",
        "\r\n",
        "HTTP/1.1 101 Switching Protocols\r\n\r\n",
        "HTTP/1.1 200 OK\r\nnonsense\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: \r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n 2\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffffff\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n",
    ] {
        assert!(Response::new(false).feed(text.as_bytes()).is_err(), "{text:?}");
    }
    let mut endless = Response::new(false);
    endless.feed(b"HTTP/1.1 200 OK\r\n").unwrap();
    assert!((0..2000).any(|_| endless.feed(b"X-Padding: 0123456789012345678901234567890123456789\r\n").is_err()));
    assert!(Response::new(false).feed(&[b'H'; MAX_HEAD + 1]).is_err());
    let mut interim = Response::new(false);
    assert!((0..5000).any(|_| interim.feed(b"HTTP/1.1 100 Continue\r\n\r\n").is_err()));
}

#[test]
fn any_number_of_chunks_is_not_a_long_head() {
    let mut response = Response::new(false);
    response.feed(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").unwrap();
    for _ in 0..100_000 {
        response.feed(b"1\r\nx\r\n").unwrap();
    }
    response.feed(b"0\r\n\r\n").unwrap();
    assert!(response.is_done());
}

const HEADS: [&str; 5] =
    ["HTTP/1.1 200 OK", "Content-Length: 12", "Transfer-Encoding: chunked", "Connection: close", "X: y"];

proptest! {
    #[test]
    fn outcomes_do_not_depend_on_how_bytes_arrive(
        chunks in prop::collection::vec(1usize..300, 0..6), chunked: bool, status in 200u16..600, sizes in prop::collection::vec(1usize..40, 1..30),
    ) {
        let body: Vec<u8> = (0..chunks.iter().sum()).map(|n| n as u8).collect();
        let mut text = format!("HTTP/1.1 {status} Some Reason\r\nX-A: b\r\n").into_bytes();
        if chunked {
            text.extend_from_slice(b"Transfer-Encoding: chunked\r\n\r\n");
            let mut rest = &body[..];
            for &size in &chunks {
                text.extend_from_slice(format!("{size:x}\r\n").as_bytes());
                text.extend_from_slice(&rest[..size]);
                text.extend_from_slice(b"\r\n");
                rest = &rest[size..];
            }
            text.extend_from_slice(b"0\r\n\r\n");
        } else {
            text.extend_from_slice(format!("Content-Length: {}\r\n\r\n", body.len()).as_bytes());
            text.extend_from_slice(&body);
        }
        prop_assume!(status != 204 && status != 304);
        let len = text.len();
        text.extend_from_slice(b"HTTP/1.1 next");
        let (mut once, mut pieces) = (Response::new(false), Response::new(false));
        prop_assert_eq!(once.feed(&text), Ok(len));
        prop_assert_eq!(fed(&mut pieces, &text, &sizes), Ok(len));
        prop_assert!(once.is_done() && pieces.is_done());
        prop_assert_eq!(once.outcome(), pieces.outcome());
        prop_assert_eq!(once.outcome().is_ok(), status < 300);
    }

    #[test]
    fn never_panics(parts: Vec<Vec<u8>>) {
        let mut response = Response::new(false);
        let _ = parts.iter().try_for_each(|part| response.feed(part).map(|_| ()));
        let _ = (response.end(), response.may_stay_open(), response.outcome());
    }

    #[test]
    fn never_panics_behind_likely_lines(lines in prop::collection::vec(0usize..6, 0..12), tail: Vec<u8>, sizes in prop::collection::vec(1usize..9, 1..9)) {
        let mut text = b"HTTP/1.1 200 OK\r\n".to_vec();
        for line in lines {
            text.extend_from_slice(HEADS.get(line).unwrap_or(&"").as_bytes());
            text.extend_from_slice(b"\r\n");
        }
        text.extend_from_slice(&tail);
        let mut response = Response::new(false);
        let _ = fed(&mut response, &text, &sizes);
        let _ = response.outcome();
    }
}
