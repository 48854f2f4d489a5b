//! Servers that tests play themselves: socketmap, tcp_table, MongoDB; and hostile ones of every type.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::time::Instant;

use super::ask::{Answer, Ask};

/// Serves each connection in a thread; the port.
pub(crate) fn serve(session: impl Fn(TcpStream) + Send + Sync + Clone + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("listen");
    let port = listener.local_addr().expect("address").port();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let session = session.clone();
            std::thread::spawn(move || session(stream));
        }
    });
    port
}

/// The next netstring of a client.
pub(crate) fn netstring(reader: &mut impl BufRead) -> Option<String> {
    let mut length = Vec::new();
    reader.read_until(b':', &mut length).ok()?;
    let length: usize = String::from_utf8_lossy(&length).trim_end_matches(':').parse().ok()?;
    let mut text = vec![0; length + 1];
    reader.read_exact(&mut text).ok()?;
    text.pop();
    Some(String::from_utf8_lossy(&text).into_owned())
}

#[test]
fn socketmap() {
    let port = serve(|stream| {
        let mut reader = BufReader::new(stream);
        while let Some(request) = netstring(&mut reader) {
            let reply = match request.as_str() {
                "map found" => "OK the value".to_owned(),
                "map a b@c" => "OK with blanks".to_owned(),
                "map temp" => "TEMP not now".to_owned(),
                "map perm" => "PERM never".to_owned(),
                "map long" => format!("OK {}", "x".repeat(2_000_000)),
                "map close" => return,
                _ => "NOTFOUND ".to_owned(),
            };
            let _ = reader.get_mut().write_all(format!("{}:{reply},", reply.len()).as_bytes());
        }
    });
    let ask = Ask::new("socketmap");
    let table = format!("socketmap:inet:127.0.0.1:{port}:map");
    for (key, value) in [("found", Some("the value")), ("a b@c", Some("with blanks")), ("other", None), ("FOUND", None)]
    {
        assert_eq!(ask.table(&table, key).value(), value, "{key}");
    }
    for (key, reason) in [("temp", "not now"), ("perm", "never"), ("long", "more than 100000"), ("close", "closed")] {
        let answer = ask.table(&table, key);
        assert!(answer.is_error(reason), "{key} {answer:?}");
    }
    for table in
        ["socketmap:inet:127.0.0.1:1:map", "socketmap:unix:/nonexistent/socket:map", "socketmap:map", "socketmap:x:map"]
    {
        assert!(matches!(ask.table(table, "a"), Answer::Error(_)), "{table}");
    }
}

#[test]
fn tcp_tables() {
    let port = serve(|stream| {
        let mut reader = BufReader::new(stream);
        let mut line = String::new();
        while reader.read_line(&mut line).is_ok_and(|count| count > 0) {
            let reply = match line.trim_end() {
                "get found" => "200 the%20value",
                "get a%20b%25" => "200 encoded",
                "get temp" => "400 not%20now",
                "get bad" => "999 what",
                "get close" => return,
                _ => "500 no such key",
            };
            let _ = reader.get_mut().write_all(format!("{reply}\n").as_bytes());
            line.clear();
        }
    });
    let ask = Ask::new("tcp");
    let table = format!("tcp:127.0.0.1:{port}");
    for (key, value) in [("found", Some("the value")), ("a b%", Some("encoded")), ("other", None)] {
        assert_eq!(ask.table(&table, key).value(), value, "{key}");
    }
    for (key, reason) in [("temp", "not now"), ("bad", "malformed"), ("close", "closed")] {
        let answer = ask.table(&table, key);
        assert!(answer.is_error(reason), "{key} {answer:?}");
    }
}

/// A document of BSON from its elements.
fn document(elements: &[Vec<u8>]) -> Vec<u8> {
    let inside = elements.concat();
    [&((inside.len() + 5) as u32).to_le_bytes(), inside.as_slice(), &[0]].concat()
}

