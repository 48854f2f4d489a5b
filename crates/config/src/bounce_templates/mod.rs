//! The texts of delivery status notices: built in, or from `bounce_template_file`.
//!
//! A template file holds sections `failure_template = <<EOF` ... `EOF` (and `delay_`, `success_`, `verify_`), each with
//! the headers `Charset`, `From`, `Subject`, `Postmaster-Subject` and, behind an empty line, a text with `$name`
//! references. What a file does not say is as built in; a section with a mistake is left out with a warning.

mod built_in;
mod parse;

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use crate::error::Error;
use crate::settings::{Config, read_file};

/// Which notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Undeliverable.
    Failure,
    /// Not yet delivered (`delay_warning_time`).
    Delay,
    /// Delivered, as the sender wanted to know (RFC 3461).
    Success,
    /// The report of `sendmail -bv` and `-v`.
    Verify,
}

impl Kind {
    /// All, in the order in which `postconf -b` shows them.
    pub const ALL: [Kind; 4] = [Kind::Failure, Kind::Delay, Kind::Success, Kind::Verify];

    /// The word in the section's name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Kind::Failure => "failure",
            Kind::Delay => "delay",
            Kind::Success => "success",
            Kind::Verify => "verify",
        }
    }
}

/// One template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    /// Which notice.
    pub kind: Kind,
    /// Charset of the text.
    pub charset: String,
    /// Value of the From header.
    pub from: String,
    /// Value of the Subject header.
    pub subject: String,
    /// Value of the Subject header in copies for the postmaster.
    pub postmaster_subject: Option<String>,
    /// The text, not expanded; every line ends with LF.
    pub text: String,
}

/// The four templates, and what was wrong with the file that they come from.
#[derive(Clone, Debug)]
pub struct Templates {
    templates: [Template; 4],
    /// For the log or standard error, once.
    pub warnings: Vec<String>,
}

impl Templates {
    /// The built-in templates, overridden by the file that `bounce_template_file` names.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn load(config: &Config) -> Result<Templates, Error> {
        Templates::from_file(config, &config.string("bounce_template_file")?)
    }

    /// The built-in templates, overridden by the file of this name; an empty name means no file.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn from_file(config: &Config, file: &str) -> Result<Templates, Error> {
        let obsolete = config.string("header_from_format")?.eq_ignore_ascii_case("obsolete");
        let mut templates = Kind::ALL.map(|kind| built_in::template(kind, obsolete));
        let mut warnings = Vec::new();
        if !file.is_empty() {
            let text = read_file(Path::new(file))?;
            parse::merge(&mut templates, &String::from_utf8_lossy(&text), file, &mut warnings);
        }
        Ok(Templates { templates, warnings })
    }

    /// The template of a kind.
    #[must_use]
    pub fn get(&self, kind: Kind) -> &Template {
        // `templates` is made from `Kind::ALL`, whose order is that of the enum.
        &self.templates[kind as usize]
    }

    /// All four.
    pub fn iter(&self) -> impl Iterator<Item = &Template> {
        self.templates.iter()
    }
}

impl Template {
    /// The text with every `$name` replaced: parameters, and `delay_warning_time_` and `maximal_queue_lifetime_` with
    /// `seconds`, `minutes`, `hours`, `days` or `weeks`.
    ///
    /// # Errors
    /// Bad syntax in the text, or a bad parameter.
    pub fn expanded(&self, config: &Config) -> Result<String, Error> {
        let failed = std::cell::RefCell::new(None);
        let value = |name: &str| {
            let found = match timed(config, name) {
                Some(time) => time.map(Some),
                None => config.optional_string(name),
            };
            found.unwrap_or_else(|error| {
                failed.borrow_mut().get_or_insert(error);
                None
            })
        };
        let text = config.expand(&self.text, &value).map_err(|reason| Error::Expansion {
            origin: config.origin("bounce_template_file"),
            name: format!("{}_template", self.kind.as_str()),
            reason,
        })?;
        match failed.into_inner() {
            Some(error) => Err(error),
            None => Ok(text),
        }
    }

    /// The section as a template file has it.
    #[must_use]
    pub fn section(&self) -> String {
        let mut out = format!(
            "{}_template = <<EOF\nCharset: {}\nFrom: {}\nSubject: {}\n",
            self.kind.as_str(),
            self.charset,
            self.from,
            self.subject
        );
        if let Some(subject) = &self.postmaster_subject {
            // Writing to a String does not fail.
            let _ = writeln!(out, "Postmaster-Subject: {subject}");
        }
        out + "\n" + &self.text + "EOF\n"
    }
}

/// `delay_warning_time_hours` and the like: whole units, rounded down.
fn timed(config: &Config, name: &str) -> Option<Result<String, Error>> {
    let (parameter, unit) = ["delay_warning_time", "maximal_queue_lifetime"]
        .into_iter()
        .find_map(|parameter| Some((parameter, name.strip_prefix(parameter)?.strip_prefix('_')?)))?;
    let seconds: u64 = match unit {
        "seconds" => 1,
        "minutes" => 60,
        "hours" => 3600,
        "days" => 86_400,
        "weeks" => 7 * 86_400,
        _ => return None,
    };
    Some(config.time(parameter).map(|time: Duration| (time.as_secs() / seconds).to_string()))
}

#[cfg(test)]
mod tests;
