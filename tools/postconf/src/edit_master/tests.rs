use super::*;

const OLD: &str = "# head\nsmtp inet n - y - - smtpd -v\n  # inner\n  -o a=b\n# foo\nfoo unix - - n - - smtp\n  \
                   -o bar=baz\n  -o { c = d e } {x y}\nsmtp unix - - n - - smtp\n#x\n";
const SMTP: &str = "smtp inet n - y - - smtpd -v\n  # inner\n  -o a=b\n";
const FOO: &str = "foo unix - - n - - smtp\n  -o bar=baz\n  -o { c = d e } {x y}\n";

fn edited(target: Target, change: Change, text: &str) -> Result<(String, bool), String> {
    let request = request(target, change, text).map_err(|error| error.to_string())?;
    let (new, matched) = apply(OLD.as_bytes(), &request, "master.cf").map_err(|error| error.to_string())?;
    Ok((String::from_utf8(new).unwrap(), matched))
}

#[test]
fn entries() {
    let set = |text: &str| edited(Target::Entries, Change::Set, text).unwrap().0;
    assert_eq!(
        set("foo/unix=foo unix - - n - - lmtp -o x=y"),
        OLD.replace(FOO, "foo        unix  -       -       n       -       -       lmtp\n    -o x=y\n")
    );
    assert_eq!(
        set("new/inet = new inet n - n - - smtpd"),
        OLD.to_owned() + "new        inet  n       -       n       -       -       smtpd\n"
    );
    let (new, _) = edited(Target::Entries, Change::Exclude, "smtp/inet").unwrap();
    assert_eq!(new, OLD.replace(SMTP, "  # inner\n"));
    let (new, _) = edited(Target::Entries, Change::CommentOut, "smtp/inet").unwrap();
    assert_eq!(new, OLD.replace(SMTP, "#smtp inet n - y - - smtpd -v\n  # inner\n#  -o a=b\n"));
    let (new, matched) = edited(Target::Entries, Change::Exclude, "nosuch/inet").unwrap();
    assert_eq!((new.as_str(), matched), (OLD, false));
}

#[test]
fn fields() {
    let (new, _) = edited(Target::Fields, Change::Set, "foo/unix/chroot=y").unwrap();
    let expected =
        "foo        unix  -       -       y       -       -       smtp\n    -o bar=baz\n    -o {c=d e}\n    {x y}\n";
    assert_eq!(new, OLD.replace(FOO, expected));
    let (new, matched) = edited(Target::Fields, Change::Set, "foo/unix/chroot=n").unwrap();
    assert_eq!((new.as_str(), matched), (OLD, true));
    let (new, _) = edited(Target::Fields, Change::Set, "*/*/chroot=-").unwrap();
    assert!(new.contains("smtp       inet  n       -       -       -       -       smtpd -v\n    -o a=b\n  # inner\n"));
    assert_eq!(new.matches("unix  -       -       -").count(), 2);
    assert!(!edited(Target::Fields, Change::Set, "no/unix/chroot=y").unwrap().1);
}

#[test]
fn overrides() {
    let (new, _) = edited(Target::Overrides, Change::Set, "foo/unix/bar=new value").unwrap();
    assert!(new.contains("    -o {bar=new value}\n    -o {c=d e}\n    {x y}\n"), "{new}");
    let (new, _) = edited(Target::Overrides, Change::Exclude, "foo/unix/bar").unwrap();
    assert!(!new.contains("bar=") && new.contains("-o {c=d e}"), "{new}");
    let (new, _) = edited(Target::Overrides, Change::Exclude, "foo/unix/nosuch").unwrap();
    assert_eq!(new, OLD);
    let (new, _) = edited(Target::Overrides, Change::Set, "smtp/*/z=1").unwrap();
    assert_eq!(new.matches("-o z=1").count(), 2);
}

#[test]
fn requests_of_the_wrong_form() {
    let cases = [
        (Target::Entries, Change::Set, "foo=foo unix - - n - - x", "fatal: -Me, -MX or -M# requires service_name/type"),
        (Target::Entries, Change::Exclude, "foo", "fatal: -Me, -MX or -M# requires service_name/type"),
        (Target::Entries, Change::Set, "foo/unix=foo unix", "fatal: bad field count: \"foo/unix=foo unix\""),
        (Target::Entries, Change::Set, "nosuch", "fatal: missing '=' after attribute name: \"nosuch\""),
        (Target::Fields, Change::Set, "foo/unix/nosuch=y", "fatal: invalid service attribute name: \"nosuch\""),
        (
            Target::Fields,
            Change::Set,
            "foo/unix/chroot=zz",
            "fatal: invalid chroot field \"zz\" in \"foo/unix/chroot=zz\"",
        ),
        (Target::Overrides, Change::Set, "a/b=c", "fatal: -Pe or -PX requires service_name/type/parameter"),
    ];
    for (target, change, text, error) in cases {
        assert_eq!(edited(target, change, text).unwrap_err(), error);
    }
}
