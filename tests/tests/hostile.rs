//! Bad input leaves the suite serving others.

use std::io::{BufRead, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::{FileTypeExt, PermissionsExt, chown};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::time::Duration;

use posthouse_tests::instance::RunAs;
use posthouse_tests::{Instance, PATIENCE, Sink, SmtpClient, Suite};

fn relay_to(sink: &Sink, more: &str) -> Instance {
    Instance::running(&format!("relayhost = [127.0.0.1]:{}\n{more}", sink.port()))
}

/// A message goes through.
fn serves(instance: &Instance, sink: &Sink, subject: &str) {
    let header = format!("Subject: {subject}\r\n");
    SmtpClient::greeted(instance.port()).message("", &["r@dest.example"], &format!("{header}\r\nx\r\n"));
    sink.wait_until(subject, |messages| {
        messages.iter().any(|message| String::from_utf8_lossy(&message.content).contains(&header))
    });
}

/// Resident memory of all processes of the instance, in kilobytes.
fn memory(instance: &Instance) -> u64 {
    let of = |pid| {
        let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default().to_owned();
        line.split_whitespace().next().and_then(|number| number.parse::<u64>().ok()).unwrap_or_default()
    };
    instance.processes().into_iter().map(of).sum()
}

#[test]
fn an_endless_line_takes_no_memory() {
    let sink = Sink::start();
    let instance = relay_to(&sink, "");
    serves(&instance, &sink, "before");
    let before = memory(&instance);
    let mut stream = TcpStream::connect(("127.0.0.1", instance.port())).expect("connect");
    stream.set_write_timeout(Some(Duration::from_secs(5))).expect("time limit");
    let block = vec![b'x'; 1 << 20];
    for _ in 0..64 {
        // smtpd may close or stop reading: either is fine.
        if stream.write_all(&block).is_err() {
            break;
        }
    }
    serves(&instance, &sink, "during");
    let after = memory(&instance);
    assert!(after < before + 30_000, "{before} KB before, {after} KB after");
}

#[test]
fn an_endless_line_in_a_message_is_content() {
    let sink = Sink::start();
    let instance = relay_to(&sink, "message_size_limit = 3000000\n");
    let mut client = SmtpClient::greeted(instance.port());
    client.command("MAIL FROM:<>", 250);
    client.command("RCPT TO:<r@dest.example>", 250);
    client.command("DATA", 354);
    let block = vec![b'y'; 1 << 20];
    for _ in 0..8 {
        client.send(&block);
    }
    client.send("\r\n.\r\n");
    let reply = client.reply().join("\n");
    assert!(reply.starts_with("552 5.3.4"), "{reply}");
    client.command("NOOP", 250);
    // cleanup takes the unfinished file away after the reply; the next message goes through the same process.
    serves(&instance, &sink, "after");
    assert!(instance.queue_files("incoming").is_empty());
}

#[test]
fn a_hundred_thousand_recipients() {
    let sink = Sink::start();
    let instance = relay_to(&sink, "smtpd_recipient_overshoot_limit = 200000\n");
    let before = memory(&instance);
    let mut client = SmtpClient::greeted(instance.port());
    client.command("MAIL FROM:<>", 250);
    let mut accepted = 0;
    for batch in 0..100 {
        let lines: String = (0..1000).map(|n| format!("RCPT TO:<r{batch}.{n}@dest.example>\r\n")).collect();
        client.send(lines);
        for _ in 0..1000 {
            let reply = client.reply().join("\n");
            if reply.starts_with("250") {
                accepted += 1;
            } else {
                assert!(reply.starts_with("452 4.5.3"), "{reply}");
            }
        }
    }
    assert_eq!(accepted, 1000, "smtpd_recipient_limit");
    client.data(b"Subject: many\r\n\r\nx\r\n");
    sink.wait_until("a thousand recipients", |messages| {
        messages.iter().map(|message| message.recipients.len()).sum::<usize>() == 1000
    });
    let after = memory(&instance);
    assert!(after < before + 100_000, "{before} KB before, {after} KB after");
}

#[test]
fn slow_clients_do_not_keep_others_waiting() {
    let sink = Sink::start();
    let instance = relay_to(&sink, "smtpd_client_connection_count_limit = 0\ndefault_process_limit = 300\n");
    // In the middle of a command, of a transaction, of a message, before the greeting is read.
    let slow: Vec<SmtpClient> = (0..200)
        .map(|number| {
            let mut client = SmtpClient::connect(instance.port());
            if number % 4 > 0 {
                client.expect(220);
                client.send("EHLO slow.example\r\n");
                client.expect(250);
            }
            match number % 4 {
                1 => client.send("MAIL FR"),
                2 => {
                    client.command("MAIL FROM:<>", 250);
                    client.command("RCPT TO:<r@dest.example>", 250);
                }
                3 => {
                    client.command("MAIL FROM:<>", 250);
                    client.command("RCPT TO:<r@dest.example>", 250);
                    client.command("DATA", 354);
                    client.send("Subject: never en");
                }
                _ => {}
            }
            client
        })
        .collect();
    for number in 0..10 {
        serves(&instance, &sink, &format!("beside the slow {number}"));
    }
    drop(slow);
}

/// A little generator: the same bytes in each run.
fn noise(length: usize, mut seed: u64) -> Vec<u8> {
    (0..length)
        .map(|_| {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            seed.to_le_bytes()[3]
        })
        .collect()
}

#[test]
fn garbage_on_every_socket() {
    let sink = Sink::start();
    // virtual does not start without a base.
    let instance = relay_to(&sink, "virtual_mailbox_base = /nonexistent\n");
    serves(&instance, &sink, "before");
    let mut tried = 0;
    for directory in ["public", "private"] {
        for entry in std::fs::read_dir(instance.spool().join(directory)).expect("sockets").flatten() {
            if !entry.file_type().expect("its type").is_socket() {
                continue;
            }
            tried += 1;
            let frames: Vec<Vec<u8>> = vec![
                Vec::new(),
                vec![0; 4096],
                vec![0xff; 64],
                noise(1, 7),
                noise(100_000, 42 + tried),
                b"GET / HTTP/1.0\r\n\r\n".to_vec(),
                // A length of 4 GB, and nothing after.
                [0xff, 0xff, 0xff, 0xff, 0, 1, 2, 3].to_vec(),
            ];
            for frame in frames {
                match UnixStream::connect(entry.path()) {
                    Ok(mut stream) => {
                        stream.set_write_timeout(Some(Duration::from_secs(2))).expect("time limit");
                        let _ = stream.write_all(&frame);
                        let _ = stream.shutdown(std::net::Shutdown::Write);
                        // Whoever it is closes: it must not wait for more of a frame that cannot come.
                        stream.set_read_timeout(Some(PATIENCE)).expect("time limit");
                        let mut answer = [0; 4096];
                        while matches!(stream.read(&mut answer), Ok(count) if count > 0) {}
                    }
                    Err(_) => {
                        let datagram = UnixDatagram::unbound().expect("a socket");
                        let _ = datagram.send_to(&frame[..frame.len().min(4096)], entry.path());
                    }
                }
            }
        }
    }
    assert!(tried > 12, "{tried} sockets");
    serves(&instance, &sink, "after");
    let mut log = instance.log();
    assert!(log.lines_with("panic:").is_empty(), "{:?}", log.lines_with("panic:"));
    assert!(log.lines_with("killed by signal").is_empty(), "{:?}", log.lines_with("killed by signal"));
}

#[test]
fn malformed_queue_files_are_put_aside() {
    let sink = Sink::start();
    let mut instance = relay_to(&sink, "");
    serves(&instance, &sink, "before");
    instance.output("postfix", &["stop"]);
    instance.wait_for_master_end();
    let (uid, gid) = instance.ids();
    let bad: Vec<(&str, Vec<u8>)> = vec![
        ("garbage", noise(5000, 99)),
        ("text", b"This is not a queue file\n".to_vec()),
        ("length", b"C\xff\xff\xff\xff\x7f".to_vec()),
        ("cut", b"C_".to_vec()),
    ];
    let mut count = 0;
    for queue in ["incoming", "deferred"] {
        for (name, bytes) in &bad {
            let directory = instance.spool().join(queue);
            let temporary = directory.join("new");
            std::fs::write(&temporary, bytes).expect("write");
            std::fs::set_permissions(&temporary, std::fs::Permissions::from_mode(0o700)).expect("chmod");
            chown(&temporary, Some(uid), Some(gid)).expect("chown");
            // The name has the inode number in it, as recovery wants it.
            let inode = std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(&temporary).expect("metadata"));
            let id = format!("{count:05X}{inode:X}");
            std::fs::rename(&temporary, directory.join(&id)).unwrap_or_else(|error| panic!("{name}: {error}"));
            count += 1;
        }
    }
    instance.start();
    instance.output("postqueue", &["-f"]);
    instance.wait_for_queue("corrupt", |files| files.len() == count);
    let mut log = instance.log();
    log.wait_for_count("saving corrupt file", count);
    serves(&instance, &sink, "after");
    assert!(instance.queue_files("deferred").is_empty() && instance.queue_files("incoming").is_empty());
}

