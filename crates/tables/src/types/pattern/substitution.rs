//! The result of a rule: text with `$1`, `${1}`, `$(1)` for parts of the key and `$$` for a dollar sign.

use bstr::BString;

enum Part {
    Text(BString),
    Group(usize),
}

/// A parsed result.
pub(super) struct Template {
    parts: Vec<Part>,
}

impl Template {
    pub(super) fn parse(text: &[u8]) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut literal = Vec::new();
        let mut rest = text;
        while let Some((byte, tail)) = rest.split_first() {
            rest = tail;
            if *byte != b'$' {
                literal.push(*byte);
                continue;
            }
            let (name, tail) = match rest.first() {
                Some(b'$') => {
                    literal.push(b'$');
                    rest = &rest[1..];
                    continue;
                }
                Some(open @ (b'{' | b'(')) => {
                    let close = if *open == b'{' { b'}' } else { b')' };
                    let end = rest.iter().position(|byte| *byte == close).ok_or("truncated macro reference")?;
                    (&rest[1..end], &rest[end + 1..])
                }
                _ => {
                    let word = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
                    let end = rest.iter().position(|byte| !word(byte)).unwrap_or(rest.len());
                    rest.split_at(end)
                }
            };
            let name = String::from_utf8_lossy(name);
            if name.is_empty() {
                return Err("empty macro name: bad replacement syntax".to_owned());
            }
            let group: usize = name
                .parse()
                .map_err(|_| format!("non-numeric replacement index \"{name}\": bad replacement syntax"))?;
            if group == 0 {
                return Err(format!("out of range replacement index \"{name}\""));
            }
            if !literal.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut literal).into()));
            }
            parts.push(Part::Group(group));
            rest = tail;
        }
        if !literal.is_empty() || parts.is_empty() {
            parts.push(Part::Text(literal.into()));
        }
        Ok(Self { parts })
    }

    /// Whether the result suits the rule.
    pub(super) fn check(&self, groups: usize, negated: bool, substitution_allowed: bool) -> Result<(), String> {
        let most = self.parts.iter().filter_map(|part| match part {
            Part::Group(group) => Some(*group),
            Part::Text(_) => None,
        });
        match most.max() {
            None => Ok(()),
            Some(_) if !substitution_allowed => Err("regular expression substitution is not allowed".to_owned()),
            Some(_) if negated => Err("$number found in negative match replacement text".to_owned()),
            Some(group) if group > groups => Err(format!("out of range replacement index \"{group}\"")),
            Some(_) => Ok(()),
        }
    }

    /// The text, when no part of the key goes into it.
    pub(super) fn constant(&self) -> Option<&[u8]> {
        match self.parts.as_slice() {
            [Part::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// Fills the groups in; one that took no part is empty.
    pub(super) fn fill<'k>(&self, group: impl Fn(usize) -> Option<&'k [u8]>) -> BString {
        let mut result = Vec::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => result.extend_from_slice(text),
                Part::Group(number) => result.extend_from_slice(group(*number).unwrap_or_default()),
            }
        }
        result.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn macros() {
        for (text, filled) in [
            ("a", "a"),
            ("", ""),
            ("$1-${2}-$(1)", "one-two-one"),
            ("$$1$$", "$1$"),
            ("x$12-y", "x-y"),
            ("${1}1", "one1"),
        ] {
            let template = Template::parse(text.as_bytes()).expect(text);
            let groups = ["whole", "one", "two"];
            assert_eq!(template.fill(|group| groups.get(group).map(|text| text.as_bytes())), filled, "{text}");
        }
        for text in ["$", "a$ b", "$foo", "${1", "$0", "$1a"] {
            assert!(Template::parse(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn checks() {
        let template = Template::parse(b"$2").expect("parses");
        assert!(template.check(2, false, true).is_ok());
        for (groups, negated, allowed) in [(1, false, true), (2, true, true), (2, false, false)] {
            assert!(template.check(groups, negated, allowed).is_err());
        }
    }
}
