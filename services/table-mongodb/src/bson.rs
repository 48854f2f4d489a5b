//! BSON (bsonspec.org), and JSON with the extensions that queries use.

use std::fmt;

use bstr::{BString, ByteSlice};
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

/// How deep documents may nest.
const DEEPEST: usize = 50;

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Double(f64),
    Text(BString),
    Document(Document),
    Array(Vec<Value>),
    Binary(Vec<u8>),
    ObjectId([u8; 12]),
    Boolean(bool),
    Null,
    Int32(i32),
    Int64(i64),
    /// Milliseconds.
    Date(i64),
    /// A type that no result is made of.
    Other,
}

/// Fields in their order.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Document(pub(crate) Vec<(String, Value)>);

impl Document {
    pub(crate) fn field(&self, name: &str) -> Option<&Value> {
        self.0.iter().find(|(there, _)| there == name).map(|(_, value)| value)
    }

    /// A field by a path with dots.
    pub(crate) fn path(&self, path: &str) -> Option<&Value> {
        match path.split_once('.') {
            None => self.field(path),
            Some((name, rest)) => match self.field(name)? {
                Value::Document(inner) => inner.path(rest),
                _ => None,
            },
        }
    }

    pub(crate) fn with(mut self, name: &str, value: impl Into<Value>) -> Document {
        self.0.push((name.to_owned(), value.into()));
        self
    }

    /// Appends the document's bytes.
    pub(crate) fn write(&self, into: &mut Vec<u8>) {
        let start = into.len();
        into.extend_from_slice(&[0; 4]);
        for (name, value) in &self.0 {
            value.write(name, into);
        }
        into.push(0);
        let length = (into.len() - start) as u32;
        into[start..start + 4].copy_from_slice(&length.to_le_bytes());
    }

    /// Reads a document that takes all of `bytes`.
    pub(crate) fn read(bytes: &[u8]) -> Option<Document> {
        let mut reader = Reader { bytes, depth: 0 };
        let document = reader.document()?;
        reader.bytes.is_empty().then_some(document)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Value {
        Value::Text(text.into())
    }
}

impl From<i32> for Value {
    fn from(number: i32) -> Value {
        Value::Int32(number)
    }
}

impl From<bool> for Value {
    fn from(boolean: bool) -> Value {
        Value::Boolean(boolean)
    }
}

impl From<Document> for Value {
    fn from(document: Document) -> Value {
        Value::Document(document)
    }
}

impl Value {
    pub(crate) fn number(&self) -> Option<f64> {
        match self {
            Value::Double(number) => Some(*number),
            Value::Int32(number) => Some(f64::from(*number)),
            Value::Int64(number) => Some(*number as f64),
            _ => None,
        }
    }

    fn write(&self, name: &str, into: &mut Vec<u8>) {
        let tag = match self {
            Value::Double(_) => 0x01,
            Value::Text(_) => 0x02,
            Value::Document(_) => 0x03,
            Value::Array(_) => 0x04,
            Value::Binary(_) => 0x05,
            Value::ObjectId(_) => 0x07,
            Value::Boolean(_) => 0x08,
            Value::Date(_) => 0x09,
            Value::Null | Value::Other => 0x0a,
            Value::Int32(_) => 0x10,
            Value::Int64(_) => 0x12,
        };
        into.push(tag);
        into.extend(name.bytes().filter(|byte| *byte != 0));
        into.push(0);
        match self {
            Value::Double(number) => into.extend_from_slice(&number.to_le_bytes()),
            Value::Text(text) => {
                into.extend_from_slice(&(text.len() as u32 + 1).to_le_bytes());
                into.extend_from_slice(text);
                into.push(0);
            }
            Value::Document(document) => document.write(into),
            Value::Array(values) => {
                let numbered = values.iter().enumerate().map(|(at, value)| (at.to_string(), value.clone()));
                Document(numbered.collect()).write(into);
            }
            Value::Binary(bytes) => {
                into.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
                into.push(0);
                into.extend_from_slice(bytes);
            }
            Value::ObjectId(id) => into.extend_from_slice(id),
            Value::Boolean(boolean) => into.push(u8::from(*boolean)),
            Value::Null | Value::Other => {}
            Value::Int32(number) => into.extend_from_slice(&number.to_le_bytes()),
            Value::Int64(number) | Value::Date(number) => into.extend_from_slice(&number.to_le_bytes()),
        }
    }
}

struct Reader<'b> {
    bytes: &'b [u8],
    depth: usize,
}

