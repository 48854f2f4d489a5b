//! The typed readers. Each checks what the parameter table says, and its errors name file, line, parameter and value.

use std::time::Duration;

use super::Config;
use crate::error::Error;
use crate::expansion::{self, Names};
use crate::parameters::{self, Kind, Parameter};
use crate::{list, typed};

impl Config {
    /// The expanded text of a parameter of the table. For one of kind [`Kind::Raw`] as [`Config::raw`].
    ///
    /// # Errors
    /// [`Error::Unknown`] for a name that the table does not have and nothing sets; a bad expansion; an empty value
    /// where the table forbids it.
    pub fn string(&self, name: &str) -> Result<String, Error> {
        let row = parameters::find(name);
        if row.is_some_and(|row| row.kind == Kind::Raw) {
            return self.raw(name);
        }
        let text = self.expand_value(name)?;
        match row {
            Some(row) => self.check_length(row, name, text),
            None => Ok(text),
        }
    }

    /// The text of a parameter as it was written, not expanded.
    ///
    /// # Errors
    /// [`Error::Unknown`].
    pub fn raw(&self, name: &str) -> Result<String, Error> {
        self.text(name)?.ok_or_else(|| Error::Unknown(name.to_owned()))
    }

    /// The expanded text of a name that need not be in the table: a restriction class, `<transport>_...`, a table's
    /// own settings. `None` when nothing sets it and there is no default.
    ///
    /// # Errors
    /// A bad expansion.
    pub fn optional_string(&self, name: &str) -> Result<Option<String>, Error> {
        match self.text(name)? {
            Some(text) => self.expanded(name, &text).map(Some),
            None => Ok(None),
        }
    }

    /// A parameter's elements: separated by commas and blanks, braces kept together.
    ///
    /// # Errors
    /// As [`Config::string`].
    pub fn list(&self, name: &str) -> Result<Vec<String>, Error> {
        Ok(list::split(&self.string(name)?))
    }

    /// A yes/no parameter.
    ///
    /// # Errors
    /// As [`Config::string`]; [`Error::BadValue`].
    pub fn bool(&self, name: &str) -> Result<bool, Error> {
        let text = self.expand_value(name)?;
        typed::boolean(&text).ok_or_else(|| self.bad_value("boolean", name, text))
    }

    /// A number of 32 bits.
    ///
    /// # Errors
    /// As [`Config::string`]; [`Error::BadValue`], [`Error::Range`].
    pub fn int(&self, name: &str) -> Result<i64, Error> {
        self.number(name, parameters::find(name), i64::from(i32::MIN), i64::from(i32::MAX))
    }

    /// A number of 64 bits.
    ///
    /// # Errors
    /// As [`Config::string`]; [`Error::BadValue`], [`Error::Range`].
    pub fn long(&self, name: &str) -> Result<i64, Error> {
        self.number(name, parameters::find(name), i64::MIN, i64::MAX)
    }

    /// A time.
    ///
    /// # Errors
    /// As [`Config::string`]; [`Error::BadValue`], [`Error::Range`] (in seconds).
    pub fn time(&self, name: &str) -> Result<Duration, Error> {
        self.duration(name, parameters::find(name))
    }

    /// `<service>_<suffix>`, a number.
    ///
    /// # Errors
    /// As [`Config::int`].
    pub fn service_int(&self, service: &str, suffix: &str) -> Result<i64, Error> {
        let (config, name, row) = self.service_parameter(service, suffix)?;
        config.number(&name, Some(row), i64::from(i32::MIN), i64::from(i32::MAX))
    }

    /// `<service>_<suffix>`, a time.
    ///
    /// # Errors
    /// As [`Config::time`].
    pub fn service_time(&self, service: &str, suffix: &str) -> Result<Duration, Error> {
        let (config, name, row) = self.service_parameter(service, suffix)?;
        config.duration(&name, Some(row))
    }

    /// `<service>_<suffix>`, a text (such as the feedback parameters).
    ///
    /// # Errors
    /// As [`Config::string`].
    pub fn service_string(&self, service: &str, suffix: &str) -> Result<String, Error> {
        let (config, name, row) = self.service_parameter(service, suffix)?;
        let text = config.expand_value(&name)?;
        config.check_length(row, &name, text)
    }

