//! Header compression (RFC 7541), only as far as a load generator needs it: a constant request head is encoded once
//! and then repeated in a few bytes; of a response only the status fields are kept.

use super::{Violation, huffman};
use std::collections::VecDeque;

const DEFAULT_TABLE: usize = 4096;
const ENTRY_OVERHEAD: usize = 32;

/// RFC 7541 appendix A; the values of entries with one matter only for `:method`, `:scheme` and `:status`.
const STATIC: [(&str, &str); 61] = [
    (":authority", ""),
    (":method", "GET"),
    (":method", "POST"),
    (":path", "/"),
    (":path", "/index.html"),
    (":scheme", "http"),
    (":scheme", "https"),
    (":status", "200"),
    (":status", "204"),
    (":status", "206"),
    (":status", "304"),
    (":status", "400"),
    (":status", "404"),
    (":status", "500"),
    ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"),
    ("accept-language", ""),
    ("accept-ranges", ""),
    ("accept", ""),
    ("access-control-allow-origin", ""),
    ("age", ""),
    ("allow", ""),
    ("authorization", ""),
    ("cache-control", ""),
    ("content-disposition", ""),
    ("content-encoding", ""),
    ("content-language", ""),
    ("content-length", ""),
    ("content-location", ""),
    ("content-range", ""),
    ("content-type", ""),
    ("cookie", ""),
    ("date", ""),
    ("etag", ""),
    ("expect", ""),
    ("expires", ""),
    ("from", ""),
    ("host", ""),
    ("if-match", ""),
    ("if-modified-since", ""),
    ("if-none-match", ""),
    ("if-range", ""),
    ("if-unmodified-since", ""),
    ("last-modified", ""),
    ("link", ""),
    ("location", ""),
    ("max-forwards", ""),
    ("proxy-authenticate", ""),
    ("proxy-authorization", ""),
    ("range", ""),
    ("referer", ""),
    ("refresh", ""),
    ("retry-after", ""),
    ("server", ""),
    ("set-cookie", ""),
    ("strict-transport-security", ""),
    ("transfer-encoding", ""),
    ("user-agent", ""),
    ("vary", ""),
    ("via", ""),
    ("www-authenticate", ""),
];

fn put_integer(out: &mut Vec<u8>, first: u8, prefix_bits: u32, value: usize) {
    let limit = (1 << prefix_bits) - 1;
    if value < limit {
        return out.push(first | value as u8);
    }
    out.push(first | limit as u8);
    let mut rest = value - limit;
    while rest >= 128 {
        out.push(rest as u8 | 128);
        rest >>= 7;
    }
    out.push(rest as u8);
}

fn put_string(out: &mut Vec<u8>, text: &str) {
    put_integer(out, 0, 7, text.len());
    out.extend_from_slice(text.as_bytes());
}

/// Encodes one constant list of fields, again and again.
pub struct Head {
    fields: Vec<(String, String)>,
    /// What every block after the first consists of.
    steady: Vec<u8>,
    state: HeadState,
}

enum HeadState {
    /// The peer's table does not hold our fields yet. After a change of its size, that must be said first.
    Fresh {
        resize: Option<usize>,
        indexed: bool,
    },
    Steady,
}

impl Head {
    pub fn new(fields: Vec<(String, String)>) -> Head {
        let mut head = Head { fields, steady: Vec::new(), state: HeadState::Fresh { resize: None, indexed: false } };
        head.state = HeadState::Fresh { resize: None, indexed: head.fits(DEFAULT_TABLE) };
        head
    }

    /// The peer set its table size: what it had of us may be evicted.
    pub fn set_table_size(&mut self, size: usize) {
        let size = size.min(DEFAULT_TABLE);
        self.state = HeadState::Fresh { resize: Some(size), indexed: self.fits(size) };
    }

    fn fits(&self, table: usize) -> bool {
        self.fields.iter().map(|(name, value)| name.len() + value.len() + ENTRY_OVERHEAD).sum::<usize>() <= table
    }

    /// Append the header block of the next request.
    #[inline]
    pub fn encode(&mut self, out: &mut Vec<u8>) {
        match self.state {
            HeadState::Steady => out.extend_from_slice(&self.steady),
            HeadState::Fresh { resize, indexed } => self.encode_fresh(out, resize, indexed),
        }
    }

