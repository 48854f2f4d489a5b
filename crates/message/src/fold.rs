//! Folding of long headers.

/// Lines of folded address lists stay below this many bytes where single addresses allow it.
pub const WIDTH: usize = 70;

/// Folds a header whose text has one address to a line: as many addresses on a line as fit below [`WIDTH`] bytes.
///
/// The line feeds that stay are followed by a TAB.
#[must_use]
pub fn addresses(text: &[u8]) -> Vec<u8> {
    let mut output = Vec::with_capacity(text.len() + 16);
    let mut line_start = 0;
    for (index, line) in text.split(|byte| *byte == b'\n').enumerate() {
        if index > 0 {
            if output.len() - line_start + 1 + line.len() < WIDTH {
                output.push(b' ');
            } else {
                output.extend_from_slice(b"\n\t");
                // The TAB of the fold does not count.
                line_start = output.len();
            }
        }
        output.extend_from_slice(line);
    }
    output
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fills_lines() {
        let address = "abcdefghijklmnopqrstuvwxyz@example.com";
        assert_eq!(addresses(b"To: a@b,\nc@d"), b"To: a@b, c@d");
        let long = format!("To: {address},\n{address},\nx@y");
        let folded = format!("To: {address},\n\t{address}, x@y");
        assert_eq!(addresses(long.as_bytes()), folded.as_bytes());
        assert_eq!(addresses(b"To: a"), b"To: a");
    }
}
