//! Answers and files of the reference (Postfix 3.7): what its postmap printed and wrote is kept in `data`.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use bstr::ByteSlice;
use posthouse_tables as tables;
use tables::build::{CompileOptions, Syntax, Target, compile};
use tables::{Flags, Settings};

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

fn lookup(table: &tables::Table, key: &[u8]) -> Option<String> {
    table.lookup(key).expect("no error").map(|value| value.to_string())
}

/// Every key of `keys.txt` against a table in text form.
fn answers_agree(kind: &str, file: &str) {
    let name = format!("{kind}:{}", data(file).display());
    let table = tables::open::open(&name, &Settings::default(), Flags::DEFAULT).expect("opens");
    let expected = fs::read(data(&format!("{file}.expected"))).expect("readable");
    let expected: Vec<(&[u8], &[u8])> =
        expected.lines().map(|line| line.split_once_str("\t").expect("key and value")).collect();
    for key in fs::read(data("keys.txt")).expect("readable").lines() {
        let wanted = expected.iter().find(|(known, _)| *known == key).map(|(_, value)| value.as_bstr().to_string());
        assert_eq!(lookup(&table, key), wanted, "{kind}: {}", key.as_bstr());
    }
}

#[test]
fn cidr() {
    answers_agree("cidr", "networks.cidr");
}

#[test]
fn regexp() {
    answers_agree("regexp", "rules.regexp");
}

#[test]
fn pcre() {
    answers_agree("pcre", "rules.pcre");
}

#[test]
fn texthash() {
    answers_agree("texthash", "map.texthash");
}

/// The entries that the files of the reference were made from.
fn entries() -> Vec<(String, String)> {
    fs::read_to_string(data("entries.texthash"))
        .expect("readable")
        .lines()
        .map(|line| line.split_once(char::is_whitespace).expect("key and value"))
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

fn file_agrees(kind: &str, file: &str, entries: &[(String, String)]) {
    let name = format!("{kind}:{}", data(file).display());
    let table = tables::open::open(&name, &Settings::default(), Flags::DEFAULT).expect("opens");
    assert_eq!(lookup(&table, b"not there"), None);
    assert_eq!(lookup(&table, b"user"), None);
    for (key, value) in entries {
        assert_eq!(lookup(&table, key.as_bytes()).as_ref(), Some(value), "{name} {key}");
    }
    assert_eq!(lookup(&table, b"zzzz"), None);
    let mut listed = Vec::new();
    table
        .entries(&mut |key, value| {
            listed.push((key.as_bstr().to_string(), value.as_bstr().to_string()));
            Ok(())
        })
        .expect("can list")
        .expect("lists");
    listed.sort_unstable();
    let mut wanted = entries.to_vec();
    wanted.sort_unstable();
    assert_eq!(listed, wanted, "{name}");
}

#[test]
fn berkeley_db_files_of_postfix_are_read() {
    file_agrees("hash", "postfix-hash", &entries());
    file_agrees("btree", "postfix-btree", &entries());
    file_agrees("hash", "postfix-hash-without-nul", &entries()[..5]);
}

#[test]
fn lmdb_files_of_postfix_are_read() {
    let entries = entries();
    file_agrees("lmdb", "postfix", &entries[..40]);
}

#[test]
fn damaged_berkeley_db_files_are_errors_and_nothing_worse() {
    for file in ["postfix-hash.db", "postfix-btree.db"] {
        let sound = fs::read(data(file)).expect("readable");
        let directory = tempfile::tempdir().expect("directory");
        let path = directory.path().join("t.db");
        let name = format!("hash:{}", directory.path().join("t").display());
        // Every 7th byte of the metadata and of the page headers, and some of the rest.
        let places = (0..512).step_by(7).chain((4096..sound.len()).step_by(131));
        for place in places {
            for value in [0, 0x7f, 0xff] {
                let mut damaged = sound.clone();
                damaged[place] = value;
                fs::write(&path, &damaged).expect("write");
                let Ok(table) = tables::open::open(&name, &Settings::default(), Flags::DEFAULT) else { continue };
                for (key, _) in &entries()[..10] {
                    let _ = table.lookup(key.as_bytes());
                }
                let _ = table.entries(&mut |_, _| Ok(()));
            }
        }
        fs::write(&path, &sound[..5000]).expect("write");
        if let Ok(table) = tables::open::open(&name, &Settings::default(), Flags::DEFAULT) {
            assert!(table.entries(&mut |_, _| Ok(())).expect("can list").is_err());
        }
    }
}

#[test]
fn what_is_built_is_read_again() {
    let directory = tempfile::tempdir().expect("directory");
    let source = directory.path().join("map");
    fs::copy(data("entries.texthash"), &source).expect("copy");
    fs::set_permissions(&source, fs::Permissions::from_mode(0o640)).expect("mode");
    let mut wanted = entries();
    // LMDB takes no key of that length.
    let text: Vec<String> =
        wanted.iter().filter(|(key, _)| key.len() < 500).map(|(k, v)| format!("{k} {v}\n")).collect();
    fs::write(&source, text.concat()).expect("write");
    wanted.retain(|(key, _)| key.len() < 500);
    let settings = Settings { lmdb_map_size: 8192, ..Settings::default() };
    let options = CompileOptions::new(Syntax::Map, &settings);
    for kind in ["lmdb", "hash", "btree", "cdb"] {
        let name = format!("{kind}:{}", source.display());
        let target = Target::parse(&name, "lmdb").expect("can be built");
        compile(&target, &settings, &options).expect("builds");
        assert_eq!(fs::metadata(target.file()).expect("is there").permissions().mode() & 0o777, 0o640);
        let table = tables::open::open(&name, &settings, Flags::DEFAULT).expect("opens");
        for (key, value) in &wanted {
            assert_eq!(lookup(&table, key.to_uppercase().as_bytes()).as_ref(), Some(value), "{name} {key}");
        }
        assert_eq!(lookup(&table, b"nobody"), None);
    }
}

#[test]
fn the_newer_of_two_files_counts() {
    let directory = tempfile::tempdir().expect("directory");
    let source = directory.path().join("map");
    let (old, new) = (directory.path().join("map.db"), directory.path().join("map.lmdb"));
    fs::copy(data("postfix-hash.db"), &old).expect("copy");
    fs::write(&source, "fresh entry\n").expect("write");
    let settings = Settings::default();
    let name = format!("hash:{}", source.display());
    let before = tables::open::open(&name, &settings, Flags::DEFAULT).expect("opens");
    assert!(!before.changed());
    let target = Target::parse(&name, "lmdb").expect("can be built");
    compile(&target, &settings, &CompileOptions::new(Syntax::Map, &settings)).expect("builds");
    drop(before);
    let table = tables::open::open(&name, &settings, Flags::DEFAULT).expect("opens");
    assert_eq!(lookup(&table, b"fresh"), Some("entry".to_owned()));
    drop(table);
    // The reference builds its file again.
    let later = fs::metadata(&new).expect("is there").modified().expect("time") + std::time::Duration::from_secs(5);
    fs::File::options().write(true).open(&old).expect("opens").set_modified(later).expect("time");
    let table = tables::open::open(&name, &settings, Flags::DEFAULT).expect("opens");
    assert_eq!(lookup(&table, b"fresh"), None);
    assert!(lookup(&table, b"user001@example.com").is_some());
}
