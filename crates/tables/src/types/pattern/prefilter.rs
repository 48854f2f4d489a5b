//! Big pattern tables: which rules cannot match is found in one pass over the key.
//!
//! From each pattern literals are taken of which at least one must occur in whatever it matches, ignoring case; those that
//! are rarest in the table are chosen. An Aho-Corasick automaton over all of them tells which rules are worth trying. Where a
//! pattern gives no literal, or is written in a way that this reader is not sure about, the rule is always tried: the
//! answers stay the same.

use std::collections::HashMap;

use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind};

/// Tables with fewer rules are searched directly.
const WORTHWHILE: usize = 8;
/// A shorter literal filters nothing.
const SHORTEST: usize = 3;
/// Most alternatives taken from one pattern.
const MOST_ALTERNATIVES: usize = 64;
/// How deep groups are followed.
const DEEPEST: usize = 50;

/// The syntax that a pattern is written in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Dialect {
    /// POSIX extended.
    Extended,
    /// Perl compatible, white space significant.
    Perl,
}

/// One of these occurs, in lower case, in the lower-cased text of every match.
type Literals = Vec<Vec<u8>>;

/// What a pattern requires: one of each of these sets.
pub(crate) type Required = Vec<Literals>;

/// What a pattern requires; nothing when nothing is sure.
pub(crate) fn required(pattern: &[u8], dialect: Dialect) -> Required {
    let mut reader = Reader { pattern, at: 0, dialect };
    match reader.alternation(0) {
        Ok(mut required) if reader.at == pattern.len() => {
            required.retain(|literals| score(literals) >= SHORTEST);
            required
        }
        _ => Vec::new(),
    }
}

/// The shortest member decides how well a set filters.
fn score(literals: &Literals) -> usize {
    literals.iter().map(Vec::len).min().unwrap_or(0)
}

/// The set that filters best.
fn best(required: Required) -> Option<Literals> {
    required.into_iter().max_by_key(score)
}

/// The pattern is written in a way that this reader does not know.
struct Unsure;

struct Reader<'p> {
    pattern: &'p [u8],
    at: usize,
    dialect: Dialect,
}

/// What a sequence requires so far, and the run of literal characters being read.
#[derive(Default)]
struct Sequence {
    required: Required,
    run: Vec<u8>,
}

impl Sequence {
    fn end_run(&mut self) {
        if !self.run.is_empty() {
            let run = std::mem::take(&mut self.run);
            self.required.push(vec![run]);
        }
    }
}