    fn encode_fresh(&mut self, out: &mut Vec<u8>, resize: Option<usize>, indexed: bool) {
        if let Some(size) = resize {
            // Through zero, so that both sides certainly agree on what is in the table: nothing.
            put_integer(out, 0x20, 5, 0);
            put_integer(out, 0x20, 5, size);
        }
        let block = out.len();
        let mut in_table = Vec::new();
        for (name, value) in &self.fields {
            if let Some(index) = STATIC.iter().position(|f| *f == (name, value)) {
                put_integer(out, 0x80, 7, index + 1);
                in_table.push(None);
            } else {
                put_literal(out, name, value, indexed);
                in_table.push(Some(in_table.iter().flatten().count()));
            }
        }
        if indexed {
            self.steady = self.steady_block(&in_table);
        } else {
            self.steady = out[block..].to_vec();
        }
        self.state = HeadState::Steady;
    }

    /// `places` tells which entry of the dynamic table, counted from the oldest, each field not in the static one became.
    fn steady_block(&self, places: &[Option<usize>]) -> Vec<u8> {
        let newest = places.iter().flatten().count();
        let mut block = Vec::new();
        for ((name, value), place) in self.fields.iter().zip(places) {
            let index = match place {
                Some(place) => STATIC.len() + newest - place,
                None => STATIC.iter().position(|f| *f == (name, value)).map_or(0, |i| i + 1),
            };
            put_integer(&mut block, 0x80, 7, index);
        }
        block
    }
}

fn put_literal(out: &mut Vec<u8>, name: &str, value: &str, indexed: bool) {
    let known = STATIC.iter().position(|(known, _)| *known == name).map_or(0, |index| index + 1);
    let (first, prefix_bits) = if indexed { (0x40, 6) } else { (0x00, 4) };
    put_integer(out, first, prefix_bits, known);
    if known == 0 {
        put_string(out, name);
    }
    put_string(out, value);
}

/// What a response's header blocks said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fields {
    pub http_status: Option<u16>,
    pub grpc_status: Option<u32>,
    pub grpc_message: Option<Vec<u8>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Name {
    Status,
    GrpcStatus,
    GrpcMessage,
    Other { len: usize },
}

impl Name {
    fn of(name: &[u8]) -> Name {
        match name {
            b":status" => Name::Status,
            b"grpc-status" => Name::GrpcStatus,
            b"grpc-message" => Name::GrpcMessage,
            other => Name::Other { len: other.len() },
        }
    }

    fn len(self) -> usize {
        match self {
            Name::Status => 7,
            Name::GrpcStatus => 11,
            Name::GrpcMessage => 12,
            Name::Other { len } => len,
        }
    }
}

struct Entry {
    name: Name,
    /// Empty for fields that nobody asks for.
    value: Box<[u8]>,
    size: usize,
}

/// The dynamic table and what to do with a block.
pub struct Decoder {
    entries: VecDeque<Entry>,
    size: usize,
    limit: usize,
}

impl Default for Decoder {
    fn default() -> Self {
        Decoder { entries: VecDeque::new(), size: 0, limit: DEFAULT_TABLE }
    }
}

impl Decoder {
    /// Read one whole header block into `fields`.
    pub fn decode(&mut self, block: &[u8], fields: &mut Fields) -> Result<(), Violation> {
        let mut input = Input { bytes: block };
        while let Some(&first) = input.bytes.first() {
            match first {
                0x80.. => self.indexed(input.integer(7)?, fields)?,
                0x40..0x80 => self.literal(&mut input, 6, true, fields)?,
                0x20..0x40 => self.resize(input.integer(5)?)?,
                _ => self.literal(&mut input, 4, false, fields)?,
            }
        }
        Ok(())
    }

    fn indexed(&self, index: usize, fields: &mut Fields) -> Result<(), Violation> {
        if (1..=STATIC.len()).contains(&index) {
            let (name, value) = STATIC[index - 1];
            keep(Name::of(name.as_bytes()), value.as_bytes(), fields);
            return Ok(());
        }
        let entry = self.entry(index)?;
        keep(entry.name, &entry.value, fields);
        Ok(())
    }

