use super::*;

fn config(text: &str) -> Config {
    Config::from_text(text).unwrap().with_host(crate::Host::fixed("mx.example.com", Vec::new()))
}

fn with_file(main_cf: &str, text: &str) -> Templates {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("bounce.cf");
    std::fs::write(&path, text).unwrap();
    let mut templates =
        Templates::load(&config(&format!("{main_cf}\nbounce_template_file = {}\n", path.display()))).unwrap();
    for warning in &mut templates.warnings {
        *warning = warning.replace(&path.display().to_string(), "FILE");
    }
    templates
}

#[test]
fn built_in_texts_expand() {
    let config = config("delay_warning_time = 1h\nmaximal_queue_lifetime = 5d\n");
    let templates = Templates::load(&config).unwrap();
    for template in templates.iter() {
        let text = template.expanded(&config).unwrap();
        assert!(text.contains("mx.example.com") && !text.contains('$') && text.ends_with('\n'), "{text}");
        assert!(text.lines().all(|line| line.len() < 80), "{text}");
    }
    let delay = templates.get(Kind::Delay).expanded(&config).unwrap();
    assert!(delay.contains("for 1 hour.") && delay.contains("up to 5 days in all"), "{delay}");
    assert_eq!(templates.get(Kind::Verify).subject, "Mail Delivery Status Report");
}

#[test]
fn from_format() {
    let from = |text: &str| Templates::load(&config(text)).unwrap().get(Kind::Failure).from.clone();
    assert_eq!(from(""), "Mail Delivery System <MAILER-DAEMON>");
    assert_eq!(from("header_from_format = obsolete"), "MAILER-DAEMON (Mail Delivery System)");
}

#[test]
fn a_file_overrides_what_it_says() {
    let text = "# comment\n\nfailure_template = <<END\nSubject: Nope\n\n$$5 for $myhostname$nope\n  kept\n\nEND\n\
                success_template=<<EOF\n\nonly text\nEOF\n";
    let templates = with_file("", text);
    assert_eq!(templates.warnings, Vec::<String>::new());
    let failure = templates.get(Kind::Failure);
    assert_eq!((failure.subject.as_str(), failure.charset.as_str()), ("Nope", "us-ascii"));
    assert_eq!(failure.expanded(&config("")).unwrap(), "$5 for mx.example.com\n  kept\n\n");
    assert_eq!(templates.get(Kind::Success).text, "only text\n");
    assert_eq!(templates.get(Kind::Success).subject, "Successful Mail Delivery Report");
    let written: String = templates.iter().map(Template::section).collect();
    let again = with_file("", &written);
    assert!(templates.iter().eq(again.iter()));
}

#[test]
fn mistakes_cost_one_section() {
    let cases = [
        (
            "foo_template = <<EOF\nx\nEOF\n",
            "FILE, line 1: unknown template name: foo_template -- ignoring this template",
        ),
        (
            "delay_template = <<EOF\nBogus: x\n\nx\nEOF\n",
            "FILE, line 1: unknown \"Bogus\" header label in delay template -- ignoring this template",
        ),
        ("\ndelay_template\n", "FILE, line 2: missing '=' after template name: \"delay_template\""),
        ("delay_template = x\n", "FILE, line 1: missing '<<' and end marker after template name: \"delay_template\""),
        ("delay_template = <<EOF\n\nx\n", "FILE, line 1: missing \"EOF\" end marker"),
        (
            "delay_template = <<EOF\n\n\u{fc}\nEOF",
            "FILE, line 1: 8-bit text without a Charset header in delay template -- ignoring this template",
        ),
    ];
    for (text, warning) in cases {
        assert_eq!(with_file("", text).warnings, [warning], "{text}");
    }
    let bad = with_file("", "delay_template = <<EOF\n\n${x\nEOF\n");
    assert!(bad.get(Kind::Delay).expanded(&config("")).is_err());
    assert!(Templates::from_file(&config(""), "/nonexistent/file").is_err());
}
