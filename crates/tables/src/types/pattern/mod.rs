//! What `regexp:` and `pcre:` share: the syntax of rules, `if` blocks, substitution, and the search for the first rule.

pub(crate) mod prefilter;
mod rules;
mod substitution;

use bstr::{BString, ByteSlice};

use prefilter::{Dialect, Prefilter};
use rules::Statement;
use substitution::Template;

/// One library for regular expressions.
pub(crate) trait Engine: Sized {
    /// `regexp` or `pcre`.
    const KIND: &'static str;
    /// Whether `/first/!/second/ result` is understood.
    const SECOND_PATTERN: bool;
    /// What a subject is turned into once per lookup.
    type Subject<'s>;

    /// Compiles a pattern with its flag letters.
    fn compile(pattern: &[u8], flags: &[u8], utf8: bool) -> Result<Self, String>;
    /// The syntax, for the prefilter; `None` when the flags change it too much.
    fn dialect(flags: &[u8]) -> Option<Dialect>;
    /// Number of groups.
    fn groups(&self) -> usize;
    /// Prepares the subject.
    fn subject(key: &[u8]) -> Self::Subject<'_>;
    /// Whether it matches.
    fn is_match(&self, subject: &Self::Subject<'_>) -> Result<bool, String>;
    /// Start and end of the whole and of each group; `usize::MAX` for a group that took no part.
    fn captures(&self, subject: &Self::Subject<'_>) -> Result<Option<Vec<usize>>, String>;
}

/// What a rule does when its pattern matches.
enum Action {
    /// The value of the lookup.
    Result(Template),
    /// Goes on inside the block; else past the statement with this index.
    If { end: usize },
    /// Nothing to test.
    EndIf,
}

struct Rule<E> {
    pattern: Option<E>,
    /// `!/re/`.
    negated: bool,
    /// `/re/!/this/`.
    unless: Option<E>,
    action: Action,
    line: usize,
}

/// A compiled table.
pub(crate) struct Rules<E> {
    name: String,
    rules: Vec<Rule<E>>,
    prefilter: Option<Prefilter>,
}

impl<E: Engine> Rules<E> {
    /// Compiles the lines; bad rules are warned about and left out.
    pub(crate) fn compile(name: &str, lines: &[(BString, usize)], utf8: bool, substitution_allowed: bool) -> Self {
        let mut rules: Vec<Rule<E>> = Vec::new();
        let mut literals = Vec::new();
        let mut open: Vec<usize> = Vec::new();
        for (line, number) in lines {
            let warn = |reason: &str| log::warning!("{} map {name}, line {number}: {reason}", E::KIND);
            match rules::parse(line, E::SECOND_PATTERN) {
                Err(reason) => warn(&format!("{reason}: skipping this rule")),
                Ok(Statement::EndIf { extra }) => {
                    if !extra.is_empty() {
                        warn(&format!("ignoring extra text after ENDIF: \"{}\"", extra.as_bstr()));
                    }
                    match open.pop() {
                        None => warn("ignoring ENDIF without matching IF"),
                        Some(start) => {
                            rules[start].action = Action::If { end: rules.len() };
                            rules.push(Rule {
                                pattern: None,
                                negated: false,
                                unless: None,
                                action: Action::EndIf,
                                line: *number,
                            });
                            literals.push(Vec::new());
                        }
                    }
                }
                Ok(Statement::If { pattern, extra }) => {
                    if !extra.is_empty() {
                        warn(&format!("ignoring extra text after IF statement: \"{}\"", extra.as_bstr()));
                    }
                    match E::compile(pattern.text, pattern.flags, utf8) {
                        Err(reason) => warn(&format!("{reason}: skipping this rule")),
                        Ok(compiled) => {
                            open.push(rules.len());
                            // Without an ENDIF the block goes on to the end.
                            let action = Action::If { end: usize::MAX };
                            let negated = pattern.negated;
                            rules.push(Rule { pattern: Some(compiled), negated, unless: None, action, line: *number });
                            literals.push(Vec::new());
                        }
                    }
                }
                Ok(Statement::Rule { pattern, unless, result }) => {
                    if result.is_empty() {
                        warn("no replacement text: using empty string");
                    }
                    let compiled = E::compile(pattern.text, pattern.flags, utf8).and_then(|compiled| {
                        let unless = unless.map(|unless| E::compile(unless.text, unless.flags, utf8)).transpose()?;
                        let template = Template::parse(result)?;
                        template.check(compiled.groups(), pattern.negated, substitution_allowed)?;
                        Ok((compiled, unless, template))
                    });
                    match compiled {
                        Err(reason) => warn(&format!("{reason}: skipping this rule")),
                        Ok((compiled, unless, template)) => {
                            let literal = match E::dialect(pattern.flags) {
                                Some(dialect) if !pattern.negated => prefilter::required(pattern.text, dialect),
                                _ => Vec::new(),
                            };
                            literals.push(literal);
                            rules.push(Rule {
                                pattern: Some(compiled),
                                negated: pattern.negated,
                                unless,
                                action: Action::Result(template),
                                line: *number,
                            });
                        }
                    }
                }
            }
        }
        for start in open {
            log::warning!("{} map {name}, line {}: IF has no matching ENDIF", E::KIND, rules[start].line);
        }
        let prefilter = Prefilter::build(&literals);
        Self { name: name.to_owned(), rules, prefilter }
    }

    /// The result of the first rule that matches.
    ///
    /// A rule whose match fails (a limit of the library, a subject that is not UTF-8) is warned about and passed over:
    /// mail content must not be able to stop a list of rules that has other things to say about it.
    pub(crate) fn lookup(&self, key: &[u8], utf8: bool) -> Option<BString> {
        let subject = E::subject(key);
        // With Unicode case rules a letter outside ASCII may match one in a literal.
        let candidates = match &self.prefilter {
            Some(prefilter) if !utf8 || key.is_ascii() => Some(prefilter.candidates(key)),
            _ => None,
        };
        let mut index = 0;
        loop {
            if let Some(candidates) = &candidates {
                index = candidates.next_from(index)?;
            }
            let rule = self.rules.get(index)?;
            index += 1;
            let Some(pattern) = &rule.pattern else { continue };
            match &rule.action {
                Action::EndIf => {}
                Action::If { end } => {
                    let matched = pattern.is_match(&subject).unwrap_or_else(|reason| self.failed(rule, &reason));
                    if matched == rule.negated {
                        index = end.saturating_add(1);
                    }
                }
                Action::Result(template) => {
                    if let Some(result) = self.apply(rule, pattern, template, &subject, key) {
                        return Some(result);
                    }
                }
            }
        }
    }

    fn apply(
        &self,
        rule: &Rule<E>,
        pattern: &E,
        template: &Template,
        subject: &E::Subject<'_>,
        key: &[u8],
    ) -> Option<BString> {
        let failed = |reason: String| self.failed(rule, &reason);
        if let Some(constant) = template.constant() {
            let matched = match pattern.is_match(subject) {
                Ok(matched) => matched,
                Err(reason) => return self.failed(rule, &reason).then(BString::default),
            };
            if matched == rule.negated || self.unless(rule, subject) {
                return None;
            }
            return Some(constant.into());
        }
        let captures = pattern.captures(subject).unwrap_or_else(|reason| {
            failed(reason);
            None
        })?;
        if self.unless(rule, subject) {
            return None;
        }
        Some(template.fill(|group| {
            let range = captures.get(2 * group..2 * group + 2)?;
            key.get(range[0]..range[1])
        }))
    }

    fn unless(&self, rule: &Rule<E>, subject: &E::Subject<'_>) -> bool {
        rule.unless.as_ref().is_some_and(|unless| {
            unless.is_match(subject).unwrap_or_else(|reason| {
                self.failed(rule, &reason);
                true
            })
        })
    }

    /// Warns; the answer is that the rule does not match.
    fn failed(&self, rule: &Rule<E>, reason: &str) -> bool {
        log::warning!("{} map {}, line {}: {reason}", E::KIND, self.name, rule.line);
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Tables with the filter answer as without it.
    fn agrees<E: Engine>(patterns: &[String], key: &str, utf8: bool) -> Result<(), TestCaseError> {
        let lines: Vec<_> = patterns
            .iter()
            .enumerate()
            .map(|(index, pattern)| (format!("/{pattern}/ {index}").into(), index))
            .collect();
        let filtered = Rules::<E>::compile("test", &lines, utf8, true);
        let mut plain = Rules::<E>::compile("test", &lines, utf8, true);
        plain.prefilter = None;
        prop_assert_eq!(filtered.lookup(key.as_bytes(), utf8), plain.lookup(key.as_bytes(), utf8), "{:?}", patterns);
        Ok(())
    }

    fn pattern() -> impl Strategy<Value = String> {
        let item = prop::sample::select(vec![
            "a",
            "b",
            "ab",
            "abc",
            "bca",
            "k",
            "s",
            ".",
            "\\.",
            "x*",
            "b?",
            "c+",
            "a{2}",
            "b{0,2}",
            "[ab]",
            "[^a]",
            "[]a]",
            "(a|bc)",
            "(abc|bca)",
            "(abc|)",
            "(abc)?",
            "(ab)*",
            "(bca){1,2}",
            "|",
            "^",
            "$",
            "\\w",
            "\\b",
            "\\/",
            "ü",
            "a++",
            "a+?",
        ]);
        prop::collection::vec(item, 1..6).prop_map(|items| items.concat())
    }

    proptest! {
        #[test]
        fn the_prefilter_changes_no_answer(
            patterns in prop::collection::vec(pattern(), 10..30),
            key in "[abckxABC./üK\u{212a}\u{17f}]{0,12}",
        ) {
            agrees::<sys::posix_regex::PosixRegex>(&patterns, &key, false)?;
            agrees::<sys::pcre::Pcre>(&patterns, &key, false)?;
            agrees::<sys::pcre::Pcre>(&patterns, &key, true)?;
        }
    }

    #[test]
    fn blocks_end_where_they_should_with_the_filter_too() {
        let mut lines: Vec<(BString, usize)> =
            (0..20).map(|number| (format!("/nothing{number}like/ no{number}").into(), number)).collect();
        for (number, rule) in
            ["if /outer/", "/inside/ in", "if !/deep/", "/shallow/ sh", "endif", "/outer/ out", "endif", "/last/ la"]
                .into_iter()
                .enumerate()
        {
            lines.push((rule.into(), 20 + number));
        }
        let rules = Rules::<sys::pcre::Pcre>::compile("test", &lines, false, true);
        assert!(rules.prefilter.is_some());
        for (key, expected) in [
            ("outer inside", Some("in")),
            ("inside", None),
            ("outer shallow", Some("sh")),
            ("outer deep shallow", Some("out")),
            ("last", Some("la")),
            ("outer last", Some("out")),
            ("nothing7like", Some("no7")),
        ] {
            assert_eq!(rules.lookup(key.as_bytes(), false), expected.map(BString::from), "{key}");
        }
    }
}
