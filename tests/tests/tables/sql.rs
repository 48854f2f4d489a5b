//! SQLite, PostgreSQL, MariaDB.

use std::process::Command;

use posthouse_tests::Server;

use super::ask::{Answer, Ask};

/// A table of aliases, the same for all.
const ALIASES: &str = "\
CREATE TABLE aliases (name VARCHAR(100), goal VARCHAR(100), domain VARCHAR(100));
INSERT INTO aliases VALUES ('a@example.com', 'one@example.com', 'example.com');
INSERT INTO aliases VALUES ('a@example.com', 'two@example.com', 'example.com');
INSERT INTO aliases VALUES ('b@example.com', 'bare', 'example.com');
INSERT INTO aliases VALUES ('o''hara@example.com', 'ohara', 'example.com');
INSERT INTO aliases VALUES ('empty@example.com', '', 'example.com');
INSERT INTO aliases VALUES ('null@example.com', NULL, 'example.com');
INSERT INTO aliases VALUES ('100%@example.com', 'percent', 'example.com');
INSERT INTO aliases VALUES ('straße@example.com', 'utf8', 'example.com');
INSERT INTO aliases VALUES ('back\\slash@example.com', 'backslash', 'example.com');
";

/// Keys that must not become part of a query, and how they look in it.
const HOSTILE: &[&str] = &[
    "' OR '1'='1",
    "x' UNION SELECT goal FROM aliases -- ",
    "\\' OR 1=1 -- ",
    "\\",
    "'",
    "''",
    "\" OR \"\"=\"",
    "%",
    "_",
    "%s",
    "%s%d%u%1",
    "a@example.com'; DROP TABLE aliases; --",
    "\u{bf}' OR 1=1 -- ",
    "$(id)",
];

/// What every SQL type has to answer; `connection` are the settings that lead to the server.
fn cases(ask: &Ask, connection: &str) {
    let by_name = format!("{connection}query = SELECT goal FROM aliases WHERE name = '%s'\n");
    for (more, key, value) in [
        ("", "a@example.com", Some("one@example.com,two@example.com")),
        ("", "A@EXAMPLE.com", Some("one@example.com,two@example.com")),
        ("", "b@example.com", Some("bare")),
        ("", "o'hara@example.com", Some("ohara")),
        ("", "100%@example.com", Some("percent")),
        ("", "nobody@example.com", None),
        ("", "empty@example.com", None),
        ("", "null@example.com", None),
        ("result_format = <%s>\n", "a@example.com", Some("<one@example.com>,<two@example.com>")),
        ("result_format = %u at %d\n", "a@example.com", Some("one at example.com,two at example.com")),
        ("result_format = %d\n", "b@example.com", None),
        (
            "result_format = %S: %s of %U in %D under %1, 100%%\n",
            "b@example.com",
            Some("b@example.com: bare of b in example.com under com, 100%"),
        ),
        ("domain = example.com\n", "b@example.com", Some("bare")),
        ("domain = example.org, inline:{example.com=x}\n", "b@example.com", Some("bare")),
        ("domain = example.org\n", "b@example.com", None),
        ("domain = example.com\n", "@example.com", None),
        ("expansion_limit = 2\n", "a@example.com", Some("one@example.com,two@example.com")),
    ] {
        assert_eq!(ask.both(&format!("{by_name}{more}"), key).value(), value, "{more}{key}");
    }
    let limited = ask.both(&format!("{by_name}expansion_limit = 1\n"), "a@example.com");
    assert!(limited.is_error("xpansion limit"), "{limited:?}");
    for (query, key, value) in [
        ("SELECT goal FROM aliases WHERE name = '%u@%d'", "b@example.com", Some("bare")),
        ("SELECT goal FROM aliases WHERE name = '%u@%2.%1'", "b@example.com", Some("bare")),
        ("SELECT goal FROM aliases WHERE name = 'b@%2.%1'", "b@com", None),
        ("SELECT goal FROM aliases WHERE name = 'b@example.com' AND '%d' = ''", "bare", None),
        ("SELECT 'k' FROM aliases WHERE domain = '%d' AND goal = 'bare'", "@example.com", Some("k")),
        ("SELECT 'k' FROM aliases WHERE domain = '%d' AND '%u' = ''", "@example.com", None),
        ("SELECT 5 WHERE 'x%%' = 'x%%' AND '%s' <> ''", "b@example.com", Some("5")),
    ] {
        assert_eq!(ask.both(&format!("{connection}query = {query}\n"), key).value(), value, "{query} {key}");
    }
    let old = "select_field = goal\ntable = aliases\nwhere_field = name\nadditional_conditions = AND domain = 'example.com'\n";
    assert_eq!(ask.both(&format!("{connection}{old}"), "b@example.com").value(), Some("bare"));
    assert_eq!(ask.both_many(&by_name, HOSTILE), "");
    // The key comes back exactly as it went in.
    let expected: String = HOSTILE.iter().map(|key| format!("{key}\t{}\n", key.to_lowercase())).collect();
    assert_eq!(ask.both_many(&format!("{connection}query = SELECT '%s'\n"), HOSTILE), expected);
    let broken = ask.both(&format!("{connection}query = SELECT x FROM nowhere WHERE y = '%s'\n"), "a");
    assert!(matches!(broken, Answer::Error(_)), "{broken:?}");
    assert!(matches!(ask.both(&format!("{connection}query = SELECT '%x'\n"), "a"), Answer::Error(_)));
    assert_eq!(
        ask.ask(&by_name, "a@example.com").value(),
        Some("one@example.com,two@example.com"),
        "all is still there"
    );
}