impl Reader<'_> {
    fn peek(&self, ahead: usize) -> Option<u8> {
        self.pattern.get(self.at + ahead).copied()
    }

    /// Alternatives up to the closing parenthesis or the end.
    fn alternation(&mut self, depth: usize) -> Result<Required, Unsure> {
        if depth > DEEPEST {
            return Err(Unsure);
        }
        let first = self.sequence(depth)?;
        if self.peek(0) != Some(b'|') {
            return Ok(first);
        }
        // Of each alternative the set that filters best; together they are one set.
        let mut all = best(first);
        while self.peek(0) == Some(b'|') {
            self.at += 1;
            let branch = best(self.sequence(depth)?);
            all = match (all, branch) {
                (Some(mut all), Some(branch)) if all.len() + branch.len() <= MOST_ALTERNATIVES => {
                    all.extend(branch);
                    Some(all)
                }
                _ => None,
            };
        }
        Ok(all.into_iter().collect())
    }

    /// One alternative.
    fn sequence(&mut self, depth: usize) -> Result<Required, Unsure> {
        let mut sequence = Sequence::default();
        while let Some(byte) = self.peek(0) {
            match byte {
                b'|' | b')' => break,
                b'(' => {
                    sequence.end_run();
                    let inner = self.group(depth)?;
                    if self.is_required() {
                        sequence.required.extend(inner);
                    }
                }
                b'[' => {
                    sequence.end_run();
                    self.class()?;
                    self.is_required();
                }
                b'.' | b'^' | b'$' => {
                    sequence.end_run();
                    self.at += 1;
                    self.is_required();
                }
                b'*' | b'+' | b'?' | b'{' => {
                    // Not after something to repeat: its meaning differs between libraries.
                    return Err(Unsure);
                }
                b'\\' => match self.escape()? {
                    Some(literal) => self.literal(literal, &mut sequence),
                    None => {
                        sequence.end_run();
                        self.is_required();
                    }
                },
                byte if byte.is_ascii_graphic() || byte == b' ' => {
                    self.at += 1;
                    self.literal(byte, &mut sequence);
                }
                _ => {
                    sequence.end_run();
                    self.at += 1;
                    self.is_required();
                }
            }
        }
        sequence.end_run();
        Ok(sequence.required)
    }

    /// Adds a character, unless a quantifier makes it optional.
    fn literal(&mut self, byte: u8, sequence: &mut Sequence) {
        let quantified = matches!(self.peek(0), Some(b'*' | b'+' | b'?' | b'{'));
        let required = self.is_required();
        if required {
            sequence.run.push(byte.to_ascii_lowercase());
        }
        if quantified {
            sequence.end_run();
        }
    }

    /// Reads the quantifiers after an item; whether the item occurs at least once.
    fn is_required(&mut self) -> bool {
        let mut required = true;
        let mut first = true;
        while let Some(byte) = self.peek(0) {
            match byte {
                b'+' if first => {}
                b'*' | b'?' | b'+' => required = false,
                b'{' => {
                    required = false;
                    // Literal braces end up here too; that only loses a literal.
                    match self.pattern[self.at..].iter().position(|byte| *byte == b'}') {
                        Some(length) if self.pattern[self.at + 1..self.at + length].iter().all(is_bound) => {
                            self.at += length;
                        }
                        _ => {}
                    }
                }
                _ => break,
            }
            first = false;
            self.at += 1;
        }
        required
    }

    /// A group from its opening parenthesis; what it requires when it takes part.
    fn group(&mut self, depth: usize) -> Result<Required, Unsure> {
        self.at += 1;
        let mut looks_around = false;
        if self.peek(0) == Some(b'*') {
            return Err(Unsure);
        }
        if self.peek(0) == Some(b'?') {
            if self.dialect == Dialect::Extended {
                return Err(Unsure);
            }
            match (self.peek(1), self.peek(2)) {
                (Some(b':' | b'>' | b'|'), _) => self.at += 2,
                (Some(b'=' | b'!'), _) => {
                    looks_around = true;
                    self.at += 2;
                }
                (Some(b'<'), Some(b'=' | b'!')) => {
                    looks_around = true;
                    self.at += 3;
                }
                _ => return Err(Unsure),
            }
        }
        let inner = self.alternation(depth + 1)?;
        if self.peek(0) != Some(b')') {
            return Err(Unsure);
        }
        self.at += 1;
        Ok(if looks_around { Vec::new() } else { inner })
    }

    /// A bracket expression.
    fn class(&mut self) -> Result<(), Unsure> {
        if self.dialect == Dialect::Extended {
            self.at = sys::posix_regex::end_of_bracket(self.pattern, self.at) + 1;
            return if self.at <= self.pattern.len() { Ok(()) } else { Err(Unsure) };
        }
        self.at += 1;
        self.at += usize::from(self.peek(0) == Some(b'^'));
        self.at += usize::from(self.peek(0) == Some(b']'));
        while let Some(byte) = self.peek(0) {
            match byte {
                b']' => {
                    self.at += 1;
                    return Ok(());
                }
                b'\\' if matches!(self.peek(1), Some(b'Q' | b'E')) => return Err(Unsure),
                b'\\' => self.at += 2,
                b'[' if self.peek(1) == Some(b':') => {
                    match self.pattern[self.at..].windows(2).position(|pair| pair == b":]") {
                        Some(length) => self.at += length + 2,
                        None => self.at += 1,
                    }
                }
                _ => self.at += 1,
            }
        }
        Err(Unsure)
    }

    /// A backslash and what follows: a literal character, or something that is none.
    fn escape(&mut self) -> Result<Option<u8>, Unsure> {
        let byte = self.peek(1).ok_or(Unsure)?;
        self.at += 2;
        match byte {
            b'.' | b'/' | b'@' | b'-' | b'_' | b'+' | b'*' | b'?' | b'(' | b')' | b'[' | b']' | b'{' | b'}' | b'^'
            | b'$' | b'|' | b'\\' | b':' | b',' | b';' | b'=' | b'!' | b'"' | b'#' | b'%' | b'&' | b'~' | b' ' => {
                Ok(Some(byte))
            }
            // Classes and assertions without arguments.
            b'd' | b'D' | b'w' | b'W' | b's' | b'S' | b'b' | b'B' => Ok(None),
            b'A' | b'Z' | b'z' | b'h' | b'H' | b'v' | b'V' | b'R' | b'n' | b'r' | b't' | b'f'
                if self.dialect == Dialect::Perl =>
            {
                Ok(None)
            }
            b'<' | b'>' | b'\'' | b'`' => Ok(None),
            _ => Err(Unsure),
        }
    }
}

/// A byte of `{2,5}`.
fn is_bound(byte: &u8) -> bool {
    byte.is_ascii_digit() || matches!(byte, b',' | b' ')
}

/// Which rules are worth trying, bit by bit.
pub(crate) struct Candidates {
    words: Vec<u64>,
}

impl Candidates {
    fn set(&mut self, index: usize) {
        self.words[index / 64] |= 1 << (index % 64);
    }

    /// The first candidate at or after `index`.
    pub(crate) fn next_from(&self, index: usize) -> Option<usize> {
        let mut word = index / 64;
        let mut bits = self.words.get(word)? & (u64::MAX << (index % 64));
        loop {
            if bits != 0 {
                return Some(word * 64 + bits.trailing_zeros() as usize);
            }
            word += 1;
            bits = *self.words.get(word)?;
        }
    }
}

