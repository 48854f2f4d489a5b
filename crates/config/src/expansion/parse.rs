//! The grammar of `$` references; nothing is looked up here.

use std::cmp::Ordering;

use crate::error::ExpansionError;

pub(super) enum Part<'a> {
    Literal(&'a [u8]),
    Reference(Reference<'a>),
}

pub(super) enum Reference<'a> {
    Name {
        name: &'a str,
        condition: Option<Condition<'a>>,
    },
    /// `${domain_to_ascii{argument}}`, the only function.
    Function {
        argument: &'a [u8],
    },
    Relation {
        left: &'a [u8],
        operator: Operator,
        right: &'a [u8],
        condition: Option<Condition<'a>>,
    },
}

/// What to take when a name is filled or a relation holds, and what when not.
pub(super) struct Condition<'a> {
    pub(super) then: Option<&'a [u8]>,
    pub(super) otherwise: Option<&'a [u8]>,
}

#[derive(Clone, Copy)]
pub(super) struct Operator {
    pub(super) relation: Relation,
    /// `<level` instead of `<`.
    pub(super) levels: bool,
}

#[derive(Clone, Copy)]
pub(super) enum Relation {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    GreaterOrEqual,
    Greater,
}

impl Relation {
    pub(super) fn holds(self, order: Ordering) -> bool {
        match self {
            Relation::Equal => order.is_eq(),
            Relation::NotEqual => order.is_ne(),
            Relation::Less => order.is_lt(),
            Relation::LessOrEqual => order.is_le(),
            Relation::GreaterOrEqual => order.is_ge(),
            Relation::Greater => order.is_gt(),
        }
    }
}

impl Operator {
    fn parse(text: &[u8]) -> Option<Operator> {
        let (symbol, levels) = match text.strip_suffix(b"level") {
            Some(symbol) => (symbol, true),
            None => (text, false),
        };
        let relation = match symbol {
            b"==" => Relation::Equal,
            b"!=" => Relation::NotEqual,
            b"<" => Relation::Less,
            b"<=" => Relation::LessOrEqual,
            b">=" => Relation::GreaterOrEqual,
            b">" => Relation::Greater,
            _ => return None,
        };
        Some(Operator { relation, levels })
    }
}

pub(super) struct Cursor<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(text: &'a [u8]) -> Cursor<'a> {
        Cursor { text, at: 0 }
    }

    pub(super) fn next_part(&mut self) -> Result<Option<Part<'a>>, ExpansionError> {
        let rest = &self.text[self.at..];
        let Some(dollar) = rest.iter().position(|b| *b == b'$') else {
            self.at = self.text.len();
            return Ok((!rest.is_empty()).then_some(Part::Literal(rest)));
        };
        if dollar > 0 {
            self.at += dollar;
            return Ok(Some(Part::Literal(&rest[..dollar])));
        }
        let behind = &rest[1..];
        match behind.first() {
            Some(b'$') => {
                self.at += 2;
                Ok(Some(Part::Literal(b"$")))
            }
            Some(b'{') => self.enclosed(b'{', b'}').map(Some),
            Some(b'(') => self.enclosed(b'(', b')').map(Some),
            _ => {
                let length = behind.iter().take_while(|b| is_name_byte(**b)).count();
                let name = self.name(&behind[..length])?;
                self.at += 1 + length;
                Ok(Some(Part::Reference(Reference::Name { name, condition: None })))
            }
        }
    }

    fn whole(&self) -> String {
        String::from_utf8_lossy(self.text).into_owned()
    }

    fn name(&self, bytes: &'a [u8]) -> Result<&'a str, ExpansionError> {
        // Name bytes are ASCII, so the conversion cannot fail.
        std::str::from_utf8(bytes)
            .ok()
            .filter(|name| !name.is_empty())
            .ok_or_else(|| ExpansionError::EmptyName(self.whole()))
    }

    fn enclosed(&mut self, open: u8, close: u8) -> Result<Part<'a>, ExpansionError> {
        let start = self.at + 1;
        let length =
            balanced(&self.text[start..], open, close).ok_or_else(|| ExpansionError::Truncated(self.whole()))?;
        let inside = &self.text[start + 1..start + length - 1];
        self.at = start + length;
        let mut inner = Inner { text: inside, at: 0 };
        inner.skip_space();
        if inner.peek() == Some(b'{') {
            return inner.relation().map(Part::Reference);
        }
        let length = inner.rest().iter().take_while(|b| is_name_byte(**b)).count();
        if length == 0 && inner.rest().is_empty() {
            return Err(ExpansionError::EmptyName(self.whole()));
        }
        let bytes = &inner.rest()[..length];
        inner.at += length;
        inner.skip_space();
        let condition = match inner.peek() {
            None => None,
            Some(b'?' | b':') => Some(inner.condition()?),
            Some(b'{') if bytes == b"domain_to_ascii" => {
                let argument = inner.braces()?;
                inner.skip_space();
                inner.nothing_left()?;
                return Ok(Part::Reference(Reference::Function { argument }));
            }
            Some(_) => {
                return Err(ExpansionError::Name { before: lossy(bytes), after: lossy(inner.rest()) });
            }
        };
        let name = self.name(bytes)?;
        Ok(Part::Reference(Reference::Name { name, condition }))
    }
}