#[test]
fn sqlite_answers_as_the_reference() {
    let ask = Ask::new("sqlite");
    let path = ask.ours.path().join("mail.db");
    let script = ask.ours.write("aliases.sql", ALIASES);
    let status = Command::new("sqlite3").arg(&path).arg(format!(".read {}", script.display())).status();
    assert!(status.expect("sqlite3: .ci/run installs it").success());
    cases(&ask, &format!("dbpath = {}\n", path.display()));
    let missing = ask.both("dbpath = /nonexistent/mail.db\nquery = SELECT '%s'\n", "a");
    assert!(matches!(missing, Answer::Error(_)), "{missing:?}");
    // Only the first column counts, as in the reference.
    let two = format!("dbpath = {}\nquery = SELECT goal, domain FROM aliases WHERE name = '%s'\n", path.display());
    assert_eq!(ask.both(&two, "b@example.com").value(), Some("bare"));
    let endless = format!(
        "dbpath = {}\ntimeout = 1s\nquery = WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) \
         SELECT count(*) FROM n WHERE '%s' <> ''\n",
        path.display()
    );
    assert!(ask.ask(&endless, "a").is_error("timed out"));
}

#[test]
fn postgresql_answers_as_the_reference() {
    let server = Server::postgres(ALIASES);
    let ask = Ask::new("pgsql");
    let port = server.port();
    let login = "user = mail\npassword = secret\ndbname = mail\n";
    cases(&ask, &format!("hosts = 127.0.0.1:{port}\n{login}"));
    let by_name = "query = SELECT goal FROM aliases WHERE name = '%s'\n";
    let directory = server.path("");
    let directory = directory.display();
    let certificate = server.path("cert.pem");
    let certificate = certificate.display();
    for hosts in [
        format!("hosts = inet:127.0.0.1:{port}\n{login}"),
        format!("hosts = postgresql://mail:secret@127.0.0.1:{port}/mail\n"),
        format!("hosts = postgresql://mail:secret@127.0.0.1:{port}/mail?sslmode=disable\n"),
        format!("hosts = postgresql://mail:secret@127.0.0.1:{port}/mail?sslmode=require\n"),
        format!(
            "hosts = postgresql://mail:secret@127.0.0.1:{port}/mail?sslmode=verify-full&sslrootcert={certificate}\n"
        ),
        format!("hosts = postgresql:///mail?host={directory}&port={port}&user=mail&password=secret\n"),
    ] {
        // The reference wants the name of the database twice.
        let settings = format!("{hosts}dbname = mail\n{by_name}");
        assert_eq!(ask.both(&settings, "b@example.com").value(), Some("bare"), "{hosts}");
    }
    // The client library wants a directory here; the name of the socket will do as well.
    let socket = format!("hosts = unix:{directory}.s.PGSQL.{port}\n{login}{by_name}");
    assert_eq!(ask.ask(&socket, "b@example.com").value(), Some("bare"));
    let elsewhere = tempfile::tempdir().expect("directory");
    posthouse_tests::servers::certificate(elsewhere.path());
    let other = elsewhere.path().join("cert.pem");
    for (hosts, reason) in [
        (
            format!("hosts = 127.0.0.1:{port}\nuser = mail\npassword = wrong\ndbname = mail\n"),
            "password authentication failed",
        ),
        (format!("hosts = 127.0.0.1:{port}\nuser = mail\ndbname = mail\n"), "no password supplied"),
        (
            format!("hosts = 127.0.0.1:{port}\nuser = nobody\npassword = secret\ndbname = mail\n"),
            "authentication failed",
        ),
        (format!("hosts = 127.0.0.1:{port}\nuser = mail\npassword = secret\ndbname = other\n"), "does not exist"),
        (format!("hosts = 127.0.0.1:1\n{login}"), "refused"),
        (
            format!(
                "hosts = postgresql://mail:secret@127.0.0.1:{port}/mail?sslmode=verify-ca&sslrootcert={}\n",
                other.display()
            ),
            "TLS",
        ),
    ] {
        let answer = ask.both(&format!("{hosts}{by_name}"), "b@example.com");
        assert!(answer.is_error(reason), "{hosts}{answer:?}");
    }
    let failover = format!("hosts = 127.0.0.1:1 127.0.0.1:{port}\n{login}{by_name}");
    for _ in 0..4 {
        assert_eq!(ask.ask(&failover, "b@example.com").value(), Some("bare"), "whichever host comes first");
    }
    let slow = format!("hosts = 127.0.0.1:{port}\n{login}timeout = 1s\nquery = SELECT pg_sleep(100), '%s'\n");
    assert!(ask.ask(&slow, "a").is_error("timeout"));
    let endless = format!(
        "hosts = 127.0.0.1:{port}\n{login}query = SELECT repeat('%s', 1000) FROM generate_series(1, 1000000)\n"
    );
    assert!(ask.ask(&endless, "a").is_error("more than"));
}

