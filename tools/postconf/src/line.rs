//! Output lines: words joined by single blanks, folded where `-f` asks for it.

/// The longest line when lines are folded.
const WIDTH: usize = 79;
const INDENT: &str = "    ";

/// Builds one logical line, word by word.
pub(crate) struct Line {
    text: String,
    column: usize,
    /// No word in this line yet.
    fresh: bool,
    fold: bool,
}

impl Line {
    pub(crate) fn new(fold: bool) -> Line {
        Line { text: String::new(), column: 0, fresh: true, fold }
    }

    /// Text that stands as it is, at the place reached.
    pub(crate) fn put(&mut self, text: &str) {
        self.text.push_str(text);
        self.column += text.len();
        self.fresh = false;
    }

    /// The words of `text`.
    pub(crate) fn words(&mut self, text: &str) {
        for word in text.split(|c: char| c.is_ascii_whitespace()).filter(|word| !word.is_empty()) {
            self.word(word);
        }
    }

    /// One word, whatever is in it.
    pub(crate) fn word(&mut self, word: &str) {
        if !self.fresh {
            if self.fold && self.column + 1 + word.len() > WIDTH {
                self.next_line();
            } else {
                self.put(" ");
            }
        }
        self.put(word);
    }

    /// Goes on in a new line when lines are folded.
    pub(crate) fn next_line(&mut self) {
        if self.fold {
            self.text.push('\n');
            self.text.push_str(INDENT);
            self.column = INDENT.len();
            self.fresh = true;
        }
    }

    pub(crate) fn finish(self) -> String {
        self.text
    }
}

/// `name = value`, the value alone, or the name alone.
pub(crate) fn parameter(name: &str, value: &str, fold: bool, no_name: bool, no_value: bool) -> String {
    let mut line = Line::new(fold);
    if no_value {
        line.put(name);
    } else {
        if !no_name {
            line.put(name);
            line.put(" =");
        }
        line.words(value);
    }
    line.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folding() {
        let words = "a".repeat(30) + "  " + &"b".repeat(44) + "\t" + &"c".repeat(100) + " d";
        let folded = parameter("x", &words, true, false, false);
        let (a, b, c) = ("a".repeat(30), "b".repeat(44), "c".repeat(100));
        assert_eq!(folded, format!("x = {a} {b}\n    {c}\n    d"));
        assert_eq!(parameter("x", &words, false, true, false), format!("{a} {b} {c} d"));
        assert_eq!(parameter("x", "", true, false, false), "x =");
        assert_eq!(parameter("x", "y", true, false, true), "x");
        assert_eq!(parameter("x", "", true, true, false), "");
    }
}
