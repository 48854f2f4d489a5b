//! The log against sockets and files of the tests. One process per test is assumed, as the log is one per process.

use std::io::Read;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::Path;

use crate::{DirectFile, Facility, Options, Severity, Sink};

fn options(sink: Sink) -> Options {
    Options {
        program: "smtpd".to_owned(),
        syslog_name: "postfix/submission".to_owned(),
        tag: None,
        facility: Facility::MAIL,
        host: "mail".to_owned(),
        sink,
        verbose: 0,
        also_stderr: false,
    }
}

fn listen(path: &Path) -> UnixDatagram {
    let socket = UnixDatagram::bind(path).expect("bind");
    socket.set_nonblocking(true).expect("nonblocking");
    socket
}

fn datagrams(socket: &UnixDatagram) -> Vec<String> {
    let mut buffer = vec![0u8; 128 << 10];
    std::iter::from_fn(|| socket.recv(&mut buffer).ok().map(|n| String::from_utf8_lossy(&buffer[..n]).into_owned()))
        .collect()
}

/// The line without its time stamp, which must be there.
fn without_time(line: &str, before: &str) -> String {
    let rest = line.strip_prefix(before).unwrap_or_else(|| panic!("{line}"));
    let (stamp, rest) = rest.split_at(15);
    let shape: String = stamp.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    assert!(shape[3..].trim_start().trim_start_matches('0') == " 00:00:00", "{line}");
    rest.to_owned()
}

fn tag() -> String {
    format!("postfix/submission/smtpd[{}]", std::process::id())
}

#[test]
fn syslog_gets_a_datagram_per_line() {
    let directory = tempfile::tempdir().expect("directory");
    let path = directory.path().join("log");
    let daemon = listen(&path);
    crate::init(options(Sink::Syslog(path)));
    crate::info!("connect from {}", crate::show(b"a\nb"));
    crate::warning!("two\nlines");
    crate::error!("e");
    crate::fatal!("f");
    crate::panic!("p");
    let lines = datagrams(&daemon);
    let cases = [
        ("<22>", "connect from a?b"),
        ("<20>", "warning: two?lines"),
        ("<19>", "error: e"),
        ("<18>", "fatal: f"),
        ("<18>", "panic: p"),
    ];
    assert_eq!(lines.len(), cases.len());
    for (line, (priority, text)) in lines.iter().zip(cases) {
        assert_eq!(without_time(line, priority), format!(" {}: {text}", tag()));
    }
}

#[test]
fn a_new_syslog_daemon_is_found_and_nothing_is_lost_in_between() {
    let directory = tempfile::tempdir().expect("directory");
    let path = directory.path().join("log");
    let first = listen(&path);
    crate::init(options(Sink::Syslog(path.clone())));
    crate::info!("one");
    assert_eq!(datagrams(&first).len(), 1);
    drop(first);
    // Still there as a file, with nobody behind it: the line waits.
    crate::info!("two");
    std::fs::remove_file(&path).expect("remove");
    let second = listen(&path);
    // The next attempt to connect is a second after the last.
    crate::info!("three");
    let mut lines = Vec::new();
    while lines.len() < 2 {
        crate::flush();
        lines.extend(datagrams(&second));
        std::thread::yield_now();
    }
    assert!(lines[0].ends_with(": two"), "{}", lines[0]);
    assert!(lines[1].ends_with(": three"), "{}", lines[1]);
}

#[test]
fn in_a_jail_somebody_else_opens_the_socket() {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};
    let directory = tempfile::tempdir().expect("directory");
    let path = directory.path().join("log");
    let first = listen(&path);
    crate::init(options(Sink::Syslog(path.clone())));
    let asked = Arc::new(AtomicU32::new(0));
    let counter = Arc::clone(&asked);
    crate::set_reconnect(move || {
        counter.fetch_add(1, Ordering::Relaxed);
    });
    drop(first);
    std::fs::remove_file(&path).expect("remove");
    crate::info!("one");
    crate::info!("two");
    assert_eq!(asked.load(Ordering::Relaxed), 1, "asked once a second");
    let elsewhere = directory.path().join("elsewhere");
    let second = listen(&elsewhere);
    let connected = UnixDatagram::unbound().expect("socket");
    connected.connect(&elsewhere).expect("connect");
    crate::set_syslog_socket(connected.into());
    let lines = datagrams(&second);
    assert_eq!(lines.len(), 2);
    assert!(lines[1].ends_with(": two"));
}

