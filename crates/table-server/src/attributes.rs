//! The settings of one table: `attribute = value` lines of a file, or parameters of `main.cf` that start with the table's name.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use config::Config;

use crate::Fault;

/// Largest configuration file of a table.
const LARGEST_FILE: u64 = 1 << 20;

/// The settings of one table.
#[derive(Debug)]
pub struct Attributes {
    title: String,
    values: HashMap<String, String>,
    /// The file and how it looked, when there is one.
    file: Option<(PathBuf, Look)>,
    config: Config,
}

/// A word that a setting may be, and what it means.
pub type Choice<'c, T> = (&'c str, T);

/// What shows that a file was changed or replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Look {
    inode: u64,
    size: u64,
    modified: (i64, i64),
}

impl Look {
    pub(crate) fn at(path: &Path) -> std::io::Result<Look> {
        let metadata = fs::metadata(path)?;
        Ok(Look { inode: metadata.ino(), size: metadata.size(), modified: (metadata.mtime(), metadata.mtime_nsec()) })
    }
}

impl Attributes {
    /// Those of `kind:name`: a name that starts with `/` or `.` is a file in the style of `main.cf` whose values are taken as
    /// they are; with any other name, attribute `x` is the parameter `name_x`.
    ///
    /// # Errors
    /// The file cannot be read or makes no sense.
    pub fn load(kind: &str, name: &str, config: &Config) -> Result<Attributes, Fault> {
        let title = format!("{kind}:{name}");
        if !name.starts_with(['/', '.']) {
            let prefix = format!("{name}_");
            let mut values = HashMap::new();
            for parameter in config.names() {
                if let Some(attribute) = parameter.strip_prefix(&prefix) {
                    values.insert(attribute.to_owned(), config.string(parameter).map_err(Fault::new)?);
                }
            }
            return Ok(Attributes { title, values, file: None, config: config.clone() });
        }
        let path = PathBuf::from(name);
        let failed = |error: std::io::Error| {
            let text = error.to_string();
            Fault(format!("open {name}: {}", text.split(" (os error").next().unwrap_or_default()))
        };
        // Before the content is read: a change in between is seen as one.
        let look = Look::at(&path).map_err(failed)?;
        if look.size > LARGEST_FILE {
            return Err(Fault(format!("{name}: larger than {LARGEST_FILE} bytes")));
        }
        let text = fs::read(&path).map_err(failed)?;
        let mut warnings = Vec::new();
        let shared: Arc<Path> = path.as_path().into();
        let assignments = config::main_cf::parse(&text, &shared, &mut warnings).map_err(Fault::new)?;
        for warning in warnings {
            log::warning!("{warning}");
        }
        let values = assignments.into_iter().map(|assignment| (assignment.name, assignment.value)).collect();
        Ok(Attributes { title, values, file: Some((path, look)), config: config.clone() })
    }

    /// `type:name`.
    #[must_use]
    pub fn title(&self) -> &str {
        &self.title
    }

    /// The configuration that the table belongs to.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The file that the settings come from.
    pub(crate) fn file(&self) -> Option<&(PathBuf, Look)> {
        self.file.as_ref()
    }

    /// Whether the setting is there, with or without a value.
    #[must_use]
    pub fn is_set(&self, name: &str) -> bool {
        self.values.contains_key(name)
    }

    /// A text, or `default`.
    #[must_use]
    pub fn text(&self, name: &str, default: &str) -> String {
        self.values.get(name).map_or(default, String::as_str).to_owned()
    }

    /// A text that is there and not empty.
    #[must_use]
    pub fn optional(&self, name: &str) -> Option<String> {
        self.values.get(name).filter(|value| !value.is_empty()).cloned()
    }

    /// A text that has to be there.
    ///
    /// # Errors
    /// It is not.
    pub fn required(&self, name: &str) -> Result<String, Fault> {
        self.optional(name).ok_or_else(|| Fault(format!("{}: no \"{name}\" setting", self.title)))
    }

    /// The words of a list (commas and white space), or those of `default`.
    #[must_use]
    pub fn words(&self, name: &str, default: &str) -> Vec<String> {
        config::list::split(&self.text(name, default))
    }

    /// A number of at least `minimum`.
    ///
    /// # Errors
    /// It is no such number.
    pub fn number(&self, name: &str, default: u32, minimum: u32) -> Result<u32, Fault> {
        let Some(text) = self.optional(name) else { return Ok(default) };
        match text.parse() {
            Ok(number) if number >= minimum => Ok(number),
            _ => Err(self.bad(name, &text, "number")),
        }
    }

