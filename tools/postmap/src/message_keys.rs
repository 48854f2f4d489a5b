//! `postmap -q - -b -h -m`: the headers and body lines of a message, as `header_checks` and `body_checks` see them.

use std::io::BufRead;

use message::{Class, Limits, Parser, Step};
use tables::command::{EachKey, Failure, Options};

/// Hands the parts of the message that the options ask for to `each`.
///
/// With `-m` the headers of MIME parts and attached messages are headers; without, they are lines of the body.
///
/// # Errors
/// Of the input, or of `each`.
pub(crate) fn each(input: &mut dyn BufRead, options: &Options, each: &mut EachKey<'_>) -> Result<(), Failure> {
    let mut parser = Parser::new(Limits::default(), options.mime);
    let mut line = Vec::new();
    while input.read_until(b'\n', &mut line)? > 0 {
        let text = line.strip_suffix(b"\n").unwrap_or(&line);
        let step = parser.step(text.strip_suffix(b"\r").unwrap_or(text), true);
        keys(&step, options, each)?;
        line.clear();
    }
    keys(&parser.finish(), options, each)
}

fn keys(step: &Step<'_>, options: &Options, each: &mut EachKey<'_>) -> Result<(), Failure> {
    if let Some(header) = &step.header
        && options.headers
        && (options.mime || header.class == Class::Primary)
    {
        each(header.text)?;
    }
    match &step.line {
        Some(line) if options.body => each(line.text),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From the reference's manual: what counts as header and body with which options.
    #[test]
    fn headers_and_body_lines() {
        let text = "Subject: top\n folded\nContent-Type: multipart/mixed; boundary=b1\n\npre\n--b1\nX-Part: one\n\nbody\n--b1--\n";
        for (headers, body, mime, expected) in [
            (true, false, false, vec!["Subject: top\n folded", "Content-Type: multipart/mixed; boundary=b1"]),
            (
                true,
                false,
                true,
                vec!["Subject: top\n folded", "Content-Type: multipart/mixed; boundary=b1", "X-Part: one"],
            ),
            (false, true, false, vec!["pre", "--b1", "X-Part: one", "body", "--b1--"]),
            (false, true, true, vec!["pre", "--b1", "body", "--b1--"]),
        ] {
            let options = Options { headers, body, mime, ..options() };
            let mut seen = Vec::new();
            each(&mut text.as_bytes(), &options, &mut |key| {
                if !key.is_empty() {
                    seen.push(String::from_utf8_lossy(key).into_owned());
                }
                Ok(())
            })
            .expect("memory");
            assert_eq!(seen, expected, "headers {headers} body {body} mime {mime}");
        }
    }

    fn options() -> Options {
        Options {
            config_directory: None,
            mode: tables::command::Mode::Query("-".into()),
            body: false,
            headers: false,
            mime: false,
            fold: true,
            file_values: false,
            incremental: false,
            json: false,
            keep_root: false,
            copy_permissions: true,
            no_utf8: true,
            verbose: 0,
            write: tables::build::WriteOptions::default(),
            tables: Vec::new(),
        }
    }
}
