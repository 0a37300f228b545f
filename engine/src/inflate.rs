//! Compressed answers made readable; only those that are looked at.

use flate2::read::{MultiGzDecoder, ZlibDecoder};
use std::io::Read;

/// Answers that are put together to be read are no larger: none that a model gives is.
pub const MAX_ANSWER: usize = 1 << 30;
const GZIP: &[u8] = &[0x1f, 0x8b];

/// What gzip or zlib bytes hold (gRPC and HTTP call zlib `deflate`); the first bytes tell them apart. None where they
/// are neither, broken, or hold more than `limit`.
pub fn inflate(bytes: &[u8], limit: usize) -> Option<Vec<u8>> {
    let mut plain = Vec::new();
    let most = limit as u64 + 1;
    let read = if bytes.starts_with(GZIP) {
        MultiGzDecoder::new(bytes).take(most).read_to_end(&mut plain)
    } else {
        ZlibDecoder::new(bytes).take(most).read_to_end(&mut plain)
    };
    read.ok().filter(|&count| count <= limit).map(|_| plain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::{GzEncoder, ZlibEncoder};
    use proptest::prelude::*;
    use std::io::Write;

    fn gzip(plain: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(plain).unwrap();
        encoder.finish().unwrap()
    }

    fn zlib(plain: &[u8]) -> Vec<u8> {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(plain).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn no_more_is_made_than_allowed() {
        let bomb = gzip(&vec![0; 1 << 20]);
        assert_eq!(inflate(&bomb, (1 << 20) - 1), None);
        assert_eq!(inflate(&bomb, 1 << 20).map(|plain| plain.len()), Some(1 << 20));
    }

    #[test]
    fn broken_bytes_are_told() {
        let whole = zlib(b"some words that are long enough");
        assert_eq!(inflate(&whole[..whole.len() - 1], 1000), None);
        assert_eq!(inflate(b"plain", 1000), None);
    }

    proptest! {
        #[test]
        fn what_was_compressed_comes_back(plain: Vec<u8>) {
            prop_assert_eq!(inflate(&gzip(&plain), 1 << 20), Some(plain.clone()));
            prop_assert_eq!(inflate(&zlib(&plain), 1 << 20), Some(plain));
        }

        #[test]
        fn never_panics(bytes: Vec<u8>) {
            let _ = inflate(&bytes, 1 << 16);
        }
    }
}