/// What is between the outer braces of one reference.
struct Inner<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Inner<'a> {
    fn rest(&self) -> &'a [u8] {
        &self.text[self.at..]
    }

    fn peek(&self) -> Option<u8> {
        self.rest().first().copied()
    }

    fn skip_space(&mut self) {
        self.at += self.rest().iter().take_while(|b| b.is_ascii_whitespace()).count();
    }

    fn expected(&self, expected: &'static str) -> ExpansionError {
        let (before, after) = self.place();
        ExpansionError::Expected { expected, before, after }
    }

    fn place(&self) -> (String, String) {
        (lossy(&self.text[..self.at]), lossy(self.rest()))
    }

    /// `{payload}`, with what is between the braces as it stands.
    fn braces(&mut self) -> Result<&'a [u8], ExpansionError> {
        if self.peek() != Some(b'{') {
            return Err(self.expected("\"{expression}\""));
        }
        let length = balanced(self.rest(), b'{', b'}').ok_or_else(|| self.expected("\"}\""))?;
        let payload = &self.rest()[1..length - 1];
        self.at += length;
        Ok(payload)
    }

    fn relation(&mut self) -> Result<Reference<'a>, ExpansionError> {
        let left = self.braces()?;
        self.skip_space();
        let length = self.rest().iter().take_while(|b| !b.is_ascii_whitespace() && **b != b'{').count();
        let operator = Operator::parse(&self.rest()[..length])
            .ok_or_else(|| self.expected("\"==\" or \"!=\" or \"<\" or \"<=\" or \">=\" or \">\""))?;
        self.at += length;
        self.skip_space();
        let right = self.braces()?;
        self.skip_space();
        let condition = match self.peek() {
            None => None,
            Some(b'?' | b':') => Some(self.condition()?),
            Some(_) => return Err(self.expected("\"?\" or \":\"")),
        };
        Ok(Reference::Relation { left, operator, right, condition })
    }

    /// `?text`, `:text`, `?{text}`, `:{text}` or `?{text}:{text}`; the cursor stands on the mark.
    fn condition(&mut self) -> Result<Condition<'a>, ExpansionError> {
        let positive = self.peek() == Some(b'?');
        self.at += 1;
        let old_form = self.rest();
        self.skip_space();
        if self.peek() != Some(b'{') {
            // The old form takes everything up to the end as it stands.
            self.at = self.text.len();
            return Ok(if positive {
                Condition { then: Some(old_form), otherwise: None }
            } else {
                Condition { then: None, otherwise: Some(old_form) }
            });
        }
        let first = self.braces()?;
        self.skip_space();
        if !positive {
            return self.end(Condition { then: None, otherwise: Some(first) });
        }
        match self.peek() {
            None => Ok(Condition { then: Some(first), otherwise: None }),
            Some(b':') => {
                self.at += 1;
                let old_form = self.rest();
                self.skip_space();
                if self.peek() != Some(b'{') {
                    return Ok(Condition { then: Some(first), otherwise: Some(old_form) });
                }
                let second = self.braces()?;
                self.skip_space();
                self.end(Condition { then: Some(first), otherwise: Some(second) })
            }
            Some(_) => Err(self.expected("\":\"")),
        }
    }

    fn end(&self, condition: Condition<'a>) -> Result<Condition<'a>, ExpansionError> {
        self.nothing_left().map(|()| condition)
    }

    fn nothing_left(&self) -> Result<(), ExpansionError> {
        if self.rest().is_empty() {
            return Ok(());
        }
        let (before, after) = self.place();
        Err(ExpansionError::Unexpected { before, after })
    }
}

fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Length of the text from an opening mark (the first byte) to the one that closes it, both included.
pub(crate) fn balanced(text: &[u8], open: u8, close: u8) -> Option<usize> {
    let mut level = 0usize;
    for (at, byte) in text.iter().enumerate() {
        if *byte == open {
            level += 1;
        } else if *byte == close {
            level = level.checked_sub(1)?;
            if level == 0 {
                return Some(at + 1);
            }
        }
    }
    None
}
