//! `name: value, value`, the line of postalias.

use bstr::{BString, ByteSlice};

/// A name and the text after its colon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AliasLine {
    /// The name, unquoted.
    pub name: BString,
    /// The text of the value list.
    pub value: BString,
}

/// Why a line is not taken; the text of the warning about it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AliasError {
    /// No colon, or something else before it than one local name.
    #[error("name must be local or missing ':' in \"{0}\"")]
    Name(String),
}

/// Splits a logical line of an alias file.
///
/// # Errors
/// The line is to be ignored with a warning.
pub fn parse_alias(line: &[u8]) -> Result<AliasLine, AliasError> {
    let (name, value) = line.split_once_str(":").ok_or_else(|| AliasError::Name(line.as_bstr().to_string()))?;
    Ok(AliasLine { name: name.trim_ascii().into(), value: value.trim_ascii().into() })
}