#[test]
fn mariadb_answers_as_the_reference() {
    let procedures = "\
CREATE PROCEDURE lookup(IN k VARCHAR(100)) READS SQL DATA SELECT goal FROM aliases WHERE name = k;
CREATE PROCEDURE nothing(IN k VARCHAR(100)) SET @x = k;
DELIMITER //
CREATE PROCEDURE twice(IN k VARCHAR(100)) READS SQL DATA BEGIN SELECT 1; SELECT 2; END //
DELIMITER ;
";
    let server = Server::mariadb(&format!("{}{procedures}", ALIASES.replace("back\\slash", "back\\\\slash")));
    let ask = Ask::new("mysql");
    let port = server.port();
    let login = "user = mail\npassword = secret\ndbname = mail\noption_group =\n";
    let connection = format!("hosts = 127.0.0.1:{port}\n{login}");
    cases(&ask, &connection);
    let by_name = "query = SELECT goal FROM aliases WHERE name = '%s'\n";
    let socket = server.path("socket");
    let certificate = server.path("cert.pem");
    let certificate = certificate.display();
    for more in [
        format!("hosts = unix:{}\n", socket.display()),
        format!("hosts = inet:127.0.0.1:{port}\ntls_CAfile = {certificate}\n"),
    ] {
        let settings = format!("{login}{more}{by_name}");
        assert_eq!(ask.both(&settings, "b@example.com").value(), Some("bare"), "{more}");
    }
    let verified = format!("{connection}tls_CAfile = {certificate}\ntls_verify_cert = yes\n{by_name}");
    assert_eq!(ask.ask(&verified, "b@example.com").value(), Some("bare"));
    let options = ask.ours.write(
        "my.cnf",
        format!(
            "[client]\npassword = wrong\n[mail]\nuser = mail\npassword = \"secret\"\nport = {port}\nhost = 127.0.0.1\n"
        ),
    );
    let from_file = format!("dbname = mail\noption_file = {}\noption_group = mail\n{by_name}", options.display());
    assert_eq!(ask.ask(&from_file, "b@example.com").value(), Some("bare"));
    for (query, key, value) in [
        ("CALL lookup('%s')", "a@example.com", Some("one@example.com,two@example.com")),
        ("CALL lookup('%s')", "nobody@example.com", None),
    ] {
        assert_eq!(ask.both(&format!("{connection}query = {query}\n"), key).value(), value, "{query} {key}");
    }
    let no_set = ask.both(&format!("{connection}query = CALL nothing('%s')\n"), "a");
    assert!(no_set.is_error("result set"), "{no_set:?}");
    let no_set = ask.both(&format!("{connection}require_result_set = no\nquery = CALL nothing('%s')\n"), "a");
    assert_eq!(no_set, Answer::NotFound);
    let two = ask.ask(&format!("{connection}query = CALL twice('%s')\n"), "a");
    assert!(two.is_error("more than one result set"), "{two:?}");
    for (settings, reason) in [
        (
            format!("hosts = 127.0.0.1:{port}\nuser = mail\npassword = wrong\ndbname = mail\noption_group =\n"),
            "Access denied",
        ),
        (
            format!("hosts = 127.0.0.1:{port}\nuser = mail\npassword = secret\ndbname = other\noption_group =\n"),
            "denied",
        ),
        (format!("hosts = 127.0.0.1:1\n{login}"), "refused"),
    ] {
        let answer = ask.ask(&format!("{settings}{by_name}"), "b@example.com");
        assert!(answer.is_error(reason), "{settings}{answer:?}");
    }
    let slow = format!("{connection}timeout = 1s\nquery = SELECT SLEEP(100), '%s'\n");
    assert!(ask.ask(&slow, "a").is_error("timeout"));
    let endless = format!("{connection}query = SELECT REPEAT('%s', 30000) FROM seq_1_to_1000000\n");
    assert!(ask.ask(&endless, "a").is_error("more than"));
    let unescaped = format!("{connection}query = SELECT '%s'\n");
    assert_eq!(ask.ask(&unescaped, "a\\'b").value(), Some("a\\'b"));
}
