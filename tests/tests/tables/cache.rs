//! Redis and memcached.

use posthouse_tests::Server;

use super::ask::{Answer, Ask};

#[test]
fn redis_answers() {
    let server = Server::redis();
    server.redis_commands(&[
        "SET alias:a@example.com one@example.com",
        "SET alias:empty \"\"",
        "HSET users b bee@example.com",
        "SADD members:team x",
        "RPUSH list:team one@example.com two@example.com three@example.com",
        "SELECT 3",
        "SET other yes",
    ]);
    let ask = Ask::new("redis");
    let host = format!("hosts = 127.0.0.1:{}\n", server.port());
    let login = format!("{host}password = secret\n");
    for (settings, key, value) in [
        ("query = GET alias:%s\n", "a@example.com", Some("one@example.com")),
        ("query = GET alias:%s\n", "A@Example.com", Some("one@example.com")),
        ("query = GET alias:%s\n", "x", None),
        ("query = GET alias:%s\n", "empty", None),
        ("query = GET alias:%s\nresult_format = smtp:[%d]\n", "a@example.com", Some("smtp:[example.com]")),
        ("query = HGET users %u\n", "b@example.com", Some("bee@example.com")),
        ("query = LRANGE list:%s 0 -1\n", "team", Some("one@example.com,two@example.com,three@example.com")),
        ("query = LRANGE list:%s 0 -1\n", "none", None),
        ("query = SISMEMBER members:%s x\n", "team", Some("1")),
        ("database = 3\n", "other", Some("yes")),
        ("domain = example.org\nquery = GET alias:%s\n", "a@example.com", None),
    ] {
        assert_eq!(ask.ask(&format!("{login}{settings}"), key).value(), value, "{settings}{key}");
    }
    for key in ["a@example.com\r\nDEL alias:a@example.com", "a@example.com\" x", "*", "x y"] {
        assert_eq!(ask.ask(&format!("{login}query = GET alias:%s\n"), key), Answer::NotFound, "{key:?}");
    }
    for (settings, key, reason) in [
        (format!("{host}query = GET %s\n"), "a", "NOAUTH"),
        (format!("{host}password = wrong\n"), "a", "WRONGPASS"),
        (format!("{login}query = NOSUCHCOMMAND %s\n"), "a", "unknown command"),
        (format!("{login}query = GET list:%s\n"), "team", "WRONGTYPE"),
        (format!("{login}query = LRANGE list:%s 0 -1\nexpansion_limit = 2\n"), "team", "xpansion limit"),
        ("hosts = 127.0.0.1:1\n".to_owned(), "a", "refused"),
        (format!("{login}query = \"GET %s\n"), "a", "unbalanced"),
    ] {
        let answer = ask.ask(&settings, key);
        assert!(answer.is_error(reason), "{settings}{answer:?}");
    }
    // Changes, where the table says how.
    let file = ask.ours.write(
        "changes.cf",
        format!("{login}query = GET alias:%s\nupdate = SET alias:%s {{value}} EX 1000\ndelete = DEL alias:%s\n"),
    );
    let table = format!("redis:{}", file.display());
    let update = |options: &[&str], text: &str| {
        let arguments: Vec<&str> = options.iter().copied().chain([table.as_str()]).collect();
        ask.ours.run_with_input("postmap", &arguments, text.as_bytes())
    };
    let get = |key: &str| ask.ours.run("postmap", &["-q", key, &table]);
    assert!(update(&["-i"], "new  a value\na@example.com again\n").status.success());
    assert_eq!(get("new").stdout, b"a value\n");
    assert_eq!(get("a@example.com").stdout, b"one@example.com\n", "an entry that is there stays");
    assert!(update(&["-ir"], "a@example.com again\n").status.success());
    assert_eq!(get("a@example.com").stdout, b"again\n");
    assert_eq!(ask.ours.run("postmap", &["-d", "new", &table]).status.code(), Some(0));
    assert_eq!(ask.ours.run("postmap", &["-d", "new", &table]).status.code(), Some(1));
    let build = ask.ours.run("postmap", &[&table]);
    assert!(String::from_utf8_lossy(&build.stderr).contains("does not support bulk-mode creation"));
    let read_only = ask.ours.write("read.cf", &login);
    let refused = ask.ours.run_with_input("postmap", &["-i", &format!("redis:{}", read_only.display())], b"a b\n");
    assert!(String::from_utf8_lossy(&refused.stderr).contains("no \"update\" setting"));
}

#[test]
fn memcached_answers_with_and_without_a_table_behind_it() {
    let mut server = Server::memcached();
    let ask = Ask::new("memcache");
    let host = format!("memcache = inet:127.0.0.1:{}\n", server.port());
    let file = ask.ours.write("cache.cf", format!("{host}key_format = test:%s\n"));
    let table = format!("memcache:{}", file.display());
    let get = |table: &str, key: &str| ask.ours.run("postmap", &["-q", key, table]);
    let long = "k".repeat(400);
    let text = format!("a one\nb two words\n{long} long\n");
    assert!(ask.ours.run_with_input("postmap", &["-i", &table], text.as_bytes()).status.success());
    assert_eq!(get(&table, "A").stdout, b"one\n");
    assert_eq!(get(&table, "b").stdout, b"two words\n");
    assert_eq!(get(&table, &long).stdout, b"long\n");
    assert_eq!(get(&table, "c").status.code(), Some(1));
    assert_eq!(get(&table, "a\r\nflush_all").status.code(), Some(1));
    assert_eq!(get(&table, "a").stdout, b"one\n", "nothing was flushed");
    assert_eq!(ask.ours.run("postmap", &["-d", "a", &table]).status.code(), Some(0));
    assert_eq!(ask.ours.run("postmap", &["-d", "a", &table]).status.code(), Some(1));

    // A table behind: what it says is in the cache afterwards.
    let behind = ask.ours.write("behind", "x from behind\n");
    let backed = format!("{host}key_format = back:%s\nbackup = texthash:{}\n", behind.display());
    let backed_file = ask.ours.write("backed.cf", &backed);
    let backed_table = format!("memcache:{}", backed_file.display());
    assert_eq!(get(&backed_table, "x").stdout, b"from behind\n");
    ask.ours.write("behind", "y other\n");
    assert_eq!(get(&backed_table, "x").stdout, b"from behind\n", "from the cache");
    let limited = format!("{host}key_format = back:%s\ndata_size_limit = 5\n");
    assert!(ask.ask(&limited, "x").is_error("data_size_limit"));
    server.kill();
    assert_eq!(get(&backed_table, "y").stdout, b"other\n", "without the cache");
    assert!(ask.ask(&format!("{host}max_try = 1\n"), "a").is_error("refused"));
}
