//! The list of what belongs to an installation (`packaging/files.toml`).

use std::path::PathBuf;

use config::Config;
use serde::Deserialize;

use crate::Failure;

const TEXT: &str = include_str!("../../../packaging/files.toml");

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    Directory,
    Program,
    File,
    Link,
}

#[derive(Debug, Deserialize)]
struct File {
    entry: Vec<Written>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    path: String,
    kind: Kind,
    owner: String,
    group: Option<String>,
    mode: String,
    #[serde(default)]
    create: bool,
    #[serde(default)]
    enforce: bool,
    content: Option<String>,
    to: Option<String>,
}

/// One entry, with the parameters of an instance in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) path: PathBuf,
    pub(crate) kind: Kind,
    /// Account name.
    pub(crate) owner: String,
    /// Group name; `None`: the owner's primary group.
    pub(crate) group: Option<String>,
    pub(crate) mode: u32,
    pub(crate) create: bool,
    pub(crate) enforce: bool,
    /// Everything below has the same owner.
    pub(crate) owns_content: bool,
}

/// All entries for an instance.
pub(crate) fn entries(config: &Config) -> Result<Vec<Entry>, Failure> {
    let file: File = toml::from_str(TEXT).map_err(|error| Failure::Fatal(format!("manifest: {error}")))?;
    file.entry.iter().map(|written| entry(config, written)).collect()
}

fn entry(config: &Config, written: &Written) -> Result<Entry, Failure> {
    let bad = |what: &str| Failure::Fatal(format!("manifest: bad {what} of {}", written.path));
    if (written.kind == Kind::Link) != written.to.is_some() {
        return Err(bad("target"));
    }
    Ok(Entry {
        path: PathBuf::from(expand(config, &written.path)?),
        kind: written.kind,
        owner: expand(config, &written.owner)?,
        group: match written.group.as_deref() {
            None | Some("-") => None,
            Some(group) => Some(expand(config, group)?),
        },
        mode: u32::from_str_radix(&written.mode, 8).map_err(|_| bad("mode"))?,
        create: written.create,
        enforce: written.enforce,
        owns_content: match written.content.as_deref() {
            None => false,
            Some("owner") => true,
            Some(_) => return Err(bad("content")),
        },
    })
}

/// A parameter stands at the front or is the whole text.
fn expand(config: &Config, text: &str) -> Result<String, Failure> {
    let Some(rest) = text.strip_prefix('$') else { return Ok(text.to_owned()) };
    let end = rest.find('/').unwrap_or(rest.len());
    Ok(format!("{}{}", config.string(&rest[..end])?, &rest[end..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manifest_has_what_the_reference_has() {
        let config =
            Config::from_text("queue_directory = /q\nmail_owner = mailer\nsetgid_group = drop\n").expect("config");
        let entries = entries(&config).expect("manifest");
        let find = |path: &str| entries.iter().find(|entry| entry.path == std::path::Path::new(path)).expect("listed");
        let cases: [(&str, &str, Option<&str>, u32); 6] = [
            ("/q", "root", None, 0o755),
            ("/q/maildrop", "mailer", Some("drop"), 0o730),
            ("/q/public", "mailer", Some("drop"), 0o710),
            ("/q/private", "mailer", None, 0o710),
            ("/q/pid", "root", None, 0o755),
            ("/q/deferred", "mailer", None, 0o700),
        ];
        for (path, owner, group, mode) in cases {
            let entry = find(path);
            assert_eq!((entry.owner.as_str(), entry.group.as_deref(), entry.mode), (owner, group, mode), "{path}");
            assert!(entry.create, "{path}");
        }
        assert!(entries.iter().any(|entry| entry.path.ends_with("postdrop") && entry.mode == 0o2755));
        let mut paths: Vec<_> = entries.iter().map(|entry| &entry.path).collect();
        paths.sort();
        assert!(paths.windows(2).all(|pair| pair[0] != pair[1]), "listed twice");
    }
}
