//! `$name`, `${name}`, `$(name)`, `$$`, `${name?text}`, `${name:text}`, `${name?{yes}:{no}}` and
//! `${{one} == {other} ? {yes} : {no}}`, as main.cf values and raw parameters have them.
//!
//! The text is bytes, because run-time attributes (a recipient, a header) are.

mod domain_to_ascii;
mod parse;

pub(crate) use parse::balanced;

use crate::error::ExpansionError;
use crate::level::Level;
use parse::{Condition, Cursor, Operator, Part, Reference};

/// How deep values may refer to each other.
pub const NESTING_LIMIT: usize = 100;

/// What stands behind the names.
pub trait Names {
    /// The text of `name`; `None` when there is no such name (it then counts as empty).
    ///
    /// # Errors
    /// Whatever makes the value unobtainable.
    fn value(&mut self, name: &str) -> Result<Option<Vec<u8>>, ExpansionError>;

    /// True when the values are themselves to be expanded (parameters are, run-time attributes are not).
    fn nested(&self) -> bool;
}

/// Expands `text`.
///
/// # Errors
/// Bad syntax, values nested too deep, and what `names` says.
pub fn expand(text: &[u8], names: &mut dyn Names) -> Result<Vec<u8>, ExpansionError> {
    let mut out = Vec::with_capacity(text.len() * 2);
    expand_into(&mut out, text, names, 0)?;
    Ok(out)
}

/// Every name that `text` refers to, in all branches, in order and as often as it occurs.
///
/// # Errors
/// Bad syntax, braces nested too deep.
pub fn references(text: &[u8]) -> Result<Vec<String>, ExpansionError> {
    let mut found = Vec::new();
    collect(&mut found, text, 0)?;
    Ok(found)
}

fn collect(found: &mut Vec<String>, text: &[u8], depth: usize) -> Result<(), ExpansionError> {
    if depth > NESTING_LIMIT {
        return Err(ExpansionError::Nesting(String::from_utf8_lossy(text).into_owned()));
    }
    let mut cursor = Cursor::new(text);
    while let Some(part) = cursor.next_part()? {
        let Part::Reference(reference) = part else { continue };
        let (texts, condition) = match reference {
            Reference::Name { name, condition } => {
                found.push(name.to_owned());
                ([None, None], condition)
            }
            Reference::Function { argument } => ([Some(argument), None], None),
            Reference::Relation { left, right, condition, .. } => ([Some(left), Some(right)], condition),
        };
        let branches = condition.map_or([None, None], |c| [c.then, c.otherwise]);
        for text in texts.into_iter().chain(branches).flatten() {
            collect(found, text, depth + 1)?;
        }
    }
    Ok(())
}

/// True when nothing in `text` needs expanding.
#[must_use]
pub fn is_plain(text: &[u8]) -> bool {
    !text.contains(&b'$')
}

fn expand_into(out: &mut Vec<u8>, text: &[u8], names: &mut dyn Names, depth: usize) -> Result<(), ExpansionError> {
    if depth > NESTING_LIMIT {
        return Err(ExpansionError::Nesting(String::from_utf8_lossy(text).into_owned()));
    }
    let mut cursor = Cursor::new(text);
    while let Some(part) = cursor.next_part()? {
        match part {
            Part::Literal(literal) => out.extend_from_slice(literal),
            Part::Reference(Reference::Name { name, condition: None }) => {
                if let Some(value) = names.value(name)? {
                    substitute(out, &value, names, depth, name)?;
                }
            }
            Part::Reference(Reference::Name { name, condition: Some(condition) }) => {
                let filled = names.value(name)?.is_some_and(|value| !value.is_empty());
                conditional(out, filled, &condition, names, depth)?;
            }
            Part::Reference(Reference::Function { argument }) => {
                let mut domain = Vec::new();
                expand_into(&mut domain, argument, names, depth + 1)?;
                out.extend_from_slice(&domain_to_ascii::convert(&domain));
            }
            Part::Reference(Reference::Relation { left, operator, right, condition }) => {
                let (mut one, mut other) = (Vec::new(), Vec::new());
                expand_into(&mut one, left, names, depth + 1)?;
                expand_into(&mut other, right, names, depth + 1)?;
                let holds = holds(&one, operator, &other)?;
                match condition {
                    Some(condition) => conditional(out, holds, &condition, names, depth)?,
                    None if holds => out.extend_from_slice(b"true"),
                    None => {}
                }
            }
        }
    }
    Ok(())
}

fn substitute(
    out: &mut Vec<u8>,
    value: &[u8],
    names: &mut dyn Names,
    depth: usize,
    name: &str,
) -> Result<(), ExpansionError> {
    if !names.nested() || is_plain(value) {
        out.extend_from_slice(value);
        return Ok(());
    }
    if depth >= NESTING_LIMIT {
        return Err(ExpansionError::Nesting(name.to_owned()));
    }
    expand_into(out, value, names, depth + 1)
}

fn conditional(
    out: &mut Vec<u8>,
    holds: bool,
    condition: &Condition<'_>,
    names: &mut dyn Names,
    depth: usize,
) -> Result<(), ExpansionError> {
    match if holds { condition.then } else { condition.otherwise } {
        Some(text) => expand_into(out, text, names, depth + 1),
        None => Ok(()),
    }
}

/// Compares as numbers when both are digits only, otherwise byte by byte; the `level` forms compare levels.
fn holds(one: &[u8], operator: Operator, other: &[u8]) -> Result<bool, ExpansionError> {
    let order = if operator.levels {
        let level = |text: &[u8]| String::from_utf8_lossy(text).parse::<Level>();
        level(one)?.cmp(&level(other)?)
    } else {
        let digits = |text: &[u8]| !text.is_empty() && text.iter().all(u8::is_ascii_digit);
        if digits(one) && digits(other) {
            let number = |text: &[u8]| {
                let text = String::from_utf8_lossy(text);
                text.parse::<u64>().map_err(|_| ExpansionError::Number(text.into_owned()))
            };
            number(one)?.cmp(&number(other)?)
        } else {
            one.cmp(other)
        }
    };
    Ok(operator.relation.holds(order))
}

#[cfg(test)]
mod tests;