    /// Expands the text of a raw parameter with run-time attributes, which are taken as they are.
    ///
    /// # Errors
    /// Bad syntax in `text`.
    pub fn expand(
        &self,
        text: &str,
        attribute: &dyn Fn(&str) -> Option<String>,
    ) -> Result<String, crate::ExpansionError> {
        let bytes = self.expand_bytes(text, &|name| attribute(name).map(String::into_bytes))?;
        // Attributes and text are UTF-8, and texts are cut at ASCII bytes only.
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// As [`Config::expand`], with attributes that are bytes (addresses, headers).
    ///
    /// # Errors
    /// Bad syntax in `text`.
    pub fn expand_bytes(
        &self,
        text: &str,
        attribute: &dyn Fn(&str) -> Option<Vec<u8>>,
    ) -> Result<Vec<u8>, crate::ExpansionError> {
        struct Attributes<'a>(&'a dyn Fn(&str) -> Option<Vec<u8>>);
        impl Names for Attributes<'_> {
            fn value(&mut self, name: &str) -> Result<Option<Vec<u8>>, crate::ExpansionError> {
                Ok((self.0)(name))
            }
            fn nested(&self) -> bool {
                false
            }
        }
        expansion::expand(text.as_bytes(), &mut Attributes(attribute))
    }

    fn expand_value(&self, name: &str) -> Result<String, Error> {
        let text = self.raw(name)?;
        let text = self.expanded(name, &text)?;
        if name == "myorigin" { Config::origin_domain(text) } else { Ok(text) }
    }

    /// The name, its row, and a configuration where it has the default of its rule.
    fn service_parameter(&self, service: &str, suffix: &str) -> Result<(Config, String, &'static Parameter), Error> {
        let name = format!("{service}_{suffix}");
        if let Some(row) = parameters::find(&name) {
            return Ok((self.clone(), name, row));
        }
        let row = parameters::pattern(suffix).ok_or_else(|| Error::Unknown(name.clone()))?;
        let mut config = self.clone();
        if !config.is_set(&name) {
            config.set(name.clone(), row.default);
        }
        Ok((config, name, row))
    }

    fn number(&self, name: &str, row: Option<&Parameter>, lowest: i64, highest: i64) -> Result<i64, Error> {
        let text = self.expand_value(name)?;
        let value = typed::number(&text)
            .filter(|value| (lowest..=highest).contains(value))
            .ok_or_else(|| self.bad_value("numerical", name, text))?;
        self.check_range(row, name, value)?;
        Ok(value)
    }

    fn duration(&self, name: &str, row: Option<&Parameter>) -> Result<Duration, Error> {
        let text = self.expand_value(name)?;
        let unit = row.map_or('s', default_unit);
        let value = typed::time(&text, unit).ok_or_else(|| self.bad_value("time", name, text))?;
        // Times are bounded to 32 bits of seconds.
        self.check_range(row, name, value.as_secs().cast_signed())?;
        Ok(value)
    }

    fn check_length(&self, row: &Parameter, name: &str, text: String) -> Result<String, Error> {
        if row.minimum > 0 && text.is_empty() {
            return Err(Error::Empty { origin: self.origin(name), name: name.to_owned() });
        }
        Ok(text)
    }

    fn check_range(&self, row: Option<&Parameter>, name: &str, value: i64) -> Result<(), Error> {
        let Some(row) = row else { return Ok(()) };
        let (relation, limit) = if row.minimum != 0 && value < row.minimum {
            ('<', row.minimum)
        } else if row.maximum != 0 && value > row.maximum {
            ('>', row.maximum)
        } else if row.minimum == 0 && value < 0 && row.kind == Kind::Time {
            ('<', 0)
        } else {
            return Ok(());
        };
        Err(Error::Range { origin: self.origin(name), name: name.to_owned(), value, relation, limit })
    }

    /// The error of a program that cannot use a value: it names where the value was set. `kind` says what it should be.
    #[must_use]
    pub fn invalid_value(&self, kind: &'static str, name: &str, value: String) -> Error {
        self.bad_value(kind, name, value)
    }

    fn bad_value(&self, kind: &'static str, name: &str, value: String) -> Error {
        Error::BadValue { origin: self.origin(name), kind, name: name.to_owned(), value }
    }
}

/// The unit of a bare number: that of the default, or of the default that the default refers to.
fn default_unit(row: &Parameter) -> char {
    let mut default = row.default;
    for _ in 0..8 {
        if let Some(unit) = default.chars().last().filter(|c| !default.starts_with('$') && c.is_ascii_alphabetic()) {
            return unit;
        }
        let Some(next) = default.strip_prefix('$').and_then(parameters::find) else { break };
        default = next.default;
    }
    's'
}