/// The automaton, and who owns each literal.
pub(crate) struct Prefilter {
    automaton: AhoCorasick,
    owner: Vec<u32>,
    /// Rules without literals, tried always.
    always: Vec<u64>,
}

impl Prefilter {
    /// Builds the filter for a table; `None` when it would not pay.
    pub(crate) fn build(rules: &[Required]) -> Option<Self> {
        if rules.iter().filter(|required| !required.is_empty()).count() < WORTHWHILE {
            return None;
        }
        // What many rules require (`Subject:`) tells little about each: a rule is known by its rarest literals.
        let mut shared: HashMap<&[u8], usize> = HashMap::new();
        for literal in rules.iter().flatten().flatten() {
            *shared.entry(literal).or_default() += 1;
        }
        let commonness = |literals: &Literals| literals.iter().map(|literal| shared[literal.as_slice()]).max();
        let mut always = Candidates { words: vec![0; rules.len().div_ceil(64)] };
        let (mut patterns, mut owner) = (Vec::new(), Vec::new());
        for (index, required) in rules.iter().enumerate() {
            let rarest =
                required.iter().min_by_key(|literals| (commonness(literals), std::cmp::Reverse(score(literals))));
            match rarest {
                None => always.set(index),
                Some(literals) => {
                    owner.extend(std::iter::repeat_n(u32::try_from(index).ok()?, literals.len()));
                    patterns.extend(literals);
                }
            }
        }
        let automaton = AhoCorasick::builder()
            .match_kind(MatchKind::Standard)
            .kind(Some(AhoCorasickKind::ContiguousNFA))
            .ascii_case_insensitive(true)
            .build(patterns)
            .ok()?;
        Some(Self { automaton, owner, always: always.words })
    }

    /// The rules that may match `key`.
    pub(crate) fn candidates(&self, key: &[u8]) -> Candidates {
        let mut candidates = Candidates { words: self.always.clone() };
        for found in self.automaton.find_overlapping_iter(key) {
            candidates.set(self.owner[found.pattern().as_usize()] as usize);
        }
        candidates
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(pattern: &str, dialect: Dialect) -> Option<String> {
        let set = best(required(pattern.as_bytes(), dialect))?;
        Some(set.iter().map(|literal| String::from_utf8_lossy(literal)).collect::<Vec<_>>().join("|"))
    }

    #[test]
    fn literals_of_patterns() {
        for (pattern, expected) in [
            ("^Subject:.*viagra", Some("subject:")),
            ("abc", Some("abc")),
            ("ab", None),
            ("abcd?e", Some("abc")),
            ("abcd+e", Some("abcd")),
            ("abcd*", Some("abc")),
            ("abc{2,3}x", None),
            ("(foo|barbar)x", Some("foo|barbar")),
            ("(foo|barbar)?xyz", Some("xyz")),
            ("foo|xy", None),
            ("foo|xyz", Some("foo|xyz")),
            ("\\.example\\.com$", Some(".example.com")),
            ("[abc]def", Some("def")),
            ("[]abc]def", Some("def")),
            ("[[:alpha:]]def", Some("def")),
            ("a\\wbcd", Some("bcd")),
            ("(a(b|c)def)g", Some("def")),
            ("unbalanced(", None),
            ("", None),
        ] {
            for dialect in [Dialect::Extended, Dialect::Perl] {
                assert_eq!(text(pattern, dialect).as_deref(), expected, "{pattern}");
            }
        }
        for (pattern, expected) in [
            ("(?!abcdef)xyz", Some("xyz")),
            ("(?:abcdef)xyz", Some("abcdef")),
            ("(?<=abcdef)xyz", Some("xyz")),
            ("(?x)abc def", None),
            ("(?<name>abc)", None),
            ("\\x41bcd", None),
            ("\\Qabc\\E", None),
            ("(*UTF)abc", None),
            ("(?#abc)def", None),
            ("abc++def", Some("def")),
        ] {
            assert_eq!(text(pattern, Dialect::Perl).as_deref(), expected, "{pattern}");
        }
    }

    #[test]
    fn candidates_are_found_in_order() {
        let rules: Vec<Required> = (0..200)
            .map(|number| match number % 50 {
                0 => Vec::new(),
                _ => vec![vec![b"commonplace".to_vec()], vec![format!("word{number}x").into_bytes()]],
            })
            .collect();
        let prefilter = Prefilter::build(&rules).expect("worthwhile");
        let candidates = prefilter.candidates(b"a commonplace WORD77X and word130x");
        let mut found = Vec::new();
        let mut at = 0;
        while let Some(next) = candidates.next_from(at) {
            found.push(next);
            at = next + 1;
        }
        assert_eq!(found, [0, 50, 77, 100, 130, 150]);
    }
}