fn element(tag: u8, name: &str, value: &[u8]) -> Vec<u8> {
    [&[tag], name.as_bytes(), &[0], value].concat()
}

fn text(name: &str, value: &str) -> Vec<u8> {
    element(2, name, &[&(value.len() as u32 + 1).to_le_bytes(), value.as_bytes(), &[0]].concat())
}

fn number(name: &str, value: f64) -> Vec<u8> {
    element(1, name, &value.to_le_bytes())
}

/// A MongoDB with one answer; each request's body is sent to the test.
fn mongodb(batch: Vec<u8>) -> (u16, Receiver<Vec<u8>>) {
    let (sender, requests) = channel();
    let port = serve(move |mut stream| {
        let mut header = [0; 16];
        while stream.read_exact(&mut header).is_ok() {
            let length = u32::from_le_bytes(header[..4].try_into().expect("four")) as usize;
            let mut body = vec![0; length - 16];
            stream.read_exact(&mut body).expect("the body");
            let is_find = body.windows(6).any(|window| window == b"\x02find\0");
            let ok = number("ok", 1.0);
            let reply = if is_find {
                let cursor = document(&[
                    element(4, "firstBatch", &batch),
                    element(0x12, "id", &[0; 8]),
                    text("ns", "mail.aliases"),
                ]);
                document(&[element(3, "cursor", &cursor), ok])
            } else {
                document(&[element(0x10, "maxWireVersion", &17u32.to_le_bytes()), ok])
            };
            let message = [
                ((16 + 5 + reply.len()) as u32).to_le_bytes().as_slice(),
                &1u32.to_le_bytes(),
                &header[4..8],
                &2013u32.to_le_bytes(),
                &[0; 5],
                &reply,
            ]
            .concat();
            stream.write_all(&message).expect("write");
            let _ = sender.send(body);
        }
    });
    (port, requests)
}

#[test]
fn mongodb_answers() {
    let entry = document(&[
        text("mail", "one@example.com"),
        element(4, "more", &document(&[text("0", "two@example.com"), element(0x10, "1", &7u32.to_le_bytes())])),
        element(3, "deep", &document(&[text("mail", "three@example.com")])),
    ]);
    let (port, requests) = mongodb(document(&[element(3, "0", &entry)]));
    let ask = Ask::new("mongodb");
    let base = format!("uri = mongodb://127.0.0.1:{port}/mail\ndbname = mail\ncollection = aliases\n");
    let filter = "query_filter = {\"$or\": [{\"name\": \"%s\"}, {\"user\": \"%u\", \"active\": 1}]}\n";
    for (more, value) in [
        ("result_attribute = mail\n", Some("one@example.com")),
        ("result_attribute = mail, more\n", Some("one@example.com,two@example.com,7")),
        ("result_attribute = deep.mail\n", Some("three@example.com")),
        ("result_attribute = none\n", None),
        ("result_attribute = mail\nresult_format = <%s>\n", Some("<one@example.com>")),
        ("result_attribute = mail\ndomain = example.org\n", None),
    ] {
        assert_eq!(ask.ask(&format!("{base}{filter}{more}"), "o'\"k@example.com").value(), value, "{more}");
    }
    // What was asked: the key is one string of the filter, whatever is in it.
    let find = requests.iter().find(|body| body.windows(6).any(|window| window == b"\x02find\0")).expect("a request");
    let name = text("name", "o'\"k@example.com");
    assert!(find.windows(name.len()).any(|window| window == name));
    let projected = format!("{base}{filter}projection = {{\"_id\": 0, \"mail\": 1}}\n");
    assert!(ask.ask(&projected, "a@b").is_error("neither text nor a number"), "a document within the answer");
    for (settings, reason) in [
        (format!("{base}{filter}"), "need either"),
        (format!("{base}query_filter = {{\nresult_attribute = mail\n"), "query_filter"),
        (format!("{base}{filter}result_attribute = mail, more\nexpansion_limit = 1\n"), "xpansion limit"),
        (
            "uri = mongodb://127.0.0.1:1/\ndbname = a\ncollection = b\nquery_filter = {}\nresult_attribute = c\n"
                .to_owned(),
            "refused",
        ),
    ] {
        let answer = ask.ask(&settings, "a@b");
        assert!(answer.is_error(reason), "{settings}{answer:?}");
    }
}

