//! What a payload must look like: the remaining headers, an empty line, the body.

use crate::error::Error;
use crate::kserve::json;
use crate::payload::Pool;

type Refusal = &'static str;

/// Every payload must go on where the common head ends.
pub fn check(pool: &Pool) -> Result<(), Error> {
    each(pool, |payload| check_payload(payload).map(drop)).map(drop)
}

/// Of each payload, where it has room for what a request says of its sequence.
pub fn rooms(pool: &Pool) -> Result<Vec<usize>, Error> {
    const EXPECTED: Refusal = "expected a document that begins with room for the parameters of a sequence";
    each(pool, |payload| {
        let body = check_payload(payload)?;
        json::room_in(body).map(|room| payload.len() - body.len() + room).ok_or(EXPECTED)
    })
}

fn each<T>(pool: &Pool, look: impl Fn(&[u8]) -> Result<T, Refusal>) -> Result<Vec<T>, Error> {
    let refused = |n, message: Refusal| Error::Plan { path: format!("payloads[{n}]"), message: message.to_owned() };
    (0..pool.len()).map(|n| look(pool.get(n as u32)).map_err(|message| refused(n, message))).collect()
}

/// The body, whose length is the announced one.
fn check_payload(payload: &[u8]) -> Result<&[u8], Refusal> {
    const EXPECTED: Refusal = "expected the request's remaining headers, an empty line, and the body";
    if let Some(body) = payload.strip_prefix(b"\r\n") {
        return unannounced(body);
    }
    let end = payload.windows(4).position(|four| four == b"\r\n\r\n").ok_or(EXPECTED)?;
    let length = payload[..end].split(|&b| b == b'\n').find_map(|line| {
        let (name, value) = line.split_at(line.iter().position(|&b| b == b':')?);
        name.eq_ignore_ascii_case(b"content-length").then_some(value[1..].trim_ascii())
    });
    let body = &payload[end + 4..];
    let Some(length) = length else { return unannounced(body) };
    let announced = std::str::from_utf8(length).ok().and_then(|text| text.parse::<usize>().ok());
    if announced == Some(body.len()) { Ok(body) } else { Err("its Content-Length is not its length") }
}

fn unannounced(body: &[u8]) -> Result<&[u8], Refusal> {
    if body.is_empty() { Ok(body) } else { Err("a body needs a Content-Length") }
}
