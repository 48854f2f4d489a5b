//! The rules of the house that the compiler does not check.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ is in the repository").to_owned()
}

/// Every member of the workspace: its folder below the root, and its manifest.
fn members() -> BTreeMap<String, toml::Table> {
    let mut folders: Vec<PathBuf> =
        ["master", "smtpd", "cleanup", "qmgr", "smtp", "local", "bounce", "tests"].iter().map(PathBuf::from).collect();
    for parent in ["crates", "services", "tools"] {
        for entry in fs::read_dir(root().join(parent)).expect("a folder of the workspace").flatten() {
            folders.push(Path::new(parent).join(entry.file_name()));
        }
    }
    folders
        .into_iter()
        .filter_map(|folder| {
            let text = fs::read_to_string(root().join(&folder).join("Cargo.toml")).ok()?;
            Some((folder.display().to_string(), text.parse().expect("a manifest is TOML")))
        })
        .collect()
}

fn is_program(folder: &str) -> bool {
    !folder.starts_with("crates/") && folder != "tests"
}

#[test]
fn every_member_takes_the_lints_of_the_workspace() {
    for (folder, manifest) in members() {
        let inherits = manifest.get("lints").and_then(|lints| lints.get("workspace")).and_then(toml::Value::as_bool);
        assert!(inherits == Some(true) || folder == "crates/sys", "{folder} has no `[lints] workspace = true`");
    }
}

#[test]
fn nothing_depends_on_a_program() {
    let programs: Vec<String> = members()
        .iter()
        .filter(|(folder, _)| is_program(folder))
        .map(|(_, manifest)| manifest["package"]["name"].as_str().expect("a name").to_owned())
        .collect();
    assert!(programs.len() > 20, "{programs:?}");
    for (folder, manifest) in members() {
        for section in ["dependencies", "dev-dependencies", "build-dependencies"] {
            let Some(dependencies) = manifest.get(section).and_then(toml::Value::as_table) else { continue };
            for (name, value) in dependencies {
                let package = value.get("package").and_then(toml::Value::as_str).unwrap_or(name);
                assert!(!programs.iter().any(|program| program == package), "{folder} depends on {package}");
            }
        }
    }
}

#[test]
fn programs_have_a_readme_and_a_short_main() {
    for folder in members().into_keys().filter(|folder| is_program(folder)) {
        let folder = root().join(folder);
        assert!(folder.join("README.md").exists(), "{} has no README.md", folder.display());
        let main = fs::read_to_string(folder.join("src/main.rs")).expect("a program has a main.rs");
        assert!(main.lines().count() <= 60, "{}/src/main.rs is more than a declaration", folder.display());
    }
}

#[test]
fn only_sys_is_exempt_from_the_ban_on_unsafe() {
    let workspace: toml::Table =
        fs::read_to_string(root().join("Cargo.toml")).expect("the workspace").parse().expect("TOML");
    let level = workspace["workspace"]["lints"]["rust"]["unsafe_code"].as_str();
    assert_eq!(level, Some("forbid"));
}

#[test]
fn every_dependency_has_a_sentence_or_is_one_of_the_preferred() {
    // The list of the design; everything else is in docs/decisions.md.
    const PREFERRED: &[&str] = &[
        "nix",
        "mio",
        "tokio",
        "rustls",
        "hickory-resolver",
        "heed",
        "regex",
        "serde",
        "serde_json",
        "toml",
        "syslog",
        "clap",
        "proptest",
        "insta",
        "tempfile",
        "hickory-server",
        "pcre2",
    ];
    let decisions = fs::read_to_string(root().join("docs/decisions.md")).expect("docs/decisions.md");
    let workspace: toml::Table =
        fs::read_to_string(root().join("Cargo.toml")).expect("the workspace").parse().expect("TOML");
    let listed = workspace["workspace"]["dependencies"].as_table().expect("a table");
    for (name, value) in listed {
        let ours = value.get("path").is_some();
        let explained = decisions.contains(&format!("| {name} |")) || decisions.contains(&format!("`{name}`"));
        assert!(ours || explained || PREFERRED.contains(&name.as_str()), "{name}: no sentence in docs/decisions.md");
    }
}