/// Servers that talk without end, or promise more than anybody takes: an error, soon, for every type.
#[test]
fn hostile_servers_are_bounded() {
    let patterns: [&'static [u8]; 6] = [b"\0", b"A", b"9", b"\xff", b"*99999999\r\n", b"0\x84\x7f\xff\xff\xff"];
    for pattern in patterns {
        let port = serve(move |mut stream| {
            let block = pattern.repeat(4096);
            // Until the client has enough.
            for _ in 0..100_000 {
                if stream.write_all(&block).is_err() {
                    return;
                }
            }
            panic!("a client that never has enough");
        });
        for (kind, settings) in [
            ("pgsql", format!("hosts = postgresql://u:p@127.0.0.1:{port}/d?sslmode=disable\nquery = SELECT '%s'\n")),
            ("mysql", format!("hosts = 127.0.0.1:{port}\nuser = u\ndbname = d\noption_group =\nquery = SELECT '%s'\n")),
            ("ldap", format!("server_host = 127.0.0.1:{port}\nsearch_base = dc=x\n")),
            ("redis", format!("hosts = 127.0.0.1:{port}\n")),
            ("memcache", format!("memcache = inet:127.0.0.1:{port}\nmax_try = 1\n")),
            (
                "mongodb",
                format!(
                    "uri = mongodb://127.0.0.1:{port}\ndbname = d\ncollection = c\nquery_filter = {{\"a\": \"%s\"}}\n\
                     result_attribute = b\n"
                ),
            ),
        ] {
            let begin = Instant::now();
            let answer = Ask::new(kind).ask(&settings, "key");
            assert!(matches!(answer, Answer::Error(_)), "{kind} {pattern:?} {answer:?}");
            assert!(begin.elapsed().as_secs() < 40, "{kind} {pattern:?}");
        }
        for table in [format!("socketmap:inet:127.0.0.1:{port}:x"), format!("tcp:127.0.0.1:{port}")] {
            let answer = Ask::new("tcp").table(&table, "key");
            assert!(matches!(answer, Answer::Error(_)), "{table} {pattern:?} {answer:?}");
        }
    }
}

/// A server of MySQL may ask for a file of its client's.
#[test]
fn mysql_servers_get_no_files() {
    let (sender, files) = channel();
    let port = serve(move |mut stream| {
        let packet = |number: u8, body: &[u8]| [&(body.len() as u32).to_le_bytes()[..3], &[number], body].concat();
        // Version 10, TLS not on offer, mysql_native_password.
        let greeting = [
            b"\x0a5.5\0\x01\0\0\0abcdefgh\0\x00\x82\x2d\x02\0\x08\0\x15".as_slice(),
            &[0; 10],
            b"abcdefghijkl\0mysql_native_password\0",
        ]
        .concat();
        stream.write_all(&packet(0, &greeting)).expect("write");
        let mut buffer = [0; 4096];
        let _ = stream.read(&mut buffer);
        stream.write_all(&packet(2, &[0, 0, 0, 2, 0, 0, 0])).expect("write");
        let _ = stream.read(&mut buffer);
        stream.write_all(&packet(1, b"\xfb/etc/passwd")).expect("write");
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest);
        let _ = sender.send(rest);
    });
    let settings =
        format!("hosts = 127.0.0.1:{port}\nuser = u\npassword = p\ndbname = d\noption_group =\nquery = SELECT '%s'\n");
    let answer = Ask::new("mysql").ask(&settings, "key");
    assert!(answer.is_error("asks for a file"), "{answer:?}");
    assert_eq!(files.recv().expect("the end of the connection"), b"");
}