#[test]
fn malformed_maildrop_files_do_no_harm() {
    let sink = Sink::start();
    let instance = relay_to(&sink, "");
    let (uid, gid) = instance.ids();
    for (number, bytes) in [noise(3000, 5), b"text\n".to_vec(), Vec::new()].into_iter().enumerate() {
        let path = instance.spool().join("maildrop").join(format!("new{number}"));
        std::fs::write(&path, bytes).expect("write");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700)).expect("chmod");
        chown(&path, Some(uid), Some(gid)).expect("chown");
        let inode = std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(&path).expect("metadata"));
        std::fs::rename(&path, path.with_file_name(format!("{number:05X}{inode:X}"))).expect("rename");
    }
    instance.output("postkick", &["public", "pickup", "W"]);
    instance.sendmail(&["-f", "me@client.example", "r@dest.example"], "Subject: beside\n\nx\n");
    let messages = sink.wait_for(1);
    assert!(String::from_utf8_lossy(&messages[0].content).contains("Subject: beside"));
    // The empty one may be a file that is being written; the others are told of.
    let mut log = instance.log();
    log.wait_until("lines about the files", |text| {
        let about = |line: &&str| line.contains("postfix/pickup[") && line.contains("warning: ");
        (text.lines().filter(about).count() >= 2).then_some(())
    });
}