impl<'b> Reader<'b> {
    fn take(&mut self, count: usize) -> Option<&'b [u8]> {
        let (taken, rest) = self.bytes.split_at_checked(count)?;
        self.bytes = rest;
        Some(taken)
    }

    fn length(&mut self) -> Option<usize> {
        usize::try_from(i32::from_le_bytes(self.take(4)?.try_into().ok()?)).ok()
    }

    fn name(&mut self) -> Option<String> {
        let end = self.bytes.find_byte(0)?;
        let name = self.take(end)?.to_str_lossy().into_owned();
        self.take(1)?;
        Some(name)
    }

    fn document(&mut self) -> Option<Document> {
        let length = self.length()?.checked_sub(5)?;
        let inside = self.take(length)?;
        if self.take(1)? != [0] || self.depth >= DEEPEST {
            return None;
        }
        let mut reader = Reader { bytes: inside, depth: self.depth + 1 };
        let mut fields = Vec::new();
        while !reader.bytes.is_empty() {
            let tag = reader.take(1)?[0];
            let name = reader.name()?;
            fields.push((name, reader.value(tag)?));
        }
        Some(Document(fields))
    }

    fn value(&mut self, tag: u8) -> Option<Value> {
        let eight = |reader: &mut Self| reader.take(8)?.try_into().ok();
        Some(match tag {
            0x01 => Value::Double(f64::from_le_bytes(eight(self)?)),
            0x02 | 0x0d | 0x0e => {
                let length = self.length()?;
                Value::Text(self.take(length)?.strip_suffix(b"\0")?.into())
            }
            0x03 => Value::Document(self.document()?),
            0x04 => Value::Array(self.document()?.0.into_iter().map(|(_, value)| value).collect()),
            0x05 => {
                let length = self.length()?;
                self.take(1)?;
                Value::Binary(self.take(length)?.to_vec())
            }
            0x07 => Value::ObjectId(self.take(12)?.try_into().ok()?),
            0x08 => Value::Boolean(self.take(1)? != [0]),
            0x09 => Value::Date(i64::from_le_bytes(eight(self)?)),
            0x0a | 0x06 => Value::Null,
            0x10 => Value::Int32(i32::from_le_bytes(self.take(4)?.try_into().ok()?)),
            0x12 => Value::Int64(i64::from_le_bytes(eight(self)?)),
            0x0b => {
                self.name()?;
                self.name()?;
                Value::Other
            }
            0x11 => {
                self.take(8)?;
                Value::Other
            }
            0x13 => {
                self.take(16)?;
                Value::Other
            }
            0x7f | 0xff => Value::Other,
            _ => return None,
        })
    }
}

/// Reads JSON in its order, with `{"$oid": ...}`, `{"$numberLong": ...}` and the like.
pub(crate) fn from_json(text: &str) -> Result<Document, String> {
    match serde_json::from_str::<Value>(text) {
        Ok(Value::Document(document)) => Ok(document),
        Ok(_) => Err("not a JSON object".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(JsonVisitor)
    }
}

struct JsonVisitor;

impl<'de> Visitor<'de> for JsonVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Boolean(value))
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<Value, E> {
        Ok(i32::try_from(value).map_or(Value::Int64(value), Value::Int32))
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Value, E> {
        match i64::try_from(value) {
            Ok(value) => self.visit_i64(value),
            Err(_) => Ok(Value::Double(value as f64)),
        }
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Double(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = sequence.next_element()? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut fields: Vec<(String, Value)> = Vec::new();
        while let Some(field) = map.next_entry()? {
            fields.push(field);
        }
        if let [(name, Value::Text(text))] = fields.as_slice()
            && let Some(value) = extended(name, text)
        {
            return Ok(value);
        }
        Ok(Value::Document(Document(fields)))
    }
}

/// Values that JSON has no form for.
fn extended(name: &str, text: &[u8]) -> Option<Value> {
    let text = text.to_str().ok()?;
    match name {
        "$oid" => {
            let byte = |at: usize| u8::from_str_radix(text.get(2 * at..2 * at + 2)?, 16).ok();
            let bytes: Vec<u8> = (0..12).map(byte).collect::<Option<_>>()?;
            (text.len() == 24).then_some(Value::ObjectId(bytes.try_into().ok()?))
        }
        "$numberInt" => Some(Value::Int32(text.parse().ok()?)),
        "$numberLong" => Some(Value::Int64(text.parse().ok()?)),
        "$numberDouble" => Some(Value::Double(text.parse().ok()?)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_come_back() {
        let text = r#"{"b": "x\u0000y", "a": [1, {"$numberLong": "5"}, 2.5, null, true, {"c": {}}], "big": 5000000000,
                      "id": {"$oid": "0123456789abcdef01234567"}}"#;
        let document = from_json(text).expect("parses");
        assert_eq!(document.0[0].0, "b", "the order stays");
        let mut bytes = Vec::new();
        document.write(&mut bytes);
        assert_eq!(Document::read(&bytes).as_ref(), Some(&document));
        // Cut or changed anywhere it is refused or another document, never a panic.
        for end in 0..bytes.len() {
            assert_eq!(Document::read(&bytes[..end]), None);
            let mut changed = bytes.clone();
            changed[end] ^= 0xff;
            let _ = Document::read(&changed);
        }
    }

    #[test]
    fn paths() {
        let document = from_json(r#"{"a": {"b": 1}, "c": 2}"#).expect("parses");
        assert_eq!(document.path("a.b"), Some(&Value::Int32(1)));
        assert_eq!(document.path("c"), Some(&Value::Int32(2)));
        assert_eq!(document.path("c.b"), None);
        assert!(from_json("[]").is_err() && from_json("{").is_err());
    }
}