#[test]
fn lines_wait_for_the_end_of_the_turn() {
    let directory = tempfile::tempdir().expect("directory");
    let path = directory.path().join("postlog");
    let daemon = listen(&path);
    crate::init(options(Sink::Postlog { socket: path, direct: None }));
    crate::set_batching(true);
    crate::info!("one");
    crate::warning!("two");
    assert!(datagrams(&daemon).is_empty());
    crate::flush();
    let blocks = datagrams(&daemon);
    assert_eq!(blocks.len(), 1, "many lines, one datagram");
    let lines: Vec<String> = blocks[0].lines().map(|line| without_time(line, "")).collect();
    assert_eq!(lines, [format!(" mail {}: one", tag()), format!(" mail {}: warning: two", tag())]);
    // What ends the program does not wait.
    crate::info!("three");
    crate::fatal!("four");
    assert_eq!(datagrams(&daemon).concat().lines().count(), 2);
    // Nor do 64 KB.
    let text = "x".repeat(1000);
    for _ in 0..70 {
        crate::info!("{text}");
    }
    let blocks = datagrams(&daemon);
    assert!(blocks.len() > 1 && blocks.iter().all(|block| block.len() <= 32 << 10 && block.ends_with('\n')));
    crate::flush();
    let rest = datagrams(&daemon);
    assert_eq!(blocks.concat().lines().count() + rest.concat().lines().count(), 70);
}

#[test]
fn a_log_that_takes_nothing_costs_lines_but_neither_time_nor_memory() {
    let directory = tempfile::tempdir().expect("directory");
    let path = directory.path().join("postlog");
    crate::init(options(Sink::Postlog { socket: path.clone(), direct: None }));
    crate::set_batching(true);
    let text = "x".repeat(1000);
    for _ in 0..2_000 {
        crate::info!("{text}");
    }
    let daemon = listen(&path);
    let mut received = String::new();
    while !received.contains("log lines were lost") {
        crate::flush();
        received.push_str(&datagrams(&daemon).concat());
        std::thread::yield_now();
    }
    let kept = received.lines().filter(|line| line.ends_with("xxx")).count();
    let notice = received.lines().last().expect("a notice");
    assert!(notice.contains(&format!("warning: {} log lines were lost", 2_000 - kept)), "{notice} but {kept} kept");
    assert!(received.len() < 300 << 10);
}

#[test]
fn tools_of_root_write_the_file_while_postlogd_is_down() {
    let directory = tempfile::tempdir().expect("directory");
    let file = directory.path().join("maillog");
    let direct = Some(DirectFile { path: file.clone(), permissions: 0o640 });
    let mut given = options(Sink::Postlog { socket: directory.path().join("nobody"), direct });
    given.tag = Some("postfix/postlog".to_owned());
    crate::init(given);
    crate::info!("one");
    crate::warning!("two");
    let text = std::fs::read_to_string(&file).expect("file");
    let lines: Vec<String> = text.lines().map(|line| without_time(line, "")).collect();
    let tag = format!(" mail postfix/postlog[{}]", std::process::id());
    assert_eq!(lines, [format!("{tag}: one"), format!("{tag}: warning: two")]);
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::metadata(&file).expect("metadata").permissions().mode();
    assert_eq!(mode & 0o7777 & !0o022, 0o640);
}

#[test]
fn a_stream_takes_lines_as_they_are() {
    let (ours, mut theirs) = UnixStream::pair().expect("pair");
    crate::init(options(Sink::Stream(ours.into())));
    crate::print(Severity::Error, format_args!("{}", "out of luck"));
    crate::init(options(Sink::None));
    let mut text = String::new();
    theirs.read_to_string(&mut text).expect("read");
    assert_eq!(without_time(text.trim_end(), ""), format!(" mail {}: error: out of luck", tag()));
}

#[test]
fn a_child_does_not_repeat_its_parents_lines() {
    let directory = tempfile::tempdir().expect("directory");
    let path = directory.path().join("postlog");
    let daemon = listen(&path);
    crate::init(options(Sink::Postlog { socket: path, direct: None }));
    crate::set_batching(true);
    crate::info!("the parent's");
    crate::after_fork();
    crate::info!("the child's");
    let blocks = datagrams(&daemon);
    assert_eq!(blocks.len(), 1);
    assert!(blocks[0].ends_with(": the child's\n"));
}

#[test]
fn the_configuration_decides() {
    let text = "maillog_file = /var/log/x\nqueue_directory = /spool\nsyslog_facility = local3\nsyslog_name = a/b\n";
    let mut config = config::Config::from_text(text).expect("configuration");
    let read = Options::from_config(&config, "smtpd").expect("options").direct_when_down(&config).expect("options");
    assert_eq!((read.syslog_name.as_str(), read.program.as_str()), ("a/b", "smtpd"));
    assert_eq!(Some(read.facility), Facility::from_name("local3"));
    let Sink::Postlog { socket, direct: Some(direct) } = read.sink else { panic!("to postlogd") };
    assert_eq!(socket, Path::new("/spool/public/postlog"));
    assert_eq!((direct.path.as_path(), direct.permissions), (Path::new("/var/log/x"), 0o600));
    config.set("maillog_file", "");
    config.set("syslog_name", "postfix/submission");
    let read = Options::from_config(&config, "smtpd").expect("options");
    assert_eq!(read.syslog_name, "postfix/submission");
    assert!(matches!(read.sink, Sink::Syslog(path) if path == Path::new("/dev/log")));
}