#[test]
fn a_broken_line_is_named() {
    let instance = Instance::new(&Suite::ours(), RunAs::User);
    instance.add_main_cf("this is no assignment");
    let text = std::fs::read_to_string(instance.config().join("main.cf")).expect("main.cf");
    let line = text.lines().position(|line| line.starts_with("this is")).expect("it is there") + 1;
    let config = instance.config().display().to_string();
    for (tool, arguments) in [("postfix", vec!["-c", config.as_str(), "start"]), ("postconf", vec!["-n"])] {
        let output = instance.run(tool, &arguments);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success(), "{tool}: {said}");
        assert!(said.contains(&format!("main.cf, line {line}")), "{tool}: {said}");
    }
}

#[test]
fn a_bad_value_is_named() {
    let mut instance = Instance::new(&Suite::ours(), RunAs::User);
    instance.add_main_cf("smtpd_recipient_limit = many");
    instance.start();
    let mut client = TcpStream::connect(("127.0.0.1", instance.port())).expect("connect");
    let line = instance.log().wait_for(&["postfix/smtpd[", "fatal: ", "smtpd_recipient_limit"]);
    assert!(line.contains("main.cf, line ") && line.contains("many"), "{line}");
    // Not again and again: master waits before it tries once more.
    instance.log().wait_for(&["postfix/master[", "bad command startup -- throttling"]);
    let _ = client.write_all(b"QUIT\r\n");
}

