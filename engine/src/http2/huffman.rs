//! Huffman decoding of RFC 7541 appendix B. The code is canonical, so the lengths of the 257 symbols are all of it.

const EOS: usize = 256;
const LONGEST: usize = 30;

const LENGTHS: [u8; 257] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28,
    28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12,
    10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6, 15, 5, 6,
    5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22,
    22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22, 21, 20,
    22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28,
    27, 27, 27, 20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28,
    27, 27, 27, 27, 27, 26, 30,
];

struct Table {
    /// Symbols by code length, then by value: the order in which a canonical code numbers them.
    symbols: [u16; 257],
    /// Per length: the first code of that length, and where its symbols begin.
    first_code: [u32; LONGEST + 2],
    first_symbol: [u16; LONGEST + 2],
}

static TABLE: Table = table();

const fn table() -> Table {
    let mut table = Table { symbols: [0; 257], first_code: [0; LONGEST + 2], first_symbol: [0; LONGEST + 2] };
    let (mut length, mut code, mut placed) = (1, 0u32, 0);
    while length <= LONGEST {
        table.first_code[length] = code;
        table.first_symbol[length] = placed as u16;
        let mut symbol = 0;
        while symbol < LENGTHS.len() {
            if LENGTHS[symbol] as usize == length {
                table.symbols[placed] = symbol as u16;
                placed += 1;
                code += 1;
            }
            symbol += 1;
        }
        code <<= 1;
        length += 1;
    }
    table.first_symbol[LONGEST + 1] = placed as u16;
    table
}

/// The decoded string, or None if the input is not a valid encoding.
pub fn decode(input: &[u8]) -> Option<Vec<u8>> {
    let mut output = Vec::with_capacity(input.len() * 8 / 5);
    let (mut code, mut length) = (0u32, 0usize);
    for byte in input {
        for bit in (0..8).rev() {
            code = code << 1 | u32::from(byte >> bit & 1);
            length += 1;
            let offset = code.wrapping_sub(TABLE.first_code[length]);
            let first = TABLE.first_symbol[length];
            if offset < u32::from(TABLE.first_symbol[length + 1] - first) {
                let symbol = usize::from(TABLE.symbols[usize::from(first) + offset as usize]);
                if symbol == EOS {
                    return None;
                }
                output.push(symbol as u8);
                (code, length) = (0, 0);
            }
        }
    }
    // What is left must be padding: fewer than eight bits, all ones.
    (length < 8 && code == (1 << length) - 1).then_some(output)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decodes_the_examples_of_the_rfc() {
        let examples: [(&[u8], &str); 4] = [
            (&[0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff], "www.example.com"),
            (&[0xa8, 0xeb, 0x10, 0x64, 0x9c, 0xbf], "no-cache"),
            (&[0x25, 0xa8, 0x49, 0xe9, 0x5b, 0xb8, 0xe8, 0xb4, 0xbf], "custom-value"),
            (&[0x64, 0x02], "302"),
        ];
        for (input, expected) in examples {
            assert_eq!(decode(input).unwrap(), expected.as_bytes());
        }
    }

    #[test]
    fn refuses_bad_padding_and_end_of_string() {
        assert_eq!(decode(&[0xff]), None, "eight bits of padding");
        assert_eq!(decode(&[0x00]), None, "padding of zeros after the symbol");
        assert_eq!(decode(&[0xff, 0xff, 0xff, 0xff]), None, "end of string");
        assert_eq!(decode(&[]).unwrap(), b"");
    }

    proptest::proptest! {
        #[test]
        fn never_panics(input: Vec<u8>) {
            let _ = decode(&input);
        }
    }
}
