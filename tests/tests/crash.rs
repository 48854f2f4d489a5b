//! Nothing acknowledged is lost: killed processes, a full spool, the order of flush and reply.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, BufRead, BufReader, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use posthouse_tests::instance::RunAs;
use posthouse_tests::{Instance, PATIENCE, Sink, SmtpClient, Suite};

/// Quick retries, so that a test need not wait for what a killed program leaves behind.
const QUICK: &str = "minimal_backoff_time = 1s\nmaximal_backoff_time = 2s\nqueue_run_delay = 1s\n\
    transport_retry_time = 1s\nservice_throttle_time = 1s\n";
/// Deliveries that run at once: `default_destination_concurrency_limit`.
const IN_FLIGHT: usize = 20;

/// A client that reports instead of panicking, because its server is killed now and then.
struct Sender {
    reader: BufReader<TcpStream>,
}

impl Sender {
    fn connect(port: u16) -> io::Result<Sender> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        let mut sender = Sender { reader: BufReader::new(stream) };
        sender.expect("220")?;
        sender.say("EHLO client.example\r\n", "250")?;
        Ok(sender)
    }

    fn say(&mut self, text: &str, code: &str) -> io::Result<()> {
        self.reader.get_mut().write_all(text.as_bytes())?;
        self.expect(code)
    }

    fn expect(&mut self, code: &str) -> io::Result<()> {
        loop {
            let mut line = String::new();
            if self.reader.read_line(&mut line)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if line.as_bytes().get(3) == Some(&b'-') {
                continue;
            }
            return if line.starts_with(code) { Ok(()) } else { Err(io::Error::other(line)) };
        }
    }

    fn send(&mut self, name: &str) -> io::Result<()> {
        self.say("MAIL FROM:<>\r\n", "250")?;
        self.say("RCPT TO:<r@dest.example>\r\n", "250")?;
        self.say("DATA\r\n", "354")?;
        self.say(&format!("Subject: {name}\r\n\r\n{}\r\n.\r\n", "0123456789 ".repeat(90)), "250")
    }
}

/// How far the load is; the killer waits for it.
#[derive(Default)]
struct Progress {
    acknowledged: Mutex<BTreeSet<String>>,
    changed: Condvar,
    done: AtomicBool,
}

impl Progress {
    fn wait_for(&self, count: usize) {
        let end = Instant::now() + PATIENCE * 5;
        let mut acknowledged = self.acknowledged.lock().expect("lock");
        while acknowledged.len() < count && !self.done.load(Ordering::SeqCst) {
            assert!(Instant::now() < end, "the load stands still at {}", acknowledged.len());
            acknowledged = self.changed.wait_timeout(acknowledged, Duration::from_secs(1)).expect("lock").0;
        }
    }
}

fn load(port: u16, messages: usize, senders: usize, progress: &Arc<Progress>) -> Vec<std::thread::JoinHandle<()>> {
    let next = Arc::new(AtomicUsize::new(0));
    (0..senders)
        .map(|_| {
            let (progress, next) = (Arc::clone(progress), Arc::clone(&next));
            std::thread::spawn(move || {
                let mut sender = None;
                let mut tries = 0;
                let mut last_success = Instant::now();
                while next.fetch_add(1, Ordering::SeqCst) < messages {
                    loop {
                        assert!(last_success.elapsed() < PATIENCE * 3, "no message was taken for a long time");
                        // Each try is a message of its own: one that was not acknowledged may still arrive.
                        tries += 1;
                        let name = format!("{:?}-{tries}", std::thread::current().id());
                        let result = match sender.take() {
                            Some(sender) => Ok(sender),
                            None => Sender::connect(port),
                        }
                        .and_then(|mut open| open.send(&name).map(|()| open));
                        if let Ok(open) = result {
                            sender = Some(open);
                            last_success = Instant::now();
                            progress.acknowledged.lock().expect("lock").insert(name);
                            progress.changed.notify_all();
                            break;
                        }
                        std::thread::yield_now();
                    }
                }
            })
        })
        .collect()
}

/// A small generator of numbers; the seed is in the report, so that a run can be looked at again.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % sides as u64).expect("less than a usize")
    }
}

/// Kills one process, and starts the instance again when that was its master. Returns the name of what it killed.
fn kill_one(instance: &Instance, dice: &mut Dice) -> String {
    loop {
        let processes = instance.processes();
        let named: Vec<_> = processes.iter().map(|pid| (*pid, Instance::program_of(*pid))).collect();
        // Each program is as likely as any other, be there one process of it or many.
        let programs: Vec<&String> = named.iter().map(|(_, name)| name).collect::<BTreeSet<_>>().into_iter().collect();
        if programs.is_empty() {
            continue;
        }
        let wanted = programs[dice.roll(programs.len())];
        let candidates: Vec<_> = named.iter().filter(|(_, name)| name == wanted).collect();
        let (pid, name) = candidates[dice.roll(candidates.len())].clone();
        if name.is_empty() || kill(pid, Signal::SIGKILL).is_err() {
            continue;
        }
        if Some(pid) == instance.master() {
            let end = Instant::now() + PATIENCE;
            while !instance.try_start() {
                assert!(Instant::now() < end, "master does not start again");
            }
        }
        return name;
    }
}