/// Fixed: a failing program was started again at once, some twenty times a second.
#[test]
fn a_program_that_cannot_start_is_throttled() {
    let mut instance = Instance::new(&Suite::ours(), RunAs::User);
    instance.add_main_cf(
        "virtual_mailbox_domains = v.example\nvirtual_mailbox_maps = static:x\nvirtual_minimum_uid = none\n",
    );
    instance.start();
    SmtpClient::greeted(instance.port()).message("", &["a@v.example"], "Subject: x\r\n\r\nx\r\n");
    let mut log = instance.log();
    log.wait_for(&["bad command startup -- throttling"]);
    // Something else happens meanwhile.
    for _ in 0..20 {
        SmtpClient::greeted(instance.port()).command("QUIT", 221);
    }
    assert!(log.lines_with("exit status 1").len() < 3, "{:?}", log.lines_with("exit status 1"));
}

/// What was seen of a deep queue.
#[derive(Debug)]
struct Deep {
    start: Duration,
    listing: Duration,
    json: Duration,
    /// Until new mail was at its destination, while the queue was scanned and while it was drained.
    slowest_new: Duration,
    drain: Duration,
    /// Of the queue manager, in kilobytes.
    memory: u64,
    /// Of all others together.
    memory_of_others: u64,
}

/// Counts in the log the messages that were delivered by discard.
struct Removals {
    log: std::io::BufReader<std::fs::File>,
    line: String,
    count: usize,
}

impl Removals {
    fn follow(instance: &Instance) -> Removals {
        let mut log = std::fs::File::open(instance.path().join("log/maillog")).expect("the log");
        std::io::Seek::seek(&mut log, std::io::SeekFrom::End(0)).expect("seek");
        Removals { log: std::io::BufReader::new(log), line: String::new(), count: 0 }
    }

    fn of_pattern(&mut self) -> usize {
        // What has no end yet is read on the next time.
        while self.log.read_line(&mut self.line).is_ok_and(|length| length > 0) && self.line.ends_with('\n') {
            self.count += usize::from(self.line.contains("postfix/discard[") && self.line.contains("status=sent"));
            self.line.clear();
        }
        self.count
    }
}