    fn entry(&self, index: usize) -> Result<&Entry, Violation> {
        let place = index.checked_sub(STATIC.len() + 1);
        place.and_then(|place| self.entries.get(place)).ok_or(Violation::compression("a header index out of the table"))
    }

    fn literal(&mut self, input: &mut Input, prefix: u32, index: bool, fields: &mut Fields) -> Result<(), Violation> {
        let name = match input.integer(prefix)? {
            0 => Name::of(&input.string()?),
            known @ 1..=61 => Name::of(STATIC[known - 1].0.as_bytes()),
            dynamic => self.entry(dynamic)?.name,
        };
        let value = input.string()?;
        keep(name, &value, fields);
        if index {
            self.insert(name, &value);
        }
        Ok(())
    }

    fn insert(&mut self, name: Name, value: &[u8]) {
        let size = name.len() + value.len() + ENTRY_OVERHEAD;
        self.evict(self.limit.saturating_sub(size));
        if size <= self.limit {
            let value = if matches!(name, Name::Other { .. }) { Box::default() } else { value.into() };
            self.size += size;
            self.entries.push_front(Entry { name, value, size });
        }
    }

    fn evict(&mut self, limit: usize) {
        while self.size > limit {
            let Some(entry) = self.entries.pop_back() else { return };
            self.size -= entry.size;
        }
    }

    fn resize(&mut self, limit: usize) -> Result<(), Violation> {
        if limit > DEFAULT_TABLE {
            return Err(Violation::compression("a header table larger than allowed"));
        }
        self.limit = limit;
        self.evict(limit);
        Ok(())
    }
}

fn number<T: std::str::FromStr>(value: &[u8]) -> Option<T> {
    std::str::from_utf8(value).ok()?.parse().ok()
}

fn keep(name: Name, value: &[u8], fields: &mut Fields) {
    match name {
        // A status that is not a number is still a status, and not a good one.
        Name::Status => fields.http_status = Some(number(value).unwrap_or(0)),
        Name::GrpcStatus => fields.grpc_status = Some(number(value).unwrap_or(u32::MAX)),
        Name::GrpcMessage if value.is_empty() => {}
        Name::GrpcMessage => fields.grpc_message = Some(value.to_vec()),
        Name::Other { .. } => {}
    }
}

struct Input<'a> {
    bytes: &'a [u8],
}

impl<'a> Input<'a> {
    fn byte(&mut self) -> Result<u8, Violation> {
        let (&first, rest) = self.bytes.split_first().ok_or(Violation::compression("a header block cut short"))?;
        self.bytes = rest;
        Ok(first)
    }

    fn integer(&mut self, prefix_bits: u32) -> Result<usize, Violation> {
        let limit = (1usize << prefix_bits) - 1;
        let mut value = usize::from(self.byte()?) & limit;
        if value < limit {
            return Ok(value);
        }
        for shift in [0, 7, 14, 21] {
            let byte = self.byte()?;
            value += usize::from(byte & 127) << shift;
            if byte < 128 {
                return Ok(value);
            }
        }
        Err(Violation::compression("a number too large in a header block"))
    }