fn subject(content: &[u8]) -> String {
    let text = String::from_utf8_lossy(content);
    text.lines().find_map(|line| line.strip_prefix("Subject: ")).unwrap_or_default().to_owned()
}

fn survives(messages: usize, kills: usize, senders: usize) {
    let sink = Sink::start();
    let instance = Instance::running(&format!("relayhost = [127.0.0.1]:{}\n{QUICK}", sink.port()));
    let seed = Instant::now().elapsed().as_nanos() as u64 ^ u64::from(std::process::id()) << 20 | 1;
    let mut dice = Dice(seed);
    let progress = Arc::new(Progress::default());
    let begin = Instant::now();
    let threads = load(instance.port(), messages, senders, &progress);
    let mut killed: BTreeMap<String, usize> = BTreeMap::new();
    for number in 1..=kills {
        progress.wait_for(number * messages / (kills + 1));
        *killed.entry(kill_one(&instance, &mut dice)).or_default() += 1;
    }
    for thread in threads {
        thread.join().expect("a sender");
    }
    let loaded = begin.elapsed();
    let acknowledged = progress.acknowledged.lock().expect("lock").clone();
    // By itself: no flush, no restart.
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    sink.wait_until("every acknowledged message", |messages| {
        counts.clear();
        for message in messages {
            *counts.entry(subject(&message.content)).or_default() += 1;
        }
        acknowledged.iter().all(|name| counts.contains_key(name))
    });
    let everything = begin.elapsed();
    instance.wait_for_queue("deferred", <[String]>::is_empty);
    let duplicates: usize = counts.values().map(|count| count - 1).sum();
    let unacknowledged = counts.keys().filter(|name| !acknowledged.contains(*name)).count();
    let report = format!(
        "{} acknowledged in {loaded:.1?}, all delivered after {everything:.1?}; {duplicates} duplicates, {unacknowledged} \
         delivered without an acknowledgement; killed {killed:?}; seed {seed}\n",
        acknowledged.len()
    );
    let _ = io::stderr().write_all(report.as_bytes());
    assert_eq!(acknowledged.len(), messages);
    assert!(duplicates <= kills * IN_FLIGHT, "{report}");
    assert!(instance.queue_files("corrupt").is_empty(), "{report}");
}

#[test]
fn killed_processes_lose_nothing() {
    survives(300, 15, 4);
}

#[test]
#[ignore = "10,000 messages and 200 kills take a minute: cargo nextest run -p posthouse-tests --run-ignored only long_run"]
fn killed_processes_lose_nothing_in_the_long_run() {
    survives(10_000, 200, 8);
}

#[test]
fn a_power_cut_of_all_processes_loses_nothing() {
    let refusing = Sink::with_answers(|line| line.starts_with("RCPT").then(|| "450 4.7.1 not now".to_owned()));
    let mut instance = Instance::running(&format!("relayhost = [127.0.0.1]:{}\n{QUICK}", refusing.port()));
    let progress = Arc::new(Progress::default());
    for thread in load(instance.port(), 100, 4, &progress) {
        thread.join().expect("a sender");
    }
    instance.kill();
    let sink = Sink::start();
    instance.add_main_cf(&format!("relayhost = [127.0.0.1]:{}", sink.port()));
    instance.start();
    let acknowledged = progress.acknowledged.lock().expect("lock").clone();
    sink.wait_until("every acknowledged message", |messages| {
        let arrived: BTreeSet<String> = messages.iter().map(|message| subject(&message.content)).collect();
        acknowledged.is_subset(&arrived)
    });
}

/// A spool of its own for the instance: a small tmpfs, seen by this thread and what it starts.
fn small_spool(instance: &Instance, megabytes: usize) {
    use nix::mount::{MsFlags, mount};
    use nix::sched::{CloneFlags, unshare};
    posthouse_tests::need_root();
    unshare(CloneFlags::CLONE_NEWNS).expect("a mount namespace");
    let none: Option<&str> = None;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).expect("private mounts");
    let (uid, gid) = instance.ids();
    let options = format!("size={megabytes}m,uid={uid},gid={gid},mode=755");
    mount(Some("tmpfs"), &instance.spool(), Some("tmpfs"), MsFlags::empty(), Some(options.as_str())).expect("mount");
}

/// Sends messages of 300 KB until one is refused; returns how many were taken, and the refusal.
fn fill(port: u16) -> (usize, String) {
    let content = format!("Subject: fill\r\n\r\n{}", format!("{}\r\n", "z".repeat(70)).repeat(4200));
    let mut taken = 0;
    let mut client = SmtpClient::greeted(port);
    loop {
        client.send("MAIL FROM:<>\r\n");
        let reply = client.reply().join("\n");
        if !reply.starts_with("250") {
            return (taken, reply);
        }
        client.command("RCPT TO:<r@dest.example>", 250);
        client.command("DATA", 354);
        client.send(&content);
        client.send(".\r\n");
        let reply = client.reply().join("\n");
        if !reply.starts_with("250") {
            return (taken, reply);
        }
        taken += 1;
        assert!(taken < 1000, "the spool does not become full");
    }
}