    /// Seconds, or a number with one of `s m h d w`.
    ///
    /// # Errors
    /// It is no such thing.
    pub fn time(&self, name: &str, default: Duration) -> Result<Duration, Fault> {
        let Some(text) = self.optional(name) else { return Ok(default) };
        config::typed::time(&text, 's').ok_or_else(|| self.bad(name, &text, "time"))
    }

    /// `yes` or `no`.
    ///
    /// # Errors
    /// It is something else.
    pub fn boolean(&self, name: &str, default: bool) -> Result<bool, Fault> {
        let Some(text) = self.optional(name) else { return Ok(default) };
        match text.to_ascii_lowercase().as_str() {
            "yes" | "on" | "1" => Ok(true),
            "no" | "off" | "0" => Ok(false),
            _ => Err(self.bad(name, &text, "boolean")),
        }
    }

    /// One of several words, in upper or lower case.
    ///
    /// # Errors
    /// It is none of them.
    pub fn choice<T: Copy>(&self, name: &str, choices: &[Choice<'_, T>], default: T) -> Result<T, Fault> {
        let Some(text) = self.optional(name) else { return Ok(default) };
        let found = choices.iter().find(|(word, _)| word.eq_ignore_ascii_case(&text));
        found.map(|(_, meaning)| *meaning).ok_or_else(|| self.bad(name, &text, "keyword"))
    }

    /// The query of a SQL type: `query`, or else put together from the settings that were used before there was one.
    ///
    /// # Errors
    /// None of them is there.
    pub fn sql_query(&self) -> Result<String, Fault> {
        if let Some(query) = self.optional("query") {
            return Ok(query);
        }
        if let Some(function) = self.optional("select_function") {
            return Ok(format!("SELECT {function}('%s')"));
        }
        Ok(format!(
            "SELECT {} FROM {} WHERE {} = '%s' {}",
            self.required("select_field").map_err(|_| Fault(format!("{}: no \"query\" setting", self.title)))?,
            self.required("table")?,
            self.required("where_field")?,
            self.text("additional_conditions", "")
        ))
    }

    fn bad(&self, name: &str, value: &str, what: &str) -> Fault {
        Fault(format!("{}: bad {what} \"{name} = {value}\"", self.title))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_and_parameters() {
        let directory = tempfile::tempdir().expect("directory");
        let path = directory.path().join("map.cf");
        fs::write(&path, "# comment\nhosts = a b,\n  c\npassword = $not expanded\nexpansion_limit = 3\nempty =\n")
            .expect("write");
        let config = Config::from_text("x = y\nmap_hosts = $x\n").expect("parses");
        let file = Attributes::load("pgsql", &path.display().to_string(), &config).expect("loads");
        assert_eq!(file.words("hosts", ""), ["a", "b", "c"]);
        assert_eq!(file.text("password", ""), "$not expanded");
        assert_eq!(file.number("expansion_limit", 0, 0), Ok(3));
        assert!(file.is_set("empty") && file.optional("empty").is_none());
        assert!(file.number("hosts", 0, 0).is_err() && file.boolean("hosts", true).is_err());
        assert!(file.required("query").is_err_and(|fault| fault.0.ends_with("map.cf: no \"query\" setting")));
        let parameters = Attributes::load("pgsql", "map", &config).expect("loads");
        assert_eq!(parameters.text("hosts", ""), "y");
        let missing = Attributes::load("pgsql", "/nonexistent/map.cf", &config);
        assert_eq!(missing.map(|_| ()), Err(Fault("open /nonexistent/map.cf: No such file or directory".into())));
    }

    #[test]
    fn old_sql_settings() {
        let config = Config::from_text(
            "a_select_field = f\na_table = t\na_where_field = w\na_additional_conditions = AND x = 'y'\nb_select_function = g\n",
        )
        .expect("parses");
        let query = |name: &str| Attributes::load("mysql", name, &config).and_then(|attributes| attributes.sql_query());
        assert_eq!(query("a"), Ok("SELECT f FROM t WHERE w = '%s' AND x = 'y'".into()));
        assert_eq!(query("b"), Ok("SELECT g('%s')".into()));
        assert!(query("c").is_err());
    }
}
