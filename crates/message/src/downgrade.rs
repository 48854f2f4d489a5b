//! 8-bit MIME to 7-bit: quoted-printable where a part says that it has 8-bit content (RFC 6152 3, RFC 2045 6.7).

use crate::Name;
use crate::mime::{Encoding, Header, Limits, Line, Major, Parser, Problems, Step};

/// Lines of encoded output stay at or below this many bytes (RFC 2045 6.7 rule 5 allows 76).
const MAX_ENCODED_LINE: usize = 72;

/// Converts a message as it streams by.
///
/// Output lines end in LF. Structured parts (multipart, message) get `7bit`, others `quoted-printable`. Content that
/// does not declare 8-bit is left as it is.
#[derive(Debug)]
pub struct Converter {
    parser: Parser,
    /// This part's body is being encoded.
    encoding: bool,
    /// Bytes on the encoded line so far.
    column: usize,
}

impl Converter {
    /// A converter at the beginning of a message.
    #[must_use]
    pub fn new(limits: Limits) -> Converter {
        Converter { parser: Parser::new(limits, true), encoding: false, column: 0 }
    }

    /// Takes a line without its line end; `complete` is false for a piece that the next call continues.
    pub fn push(&mut self, text: &[u8], complete: bool, output: &mut Vec<u8>) {
        let Converter { parser, encoding, column } = self;
        write_step(&parser.step(text, complete), encoding, column, output);
    }

    /// The message is over.
    pub fn finish(&mut self, output: &mut Vec<u8>) {
        let Converter { parser, encoding, column } = self;
        write_step(&parser.finish(), encoding, column, output);
    }

    /// What was found on the way.
    #[must_use]
    pub fn problems(&self) -> Problems {
        self.parser.problems()
    }
}

fn write_step(step: &Step<'_>, encoding: &mut bool, column: &mut usize, output: &mut Vec<u8>) {
    if let Some(header) = &step.header
        && !is_eight_bit_declaration(header)
    {
        output.extend_from_slice(header.text);
        output.push(b'\n');
    }
    if let Some((declared, major)) = step.declared {
        *encoding = false;
        *column = 0;
        match (declared, major) {
            (Encoding::EightBit | Encoding::Binary, Major::Leaf) => {
                output.extend_from_slice(b"Content-Transfer-Encoding: quoted-printable\n");
                *encoding = true;
            }
            (Encoding::EightBit | Encoding::Binary, _) => {
                output.extend_from_slice(b"Content-Transfer-Encoding: 7bit\n");
            }
            _ => {}
        }
    }
    if let Some(line) = &step.line {
        if line.boundary {
            *encoding = false;
        }
        write_line(line, *encoding, column, output);
    }
}

fn is_eight_bit_declaration(header: &Header<'_>) -> bool {
    if header.name != Some(Name::ContentTransferEncoding) {
        return false;
    }
    let mut entity = crate::mime::Entity::default();
    entity.set_encoding(crate::body_of(header.text));
    matches!(entity.encoding, Encoding::EightBit | Encoding::Binary)
}

fn write_line(line: &Line<'_>, encode: bool, column: &mut usize, output: &mut Vec<u8>) {
    if !encode {
        output.extend_from_slice(line.text);
        if line.complete {
            output.push(b'\n');
        }
        return;
    }
    for (index, &byte) in line.text.iter().enumerate() {
        // White space at the end of a line does not survive transport (RFC 2045 6.7 rule 3). A piece may be the end.
        let last = index + 1 == line.text.len();
        let literal = matches!(byte, 33..=60 | 62..=126) || (matches!(byte, b' ' | b'\t') && !last);
        let width = if literal { 1 } else { 3 };
        if *column + width > MAX_ENCODED_LINE {
            output.extend_from_slice(b"=\n");
            *column = 0;
        }
        if literal {
            output.push(byte);
        } else {
            const HEX: &[u8; 16] = b"0123456789ABCDEF";
            output.extend_from_slice(&[b'=', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
        }
        *column += width;
    }
    if line.complete {
        output.push(b'\n');
        *column = 0;
    }
}

#[cfg(test)]
mod tests {
    use bstr::ByteSlice;
    use proptest::prelude::*;

    use super::*;

    fn convert(message: &[u8]) -> Vec<u8> {
        let mut converter = Converter::new(Limits::default());
        let mut output = Vec::new();
        for line in message.lines() {
            converter.push(line, true, &mut output);
        }
        converter.finish(&mut output);
        output
    }

    fn decode(text: &[u8]) -> Vec<u8> {
        let mut output = Vec::new();
        for line in text.lines() {
            let (line, soft) = line.strip_suffix(b"=").map_or((line, false), |line| (line, true));
            let mut bytes = line.iter();
            while let Some(&byte) = bytes.next() {
                if byte == b'=' {
                    let hex: Vec<u8> = bytes.by_ref().take(2).copied().collect();
                    output.push(u8::from_str_radix(std::str::from_utf8(&hex).expect("hex"), 16).expect("hex"));
                } else {
                    output.push(byte);
                }
            }
            if !soft {
                output.push(b'\n');
            }
        }
        output
    }

    #[test]
    fn leaves_what_is_seven_bit_or_undeclared() {
        for message in [&b"A: b\n\nx=y\n"[..], b"A: b\n\n\xff\n", b"Content-Transfer-Encoding: base64\n\nAAAA\n"] {
            assert_eq!(convert(message), message);
        }
    }

    #[test]
    fn encodes_declared_parts() {
        assert_eq!(
            convert("Content-Transfer-Encoding: 8bit\nA: b\n\nGrün = \n".as_bytes()).as_bstr(),
            "A: b\nContent-Transfer-Encoding: quoted-printable\n\nGr=C3=BCn =3D=20\n"
        );
        assert_eq!(
            convert(b"A: b\nContent-Transfer-Encoding: 8bit\n\n\nx\n").as_bstr(),
            "A: b\nContent-Transfer-Encoding: quoted-printable\n\n\nx\n"
        );
        let multipart = "Content-Type: multipart/mixed; boundary=B\nContent-Transfer-Encoding: 8bit\n\n--B\n\
            Content-Transfer-Encoding: 8bit\n\nü\n--B\n\nplain=\n--B--\n";
        assert_eq!(
            convert(multipart.as_bytes()).as_bstr(),
            "Content-Type: multipart/mixed; boundary=B\nContent-Transfer-Encoding: 7bit\n\n--B\n\
             Content-Transfer-Encoding: quoted-printable\n\n=C3=BC\n--B\n\nplain=\n--B--\n"
        );
    }

    proptest! {
        #[test]
        fn what_is_encoded_decodes(body in proptest::collection::vec(proptest::collection::vec(any::<u8>().prop_filter("no line ends", |b| *b != b'\n' && *b != b'\r'), 0..200), 0..5)) {
            let mut message = b"Content-Transfer-Encoding: 8bit\n\n".to_vec();
            let mut plain = Vec::new();
            for line in &body {
                plain.extend_from_slice(line);
                plain.push(b'\n');
            }
            message.extend_from_slice(&plain);
            let output = convert(&message);
            let encoded = &output[output.find("\n\n").expect("end of headers") + 2..];
            prop_assert!(encoded.lines().all(|line| line.len() <= 76 && line.is_ascii()));
            prop_assert_eq!(decode(encoded), plain);
        }
    }
}
