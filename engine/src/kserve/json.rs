//! The same in JSON, over HTTP: a ready message has room for what a request says of its sequence, always of the same
//! length, so that no length announced before it changes.

use crate::sequences::Correlation;

/// Where the room is: at the beginning of the document, so that no tensor comes before it.
const BEGINNING: &[u8] = b"{\"parameters\":{";
/// What stands in the room until a request of a sequence is sent: that of no sequence, and blanks for what is longer.
const NOTHING: &str = "\"sequence_id\":0,\"sequence_start\":false,\"sequence_end\":false";
/// Bytes of the room: enough for every id.
pub const ROOM: usize = NOTHING.len() - 1 + MOST_DIGITS;
const MOST_DIGITS: usize = 20;

/// Position of the room in a document.
pub fn room_in(document: &[u8]) -> Option<usize> {
    let blanks = document.strip_prefix(BEGINNING)?.get(..ROOM)?.strip_prefix(NOTHING.as_bytes())?;
    blanks.iter().all(|&byte| byte == b' ').then_some(BEGINNING.len())
}

/// Append what belongs in the room.
pub fn put_correlation(out: &mut Vec<u8>, correlation: Correlation) {
    let end = out.len() + ROOM;
    out.extend_from_slice(b"\"sequence_id\":");
    put_digits(out, correlation.id);
    out.extend_from_slice(b",\"sequence_start\":");
    put_flag(out, correlation.start);
    out.extend_from_slice(b",\"sequence_end\":");
    put_flag(out, correlation.end);
    out.resize(end, b' ');
}

fn put_flag(out: &mut Vec<u8>, flag: bool) {
    out.extend_from_slice(if flag { b"true" } else { b"false" });
}

fn put_digits(out: &mut Vec<u8>, number: u64) {
    let mut digits = [0; MOST_DIGITS];
    let mut first = MOST_DIGITS;
    let mut rest = number;
    loop {
        first -= 1;
        digits[first] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            return out.extend_from_slice(&digits[first..]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn text(id: u64, start: bool, end: bool) -> String {
        let mut out = Vec::new();
        put_correlation(&mut out, Correlation { id, start, end });
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_room_is_filled_to_its_end() {
        assert_eq!(
            text(7, true, false),
            r#""sequence_id":7,"sequence_start":true,"sequence_end":false                    "#
        );
        assert_eq!(
            text(u64::MAX, false, false),
            r#""sequence_id":18446744073709551615,"sequence_start":false,"sequence_end":false"#
        );
    }

    #[test]
    fn the_room_is_found_where_it_has_to_be() {
        let blank = format!("{NOTHING:<ROOM$}");
        let document = format!("{{\"parameters\":{{{blank},\"priority\":1}},\"inputs\":[]}}");
        assert_eq!(room_in(document.as_bytes()), Some(15));
        for wrong in [
            String::new(),
            "{\"inputs\":[]}".to_owned(),
            document[..50].to_owned(),
            document.replace("            ,", ",            "),
            document.replace("\"sequence_id\":0", "\"sequence_id\":1"),
            format!("{{\"inputs\":[],{}", &document[1..]),
        ] {
            assert_eq!(room_in(wrong.as_bytes()), None, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_json_of_one_length(id: u64, start: bool, end: bool) {
            let written = text(id, start, end);
            prop_assert_eq!(written.len(), ROOM);
            let read: Value = serde_json::from_str(&format!("{{{written}}}")).unwrap();
            prop_assert_eq!(read, json!({"sequence_id": id, "sequence_start": start, "sequence_end": end}));
        }

        #[test]
        fn never_panics(bytes: Vec<u8>) {
            let _ = room_in(&bytes);
        }
    }
}