/// An instance with `count` deferred messages that are not due: its start, listings, new mail beside it, a flush.
fn deep_queue(count: usize) -> Deep {
    let sink = Sink::start();
    let mut instance = Instance::new(&Suite::ours(), RunAs::User);
    // The pattern of all: a message of the suite's own.
    instance.add_main_cf(&format!(
        "default_transport = discard:\ndefer_transports = discard\ntransport_maps = inline:{{ new.example=smtp:[127.0.0.1]:{} }}\n\
         qmgr_message_active_limit = 20000\n",
        sink.port()
    ));
    instance.start();
    let first = SmtpClient::greeted(instance.port()).message(
        "s@client.example",
        &["r@dest.example"],
        "Subject: deep\r\n\r\nx\r\n",
    );
    instance.wait_for_queue("deferred", |files| files == [first.clone()]);
    instance.stop();
    let deferred = instance.spool().join("deferred");
    let first = deferred.join(&first[..1]).join(&first);
    let pattern = std::fs::read(&first).expect("a queue file");
    let (uid, gid) = instance.ids();
    let later = std::time::SystemTime::now() + Duration::from_secs(100_000);
    std::fs::File::options().write(true).open(&first).and_then(|file| file.set_modified(later)).expect("time");
    for number in 1..count {
        let temporary = deferred.join("new");
        let file = std::fs::File::create(&temporary).expect("create");
        (&file).write_all(&pattern).expect("write");
        std::os::unix::fs::fchown(&file, Some(uid), Some(gid)).expect("chown");
        file.set_permissions(std::fs::Permissions::from_mode(0o700)).expect("chmod");
        file.set_modified(later).expect("time");
        // A short queue id: microseconds, whose first digit is the directory, and the inode.
        let inode = std::os::unix::fs::MetadataExt::ino(&file.metadata().expect("metadata"));
        let id = format!("{:05X}{inode:X}", number % 1_000_000);
        let directory = deferred.join(&id[..1]);
        if !directory.exists() {
            std::fs::create_dir(&directory).expect("a directory");
            std::fs::set_permissions(&directory, std::fs::Permissions::from_mode(0o700)).expect("chmod");
            chown(&directory, Some(uid), Some(gid)).expect("chown");
        }
        std::fs::rename(&temporary, directory.join(id)).expect("rename");
    }
    let qmgr = |instance: &Instance| {
        let all = memory(instance);
        let is_qmgr = |pid: &nix::unistd::Pid| Instance::program_of(*pid) == "qmgr";
        let pid = instance.processes().into_iter().find(is_qmgr).expect("qmgr runs");
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("status");
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("VmHWM");
        let peak: u64 = peak.split_whitespace().next().and_then(|number| number.parse().ok()).expect("a number");
        (peak, all - peak.min(all))
    };
    let mut probes = 0;
    let mut new_mail = |instance: &Instance| {
        let begin = std::time::Instant::now();
        SmtpClient::greeted(instance.port()).message("", &["r@new.example"], "Subject: new\r\n\r\nx\r\n");
        probes += 1;
        let _ = sink.wait_for(probes);
        begin.elapsed()
    };

    instance.add_main_cf("defer_transports =");
    let begin = std::time::Instant::now();
    instance.start();
    let start = begin.elapsed();
    let mut slowest_new = new_mail(&instance);
    instance.wait_for_queue("active", <[String]>::is_empty);
    let begin = std::time::Instant::now();
    let listing = instance.output("postqueue", &["-p"]);
    let listing_time = begin.elapsed();
    assert!(listing.ends_with(&format!("in {count} Requests.\n")), "{}", listing.lines().last().unwrap_or_default());
    drop(listing);
    slowest_new = slowest_new.max(new_mail(&instance));
    instance.wait_for_queue("active", <[String]>::is_empty);
    let begin = std::time::Instant::now();
    let json = instance.output("postqueue", &["-j"]);
    let json_time = begin.elapsed();
    assert_eq!(json.lines().count(), count);
    drop(json);
    let before = qmgr(&instance);

    // Counted in the log: to look at so many files would cost more than their delivery.
    let mut removals = Removals::follow(&instance);
    let begin = std::time::Instant::now();
    instance.output("postqueue", &["-f"]);
    let (mut gone, mut progress) = (0, std::time::Instant::now());
    while gone < count {
        slowest_new = slowest_new.max(new_mail(&instance));
        let now = removals.of_pattern();
        if now > gone {
            (gone, progress) = (now, std::time::Instant::now());
        }
        assert!(progress.elapsed() < PATIENCE, "only {gone} messages have gone");
    }
    instance.wait_for_queue("deferred", <[String]>::is_empty);
    instance.wait_for_queue("active", <[String]>::is_empty);
    let drain = begin.elapsed();
    let after = qmgr(&instance);
    Deep {
        start,
        listing: listing_time,
        json: json_time,
        slowest_new,
        drain,
        memory: before.0.max(after.0),
        memory_of_others: before.1.max(after.1),
    }
}

#[test]
fn a_deep_queue_holds_nobody_up() {
    let seen = deep_queue(3000);
    assert!(seen.memory < 100_000, "{seen:?}");
}

/// DESIGN: one instance holds a million queued messages. POSTHOUSE_MESSAGES says how many it is to be.
#[test]
#[ignore = "takes minutes and gigabytes: cargo nextest run --run-ignored only a_million"]
fn a_million_deferred_messages_in_the_long_run() {
    let count = std::env::var("POSTHOUSE_MESSAGES").ok().and_then(|text| text.parse().ok()).unwrap_or(1_000_000);
    let seen = deep_queue(count);
    let _ = std::io::stderr().write_all(format!("{count} messages: {seen:#?}\n").as_bytes());
    let per_second = count as f64 / seen.drain.as_secs_f64();
    assert!(seen.memory < 150_000, "the queue manager takes {} KB", seen.memory);
    assert!(seen.memory_of_others < 300_000, "the others take {} KB", seen.memory_of_others);
    assert!(seen.slowest_new < Duration::from_secs(20), "new mail waited {:?}", seen.slowest_new);
    assert!(seen.start < Duration::from_secs(120), "the start took {:?}", seen.start);
    assert!(seen.listing < Duration::from_secs(120) && seen.json < Duration::from_secs(120), "{seen:?}");
    assert!(per_second > 300.0, "{per_second:.0} messages a second");
}