    fn string(&mut self) -> Result<std::borrow::Cow<'a, [u8]>, Violation> {
        let huffman_coded = self.bytes.first().is_some_and(|first| first & 0x80 != 0);
        let len = self.integer(7)?;
        if len > self.bytes.len() {
            return Err(Violation::compression("a header string cut short"));
        }
        let (text, rest) = self.bytes.split_at(len);
        self.bytes = rest;
        if !huffman_coded {
            return Ok(text.into());
        }
        huffman::decode(text).map(Into::into).ok_or(Violation::compression("an invalid Huffman code"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn fields() -> Vec<(String, String)> {
        [(":method", "POST"), (":scheme", "http"), (":path", "/a.B/C"), ("te", "trailers"), ("x-key", "value")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .to_vec()
    }

    #[test]
    fn a_head_shrinks_to_a_byte_per_field() {
        let mut head = Head::new(fields());
        let (mut first, mut second) = (Vec::new(), Vec::new());
        head.encode(&mut first);
        head.encode(&mut second);
        assert!(first.starts_with(&[0x83, 0x86, 0x44, 6, b'/']));
        assert_eq!(second, [0x83, 0x86, 0x80 | 64, 0x80 | 63, 0x80 | 62]);
    }

    #[test]
    fn a_head_stays_literal_where_the_table_is_too_small() {
        let mut head = Head::new(fields());
        head.set_table_size(0);
        let (mut first, mut second) = (Vec::new(), Vec::new());
        head.encode(&mut first);
        head.encode(&mut second);
        assert_eq!(first[..2], [0x20, 0x20]);
        assert_eq!(first[2..], second);
        assert_eq!(second[2..4], [0x04, 6]);
    }

    #[test]
    fn long_numbers_follow_the_rfc() {
        let mut out = Vec::new();
        put_integer(&mut out, 0, 5, 1337);
        assert_eq!(out, [31, 154, 10]);
        assert_eq!(Input { bytes: &out }.integer(5), Ok(1337));
        assert!(Input { bytes: &[31, 255, 255, 255, 255, 1] }.integer(5).is_err());
    }

    #[test]
    fn decodes_statuses_by_index_literal_and_table() {
        let mut decoder = Decoder::default();
        let mut got = Fields::default();
        let mut block = vec![0x88];
        block.extend_from_slice(b"\x40\x0bgrpc-status\x010");
        decoder.decode(&block, &mut got).unwrap();
        assert_eq!(got, Fields { http_status: Some(200), grpc_status: Some(0), grpc_message: None });
        let mut again = Fields::default();
        decoder.decode(&[0x80 | 62], &mut again).unwrap();
        assert_eq!(again.grpc_status, Some(0));
        // Literal with the indexed name, then the message without indexing.
        let mut failed = Fields::default();
        decoder.decode(b"\x0f\x2f\x0213\x00\x0cgrpc-message\x04oops", &mut failed).unwrap();
        assert_eq!(failed, Fields { http_status: None, grpc_status: Some(13), grpc_message: Some(b"oops".to_vec()) });
    }

    #[test]
    fn evicts_the_oldest_and_refuses_what_is_gone() {
        let mut decoder = Decoder::default();
        let mut got = Fields::default();
        decoder.decode(b"\x40\x0bgrpc-status\x017\x3f\x21\x40\x01a\x01b", &mut got).unwrap();
        assert_eq!(got.grpc_status, Some(7));
        assert_eq!((decoder.entries.len(), decoder.size), (1, 34));
        assert!(decoder.decode(&[0x80 | 63], &mut got).is_err());
        assert!(decoder.decode(&[0x80], &mut got).is_err());
        assert!(decoder.decode(&[0x3f, 0xff, 0x7f], &mut got).is_err());
    }

    #[test]
    fn a_broken_status_is_not_a_good_one() {
        let mut got = Fields::default();
        Decoder::default().decode(b"\x08\x02xx\x00\x0bgrpc-status\x01-", &mut got).unwrap();
        assert_eq!((got.http_status, got.grpc_status), (Some(0), Some(u32::MAX)));
    }

    proptest! {
        #[test]
        fn never_panics_and_stays_within_its_table(blocks: Vec<Vec<u8>>) {
            let mut decoder = Decoder::default();
            for block in blocks {
                let _ = decoder.decode(&block, &mut Fields::default());
                prop_assert!(decoder.size <= decoder.limit);
                prop_assert_eq!(decoder.size, decoder.entries.iter().map(|e| e.size).sum::<usize>());
            }
        }

        #[test]
        fn reads_what_a_head_writes(status in 0u32..1000, message in "[ -~]{0,300}", sizes in prop::collection::vec(0usize..9000, 0..4)) {
            let fields = [("grpc-status".to_owned(), status.to_string()), ("grpc-message".to_owned(), message.clone())];
            let mut head = Head::new(fields.to_vec());
            let mut decoder = Decoder::default();
            for size in sizes.into_iter().map(Some).chain([None, None]) {
                if let Some(size) = size { head.set_table_size(size) }
                let (mut block, mut got) = (Vec::new(), Fields::default());
                head.encode(&mut block);
                decoder.decode(&block, &mut got).unwrap();
                prop_assert_eq!(got.grpc_status, Some(status));
                prop_assert_eq!(got.grpc_message.unwrap_or_default(), message.as_bytes());
            }
        }
    }
}
