//! The parameter table beside the reference's rows: name, default, class, type, minimum, maximum.

use posthouse_config::parameters::{self, Class, Kind};

const REFERENCE: &str = include_str!("data/reference_parameters.tsv");

/// Defaults that are ours on purpose.
fn other_defaults() -> std::collections::HashMap<String, String> {
    let differences: toml::Table = include_str!("../../../docs/differences.toml").parse().expect("differences.toml");
    let text = |row: &toml::Value, key| row[key].as_str().expect("a text").to_owned();
    let rows = differences["parameter"].as_array().expect("parameters");
    rows.iter().map(|row| (text(row, "name"), text(row, "default"))).collect()
}

fn rows() -> impl Iterator<Item = [&'static str; 6]> {
    REFERENCE.lines().skip(1).filter_map(|line| {
        let mut columns = line.split('\t');
        Some([(); 6].map(|()| columns.next().unwrap_or_default())).filter(|row| row[2] != "macro-function")
    })
}

#[test]
fn every_row_of_the_reference_is_here() {
    let mut count = 0;
    let other_defaults = other_defaults();
    for [name, default, class, kind, minimum, maximum] in rows() {
        count += 1;
        let row = parameters::find(name).unwrap_or_else(|| panic!("{name} is missing"));
        let expected_class = match class {
            "builtin" => Class::Builtin,
            "service" => Class::Service,
            "pattern" => Class::Pattern,
            "legacy" => Class::Legacy,
            "doc-only" => Class::Obsolete,
            other => panic!("{name}: {other}"),
        };
        assert_eq!(row.class, expected_class, "{name}");
        let (expected_kind, late) = match kind {
            "str" | "str_fn" | "" => (Kind::Str, false),
            "str(feedback)" => (Kind::Feedback, false),
            "raw" => (Kind::Raw, false),
            "int" => (Kind::Int, false),
            "nint" => (Kind::Int, true),
            "long" => (Kind::Long, false),
            "bool" => (Kind::Bool, false),
            "nbool" => (Kind::Bool, true),
            "time" => (Kind::Time, false),
            other => panic!("{name}: {other}"),
        };
        assert_eq!((row.kind, row.late), (expected_kind, late), "{name}");
        let number = |text: &str| if text.is_empty() { 0 } else { text.parse::<i64>().expect("a number") };
        assert_eq!((row.minimum, row.maximum), (number(minimum), number(maximum)), "{name}");
        // `<computed>` and `<build dependent>` stand for what the machine gives; `<>` is a value.
        let computed = default.len() > 2 && default.starts_with('<') && default.ends_with('>');
        match other_defaults.get(name) {
            Some(ours) => assert_eq!(row.default, ours, "{name}"),
            None if computed => assert_eq!(row.default, "", "{name}"),
            None => assert_eq!(row.default, default, "{name}"),
        }
    }
    assert!(count > 1000);
}

#[test]
fn what_is_not_in_the_reference_is_marked() {
    let known: std::collections::HashSet<&str> = rows().map(|row| row[0]).collect();
    for row in parameters::all().filter(|row| !known.contains(row.name)) {
        let ours = row.class == Class::Ours || row.name == "transport_session_limit";
        assert!(ours, "{}", row.name);
    }
    for row in parameters::all() {
        assert!(!row.text.is_empty(), "{} has no text", row.name);
        assert!(!row.implemented || !matches!(row.class, Class::Legacy | Class::Obsolete), "{}", row.name);
    }
}
