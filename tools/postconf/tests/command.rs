//! The command as a user calls it.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

fn postconf(directory: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_postconf"))
        .current_dir(directory)
        .env_remove("MAIL_CONFIG")
        .args(arguments)
        .output()
        .expect("postconf runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}

fn lines(value: &Value) -> Vec<String> {
    let list = value.as_array().cloned().unwrap_or_default();
    list.iter().map(|line| line.as_str().expect("a line").to_owned()).collect()
}

fn joined(value: &Value) -> String {
    lines(value).iter().map(|line| line.clone() + "\n").collect()
}

fn write(directory: &Path, main_cf: &str, master_cf: &str) {
    std::fs::write(directory.join("main.cf"), main_cf).expect("main.cf");
    std::fs::write(directory.join("master.cf"), master_cf).expect("master.cf");
}

/// Output, messages (sorted, without the program's name), exit status and changed files as Postfix 3.7 has them for
/// the same two files.
#[test]
fn as_the_reference() {
    let data: Value = serde_json::from_str(include_str!("data/as_the_reference.json")).expect("JSON");
    let (main_cf, master_cf) = (joined(&data["main.cf"]), joined(&data["master.cf"]));
    let cases = data["cases"].as_array().expect("cases");
    assert!(cases.len() > 60);
    for case in cases {
        let base = tempfile::tempdir().expect("a directory");
        let etc = base.path().join("etc");
        std::fs::create_dir(&etc).expect("etc");
        write(&etc, &main_cf, &master_cf);
        let operands = lines(&case["arguments"]);
        let arguments: Vec<&str> = ["-c", "etc"].into_iter().chain(operands.iter().map(String::as_str)).collect();
        let output = postconf(base.path(), &arguments);
        assert_eq!(text(&output.stdout), joined(&case["output"]), "{operands:?}");
        let stderr = text(&output.stderr);
        let mut errors: Vec<&str> =
            stderr.lines().map(|line| line.strip_prefix("postconf: ").unwrap_or(line)).collect();
        errors.sort_unstable();
        errors.dedup();
        assert_eq!(errors, lines(&case["errors"]), "{operands:?}");
        assert_eq!(output.status.code().map(i64::from), case["status"].as_i64(), "{operands:?}");
        for (name, old) in [("main.cf", &main_cf), ("master.cf", &master_cf)] {
            let expected = if case[name].is_null() { old.clone() } else { joined(&case[name]) };
            assert_eq!(std::fs::read_to_string(etc.join(name)).expect(name), expected, "{operands:?} {name}");
        }
    }
}

/// `postconf -d` beside the reference's rows, with the services of the shipped `master.cf`.
#[test]
fn defaults_are_those_of_the_reference() {
    const REFERENCE: &str = include_str!("../../../crates/config/tests/data/reference_parameters.tsv");
    let differences: toml::Table = include_str!("../../../docs/differences.toml").parse().expect("differences.toml");
    let other: Vec<&str> = differences["parameter"]
        .as_array()
        .expect("parameters")
        .iter()
        .map(|row| row["name"].as_str().expect("a name"))
        .collect();
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
    let output = postconf(root, &["-c", "packaging/conf", "-d"]);
    let shown = text(&output.stdout);
    assert_eq!(text(&output.stderr), "");
    let mut left: std::collections::BTreeMap<&str, &str> =
        shown.lines().map(|line| line.split_once(" =").expect("name = value")).collect();
    for row in REFERENCE.lines().skip(1) {
        let columns: Vec<&str> = row.split('\t').collect();
        let [name, default, class, ..] = columns[..] else { panic!("{row}") };
        if !["builtin", "service"].contains(&class) {
            continue;
        }
        let value = left.remove(name).unwrap_or_else(|| panic!("{name} is not shown")).trim_start();
        let computed = default.len() > 2 && default.starts_with('<') && default.ends_with('>');
        if !computed && !other.contains(&name) {
            assert_eq!(value, default.split_whitespace().collect::<Vec<_>>().join(" "), "{name}");
        }
    }
    let ours = left
        .keys()
        .filter(|name| !config::parameters::find(name).is_some_and(|row| row.class == config::parameters::Class::Ours));
    assert_eq!(ours.collect::<Vec<_>>(), Vec::<&&str>::new());
}

#[test]
fn json() {
    let base = tempfile::tempdir().expect("a directory");
    write(base.path(), "myorigin = \"x\"\n", "smtp inet n - n - - smtpd -o { a = b c }\n");
    let shown = |arguments: &[&str]| {
        let output = postconf(base.path(), &[&["-c", ".", "-q"], arguments].concat());
        let all = text(&output.stdout);
        all.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect::<Vec<Value>>()
    };
    assert_eq!(shown(&["-j", "myorigin"]), [serde_json::json!({"name": "myorigin", "value": "\"x\""})]);
    assert_eq!(shown(&["-jM"])[0]["command"], "smtpd -o {a=b c}");
    assert_eq!(shown(&["-jF", "smtp/inet/type"])[0]["value"], "inet");
    assert_eq!(shown(&["-jP"]), [serde_json::json!({"service": "smtp", "type": "inet", "name": "a", "value": "b c"})]);
    assert!(!postconf(base.path(), &["-c", ".", "-je", "a=b"]).status.success());
}

#[test]
fn raw_parameters_are_shown_as_they_are() {
    let base = tempfile::tempdir().expect("a directory");
    write(base.path(), "luser_relay = $user@x ${y\n", "a unix - - - - - local -o forward_path=$home/x\n");
    let output = postconf(base.path(), &["-c", ".", "-nxh"]);
    assert_eq!((text(&output.stdout), text(&output.stderr)), (".\n$user@x ${y\n".to_owned(), String::new()));
}

#[test]
fn templates_and_facts() {
    let base = tempfile::tempdir().expect("a directory");
    write(base.path(), "myhostname = mx.example.com\n", "");
    let out = |arguments: &[&str]| text(&postconf(base.path(), &[&["-c", "."], arguments].concat()).stdout);
    let raw = out(&["-t"]);
    assert!(
        raw.starts_with("failure_template = <<EOF\nCharset: us-ascii\nFrom: Mail Delivery System <MAILER-DAEMON>\n")
    );
    assert_eq!(raw.matches("_template = <<EOF\n").count(), 4);
    let expanded = out(&["-b"]);
    assert!(expanded.starts_with("expanded_failure_text = <<EOF\nThe mail server mx.example.com could"), "{expanded}");
    std::fs::write(base.path().join("t"), &raw).expect("t");
    assert_eq!(out(&["-t", "t"]), raw);
    assert_eq!(out(&["-t", ""]), raw);
    assert_eq!(out(&["-l"]), "flock\nfcntl\ndotlock\n");
    assert!(out(&["-m"]).lines().is_sorted() && out(&["-m"]).contains("lmdb\n"));
    assert_eq!(out(&["-T", "run-version"]), "");
    assert_eq!(postconf(base.path(), &["-c", ".", "-T", "x"]).status.code(), Some(1));
    let wrong = postconf(base.path(), &["-c", ".", "-Z"]);
    assert_eq!(wrong.status.code(), Some(1));
    assert!(text(&wrong.stderr).starts_with("postconf: invalid option -- 'Z'\nusage: postconf"));
}

#[test]
fn mistakes_in_files_name_the_place() {
    let base = tempfile::tempdir().expect("a directory");
    write(base.path(), "myorigin = ${x\n", "");
    let shown = postconf(base.path(), &["-c", ".", "myorigin"]);
    assert_eq!(text(&shown.stdout), "myorigin = ${x\n");
    assert_eq!(
        text(&shown.stderr),
        "postconf: warning: ./main.cf, line 1: parameter myorigin: truncated macro reference: \"${x\"\n"
    );
    let errors = |main_cf: &str, master_cf: &str| {
        write(base.path(), main_cf, master_cf);
        let output = postconf(base.path(), &["-c", ".", "-nx"]);
        assert_eq!(output.status.code(), Some(1));
        text(&output.stderr)
    };
    assert_eq!(
        errors("a = b\nfoo\n", ""),
        "postconf: fatal: ./main.cf, line 2: missing '=' after attribute name: \"foo\"\n"
    );
    assert!(
        errors("\nmyorigin = ${x\n", "")
            .ends_with("postconf: fatal: ./main.cf, line 2: parameter myorigin: truncated macro reference: \"${x\"\n")
    );
    assert!(errors("myorigin = $relayhost\nrelayhost = $myorigin\n", "").contains("unreasonable macro call nesting"));
    assert_eq!(
        errors("", "# x\nfoo unix -\n"),
        "postconf: fatal: ./master.cf: line 2: bad field count in \"foo unix -\"\n"
    );
}