fn full_spool(main_cf: &str, code: &str) {
    let open = Arc::new(AtomicBool::new(false));
    let gate = Arc::clone(&open);
    let sink = Sink::with_answers(move |line| {
        (line.starts_with("RCPT") && !gate.load(Ordering::SeqCst)).then(|| "450 4.7.1 not now".to_owned())
    });
    let mut instance = Instance::new(&Suite::ours(), RunAs::User);
    small_spool(&instance, 12);
    instance.add_main_cf(&format!("relayhost = [127.0.0.1]:{}\n{QUICK}{main_cf}", sink.port()));
    instance.start();
    let (taken, reply) = fill(instance.port());
    assert!(taken > 5, "{taken} messages: {reply}");
    assert!(reply.starts_with(code), "{reply}");
    open.store(true, Ordering::SeqCst);
    let messages = sink.wait_for(taken);
    assert!(messages.iter().all(|message| message.content.len() > 290_000), "a message was cut");
    // It takes mail again, by itself.
    for queue in ["incoming", "active", "deferred"] {
        instance.wait_for_queue(queue, <[String]>::is_empty);
    }
    SmtpClient::greeted(instance.port()).message("", &["r@dest.example"], "Subject: again\r\n\r\nx\r\n");
    let messages = sink.wait_for(taken + 1);
    assert!(messages.iter().any(|message| subject(&message.content) == "again"));
}

#[test]
fn a_nearly_full_spool_refuses_before_it_is_full() {
    full_spool("message_size_limit = 1000000\nmailbox_size_limit = 0\n", "452 4.3.1 Insufficient system storage");
}

#[test]
fn a_full_spool_loses_nothing() {
    full_spool("message_size_limit = 0\nmailbox_size_limit = 0\nvirtual_mailbox_limit = 0\n", "45");
}

/// The order of system calls, as strace saw it.
#[test]
fn the_file_is_on_disk_before_the_reply() {
    let sink = Sink::with_answers(|line| line.starts_with("RCPT").then(|| "450 4.7.1 not now".to_owned()));
    let instance = Instance::running(&format!("relayhost = [127.0.0.1]:{}", sink.port()));
    let mut client = SmtpClient::greeted(instance.port());
    client.message("", &["r@dest.example"], "Subject: first\r\n\r\nx\r\n");
    let watched: Vec<_> = instance
        .processes()
        .into_iter()
        .filter(|pid| matches!(Instance::program_of(*pid).as_str(), "smtpd" | "cleanup"))
        .collect();
    assert!(watched.len() >= 2, "{watched:?}");
    let trace = instance.path().join("trace");
    let mut strace = Command::new("strace");
    strace.args(["-f", "-y", "-s", "300", "-e", "trace=fsync,fdatasync,write,writev,sendto,sendmsg", "-o"]).arg(&trace);
    for pid in &watched {
        strace.args(["-p", &pid.to_string()]);
    }
    let mut strace = strace.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().expect("strace is installed");
    let mut words = BufReader::new(strace.stderr.take().expect("a pipe")).lines();
    for _ in &watched {
        let line = words.next().expect("strace says when it is there").expect("text");
        assert!(line.contains("attached"), "{line}");
    }
    let ids: Vec<String> =
        (0..10).map(|n| client.message("", &["r@dest.example"], &format!("Subject: {n}\r\n\r\nx\r\n"))).collect();
    client.command("QUIT", 221);
    kill(nix::unistd::Pid::from_raw(strace.id() as i32), Signal::SIGINT).expect("kill");
    strace.wait().expect("wait");
    let text = std::fs::read_to_string(&trace).expect("the trace");
    for id in &ids {
        let flushed = flush_end(&text, id).unwrap_or_else(|| panic!("{id} was not flushed:\n{text}"));
        let said = text.lines().position(|line| line.contains(&format!("queued as {id}"))).expect("the reply");
        assert!(flushed < said, "{id}: the reply came before the end of the flush:\n{text}");
    }
}

/// The line at which a flush of this queue file has returned 0.
fn flush_end(trace: &str, id: &str) -> Option<usize> {
    let lines: Vec<&str> = trace.lines().collect();
    let begin = lines.iter().position(|line| {
        (line.contains(" fsync(") || line.contains(" fdatasync(")) && line.contains(&format!("/{id}"))
    })?;
    if lines[begin].ends_with("= 0") {
        return Some(begin);
    }
    let thread = lines[begin].split(' ').next()?;
    let end = lines[begin..].iter().position(|line| line.starts_with(thread) && line.contains("sync resumed"))? + begin;
    lines[end].ends_with("= 0").then_some(end)
}
