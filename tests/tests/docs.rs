//! What README.md, ARCHITECTURE.md and `demo` say is so.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use posthouse_tests::Suite;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ is below the root").to_owned()
}

fn text(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The lines of the shell blocks of a page.
fn shell_lines(page: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut inside = false;
    for line in text(page).lines() {
        match line {
            "```sh" => inside = true,
            "```" => inside = false,
            line if inside => lines.push(line.to_owned()),
            _ => {}
        }
    }
    lines
}

/// Runs `./demo`, as README says, below a directory of its own.
fn demo(arguments: &[&str]) -> String {
    let output = tempfile::NamedTempFile::new().expect("temporary file");
    let stdout = output.reopen().expect("open");
    // A file and not a pipe: the instances outlive the script.
    let status = Command::new(root().join("demo"))
        .args(arguments)
        .env("DEMO_PROGRAMS", Suite::ours().daemons)
        .env("DEMO_PORT", posthouse_tests::ports::free().to_string())
        .stdin(Stdio::null())
        .stderr(stdout.try_clone().expect("duplicate"))
        .stdout(stdout)
        .status()
        .expect("run demo");
    let said = fs::read_to_string(output.path()).expect("read");
    assert!(status.success(), "demo {arguments:?}: {status}\n{said}");
    said
}

#[test]
fn the_demo_shows_what_readme_promises() {
    let directory = tempfile::Builder::new().prefix("demo-").tempdir().expect("temporary directory");
    // root's demo is nobody's.
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).expect("chmod");
    let place = directory.path().join("demo");
    let place = place.to_str().expect("a path in ASCII");
    let said = demo(&[place]);
    // Whatever comes next: the instances are stopped.
    let stopped = demo(&["stop", place]);
    assert!(stopped.contains("Stopped."), "{stopped}");
    for wanted in [
        "250 2.0.0 Ok: queued as",
        "Subject: Hello by SMTP",
        "Delivered-To: other@second.example",
        "status=sent (delivered to maildir)",
        "status=sent (250 2.0.0 Ok: queued as",
        "status=deferred (connect to 127.0.0.1[127.0.0.1]:",
        "in 2 Requests.",
    ] {
        assert!(said.contains(wanted), "no {wanted:?} in\n{said}");
    }
    for instance in ["first", "second"] {
        let log = fs::read_to_string(Path::new(place).join(instance).join("log/maillog")).expect("log");
        // The last words of master are not lost with the log daemon.
        assert!(log.contains("terminating on signal 15"), "{log}");
    }
}

#[test]
fn the_commands_of_the_readme_are_there() {
    let lines = shell_lines("README.md");
    for script in lines.iter().filter(|line| line.starts_with("./")) {
        let name = script.split(' ').next().expect("a word");
        let mode =
            fs::metadata(root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}")).permissions().mode();
        assert!(mode & 0o100 != 0, "{name} cannot be run");
    }
    // What is to be installed by hand is what the workspace builds.
    let listed: BTreeSet<String> = lines
        .iter()
        .filter_map(|line| line.strip_prefix("daemons=").or_else(|| line.strip_prefix("commands=")))
        .flat_map(|words| words.trim_matches('"').split(' ').map(str::to_owned).collect::<Vec<_>>())
        .collect();
    assert_eq!(listed, programs());
    // The block is at least a script that the shell understands.
    let status = Command::new("bash").args(["-n", "-c", &lines.join("\n")]).status().expect("bash");
    assert!(status.success());
}

/// Members of the workspace, as folders.
fn members() -> Vec<String> {
    let mut found = Vec::new();
    for top in ["", "crates", "services", "tools"] {
        for entry in fs::read_dir(root().join(top)).expect("read a directory").flatten() {
            if entry.path().join("Cargo.toml").exists() {
                found.push(Path::new(top).join(entry.file_name()).to_string_lossy().into_owned());
            }
        }
    }
    found.retain(|member| member != "tests");
    found
}

/// The names of all programs of the workspace.
fn programs() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for member in members() {
        let manifest: toml::Table = toml::from_str(&text(&format!("{member}/Cargo.toml"))).expect("Cargo.toml");
        for binary in manifest.get("bin").and_then(toml::Value::as_array).into_iter().flatten() {
            found.insert(binary["name"].as_str().expect("a name").to_owned());
        }
    }
    found
}

#[test]
fn every_room_is_on_the_map() {
    let map = text("ARCHITECTURE.md");
    for member in members() {
        assert!(map.contains(&format!("`{member}`")), "ARCHITECTURE.md does not say what {member} is for");
    }
}

#[test]
fn links_lead_somewhere() {
    for page in ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md"] {
        for link in text(page).split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let path = link.split('#').next().expect("a part");
            if !path.is_empty() && !path.contains("://") {
                assert!(root().join(path).exists(), "{page} leads to {path}, which is not there");
            }
        }
    }
}

#[test]
fn every_dependency_has_its_sentence() {
    // What the design chose from the start.
    const PREFERRED: &[&str] = &[
        "nix",
        "mio",
        "tokio",
        "hickory-resolver",
        "heed",
        "regex",
        "pcre2",
        "serde",
        "serde_json",
        "toml",
        "clap",
        "proptest",
        "insta",
        "tempfile",
    ];
    let manifest: toml::Table = toml::from_str(&text("Cargo.toml")).expect("Cargo.toml");
    let decisions = text("docs/decisions.md");
    for (name, value) in manifest["workspace"]["dependencies"].as_table().expect("a table") {
        let ours = value.get("path").is_some();
        assert!(
            ours || PREFERRED.contains(&name.as_str()) || decisions.contains(&format!("| {name} |")),
            "docs/decisions.md does not say why {name} is worth its weight"
        );
    }
}

#[test]
fn differences_are_read() {
    let all: toml::Table = toml::from_str(&text("docs/differences.toml")).expect("differences.toml");
    for (kind, entries) in &all {
        for entry in entries.as_array().expect("a list") {
            let reason = entry.get("reason").and_then(toml::Value::as_str).unwrap_or_default();
            assert!(!reason.is_empty(), "{kind}: no reason: {entry:?}");
        }
    }
}
