use super::*;

fn one(text: &str) -> Result<Service, String> {
    MasterCf::parse(text).map(|m| m.services.into_iter().next().unwrap()).map_err(|e| e.to_string())
}

#[test]
fn columns() {
    let smtp =
        one("smtp inet n - y 60? 10 smtpd -v\n  -o a=b -o { c = d e }\n # no\n  -og=h {x y} -o no=option").unwrap();
    assert_eq!((smtp.name.as_str(), smtp.kind, smtp.command.as_str()), ("smtp", ServiceKind::Inet, "smtpd"));
    assert!(!smtp.private && smtp.unprivileged);
    assert_eq!(smtp.chroot, Some(true));
    assert_eq!(smtp.wakeup, Some(Wakeup { seconds: 60, only_if_used: true }));
    assert_eq!(smtp.process_limit, Some(10));
    assert_eq!(smtp.arguments, ["-v", "-o", "a=b", "-o", "c = d e", "-og=h", "x y", "-o", "no=option"]);
    let pairs = [("a", "b"), ("c", "d e"), ("g", "h")].map(|(n, v)| (n.to_owned(), v.to_owned()));
    assert_eq!(smtp.overrides, pairs);
    assert_eq!((smtp.value("c"), smtp.value("x"), smtp.line), (Some("d e"), None, 1));
}

#[test]
fn defaults() {
    let local = one("local unix - n - - - local").unwrap();
    assert!(local.private && !local.unprivileged);
    assert_eq!((local.wakeup, local.process_limit, local.chroot), (None, None, None));
    let level = |text: &str| text.parse::<Level>().unwrap();
    assert!(local.is_chroot(level("0")) && !local.is_chroot(level("1")) && !local.is_chroot(level("3.6")));
    assert!(!one("25 inet - - n - - smtpd").unwrap().private);
    assert_eq!(one("a unix - - n 0 0 b").unwrap().wakeup, None);
    assert_eq!(one("a unix - - n 0 0 b").unwrap().process_limit, Some(0));
}

#[test]
fn mistakes() {
    let cases = [
        ("\nsmtp inet n - n -", "master.cf, line 2: bad field count: \"smtp inet n - n -\""),
        ("a tcp n - n - - b", "master.cf: line 1: bad type value: \"tcp\""),
        ("a unix x - n - - b", "master.cf: line 1: bad private value: \"x\""),
        ("a inet y - n - - b", "master.cf: line 1: bad private value: \"y\""),
        ("../a unix n - n - - b", "master.cf: line 1: bad service value: \"../a\""),
        ("a unix n yes n - - b", "master.cf: line 1: bad unprivileged value: \"yes\""),
        ("a unix n - ? - - b", "master.cf: line 1: bad chroot value: \"?\""),
        ("a unix n - n 5x - b", "master.cf: line 1: bad wakeup value: \"5x\""),
        ("a unix n - n - -1 b", "master.cf: line 1: bad process_limit value: \"-1\""),
        ("a unix n - n - - b -o foo", "master.cf: line 1: bad -o value: \"foo\""),
        ("a unix n - n - - b -o", "master.cf: line 1: bad -o value: \"-o\""),
        ("a unix n - n - - b {c", "master.cf: line 1: bad argument value: \"{c\""),
        ("a unix n - n - - {b c}", "master.cf: line 1: bad command value: \"{b c}\""),
    ];
    for (text, error) in cases {
        assert_eq!(one(text).unwrap_err(), error);
    }
}

#[test]
fn the_last_of_two_counts() {
    let master =
        MasterCf::parse("a unix - - - - - x\nb unix - - - - - x\na unix - - - - - y\na inet n - - - - z").unwrap();
    let commands: Vec<_> = master.services.iter().map(|s| s.command.as_str()).collect();
    assert_eq!(commands, ["x", "y", "z"]);
    assert_eq!(
        master.warnings.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["master.cf, line 3: duplicate master.cf entry for service \"a\" (unix) -- using the last entry"]
    );
    assert_eq!(master.find("a", ServiceKind::Inet).unwrap().command, "z");
}

#[test]
fn disabled_services() {
    let disabled = |patterns: &str, name, kind| Disabled::new(list::split(patterns)).contains(name, kind);
    assert!(disabled("inet", "smtp", ServiceKind::Inet));
    assert!(disabled("foo/unix, bar/pass", "bar", ServiceKind::Pass));
    assert!(!disabled("foo/unix", "foo", ServiceKind::Inet));
    assert!(!disabled("!smtp/inet inet", "smtp", ServiceKind::Inet));
    assert!(disabled("!smtp/inet inet", "26", ServiceKind::Inet));
    assert!(disabled("127.0.0.1:10025/inet", "127.0.0.1:10025", ServiceKind::Inet));
    assert!(!disabled("", "smtp", ServiceKind::Inet));
}
