//! Option files of MySQL (`my.cnf`): groups in brackets, `name = value`, `!include`.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use table_server::Fault;

/// Files that are read where the table names none.
const DEFAULTS: &[&str] = &["/etc/my.cnf", "/etc/mysql/my.cnf"];
/// How deep files may include files, and how many there may be.
const DEEPEST: usize = 5;
const MOST_FILES: usize = 200;
const LARGEST_FILE: u64 = 1 << 20;

/// The options of `[client]` and one more group; later ones win.
#[derive(Debug, Default)]
pub(crate) struct Options {
    groups: Vec<String>,
    values: HashMap<String, String>,
    files: usize,
}

impl Options {
    /// Reads `file`, or the default files; none at all when `file` is not given and `group` is empty.
    pub(crate) fn load(file: Option<&str>, group: &str) -> Result<Options, Fault> {
        let mut options = Options { groups: vec!["client".to_owned()], ..Options::default() };
        if !group.is_empty() && group != "client" {
            options.groups.push(group.to_owned());
        }
        match file {
            Some(path) => options.read(Path::new(path), 0)?,
            None if group.is_empty() => {}
            None => {
                for path in DEFAULTS.iter().map(Path::new).filter(|path| path.exists()) {
                    // What is there for others, and not for us to read, sets nothing.
                    if let Err(fault) = options.read(path, 0) {
                        log::debug!("{fault}");
                    }
                }
            }
        }
        Ok(options)
    }

    /// The value of an option.
    pub(crate) fn value(&self, name: &str) -> Option<String> {
        self.values.get(name).filter(|value| !value.is_empty()).cloned()
    }

    /// Whether an option without value, or with a true one, is there.
    pub(crate) fn is_on(&self, name: &str) -> bool {
        self.values.get(name).is_some_and(|value| !matches!(value.to_ascii_lowercase().as_str(), "0" | "off" | "false"))
    }

    fn read(&mut self, path: &Path, depth: usize) -> Result<(), Fault> {
        let failed = |reason: &dyn std::fmt::Display| Fault(format!("{}: {reason}", path.display()));
        self.files += 1;
        if depth > DEEPEST || self.files > MOST_FILES {
            return Err(failed(&"too many included files"));
        }
        if fs::metadata(path).map_err(|error| failed(&error))?.len() > LARGEST_FILE {
            return Err(failed(&"file too large"));
        }
        let bytes = fs::read(path).map_err(|error| failed(&error))?;
        let mut group = None;
        for line in String::from_utf8_lossy(&bytes).lines() {
            let line = line.trim();
            if let Some(included) = line.strip_prefix("!includedir ") {
                for file in files_of(Path::new(included.trim())) {
                    self.read(&file, depth + 1)?;
                }
            } else if let Some(included) = line.strip_prefix("!include ") {
                self.read(Path::new(included.trim()), depth + 1)?;
            } else if let Some(name) = line.strip_prefix('[') {
                group = name.strip_suffix(']').map(str::to_owned);
            } else if line.starts_with(['#', ';']) || line.is_empty() {
                // A comment.
            } else if group.as_ref().is_some_and(|group| self.groups.contains(group)) {
                let (name, value) = line.split_once('=').unwrap_or((line, ""));
                self.values.insert(name.trim().replace('_', "-"), unquoted(value.trim()));
            }
        }
        Ok(())
    }
}

fn files_of(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut files: Vec<PathBuf> =
        entries.filter(|path| path.extension().is_some_and(|extension| extension == "cnf")).collect();
    files.sort();
    files
}

fn unquoted(value: &str) -> String {
    for quote in ['"', '\''] {
        if let Some(rest) = value.strip_prefix(quote)
            && let Some((inside, _)) = rest.rsplit_once(quote)
        {
            return inside.to_owned();
        }
    }
    value.split(" #").next().unwrap_or_default().trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_and_includes() {
        let directory = tempfile::tempdir().expect("directory");
        let path = |name: &str| directory.path().join(name);
        fs::write(path("b.cnf"), "[client]\nsocket = /b\n[other]\nuser = nobody\n").expect("write");
        let text = format!(
            "# c\n[mysqld]\nuser = mysql\n[client]\nuser = \"a b\"\npassword='p#w'\nport = 7 # seven\n\
             ssl_verify_server_cert\n!include {}\n[mail]\nuser = mail\n",
            path("b.cnf").display()
        );
        fs::write(path("a.cnf"), text).expect("write");
        let file = path("a.cnf").display().to_string();
        let options = Options::load(Some(&file), "client").expect("reads");
        for (name, value) in [("user", "a b"), ("password", "p#w"), ("port", "7"), ("socket", "/b")] {
            assert_eq!(options.value(name).as_deref(), Some(value));
        }
        assert!(options.is_on("ssl-verify-server-cert") && !options.is_on("ssl"));
        assert_eq!(Options::load(Some(&file), "mail").expect("reads").value("user").as_deref(), Some("mail"));
        assert!(Options::load(Some("/nonexistent"), "").is_err());
        assert!(Options::load(None, "").expect("none").values.is_empty());
    }
}
