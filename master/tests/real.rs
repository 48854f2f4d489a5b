//! A real master with real processes, in a directory of its own: as a plain user, and as root where the tests run as root.

mod worker;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, User, chown, geteuid};
use tempfile::TempDir;

/// Longer than anything here takes, on however slow a machine.
const PATIENCE: Duration = Duration::from_secs(20);
const NOBODY: u32 = 65534;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum As {
    Root,
    User,
}

/// Whom this process can be: root can be both.
fn identities() -> Vec<As> {
    if geteuid().is_root() { vec![As::Root, As::User] } else { vec![As::User] }
}

struct Instance {
    directory: TempDir,
    identity: As,
    log: UnixDatagram,
    wake: UnixDatagram,
    /// Lines that were received but not looked at.
    lines: RefCell<VecDeque<String>>,
    master: Option<Child>,
}

/// Who said what to a client.
#[derive(Debug)]
struct Hello {
    stream: UnixStream,
    pid: i32,
    uid: u32,
    sessions: u32,
    generation: u32,
    words: String,
}

impl Instance {
    fn new(identity: As, master_cf: &str) -> Instance {
        let directory = tempfile::tempdir().expect("directory");
        let root = directory.path();
        fs::set_permissions(root, fs::Permissions::from_mode(0o755)).expect("permissions");
        for name in ["config", "queue", "queue/pid", "queue/public", "queue/private", "data", "sbin"] {
            fs::create_dir(root.join(name)).expect("directory");
        }
        let log = UnixDatagram::bind(root.join("queue").join(worker::LOG_SOCKET)).expect("bind");
        let wake = UnixDatagram::bind(root.join("queue").join(worker::WAKE_SOCKET)).expect("bind");
        for socket in [&log, &wake] {
            socket.set_read_timeout(Some(PATIENCE)).expect("timeout");
        }
        let instance = Instance { directory, identity, log, wake, lines: RefCell::default(), master: None };
        instance.write_main_cf("");
        instance.write_master_cf(master_cf);
        for program in ["smtpd", "worker", "qmgr", "postlogd", "local", "pickup"] {
            instance.install(program);
        }
        let owner = match identity {
            As::Root => User::from_name("daemon").expect("accounts").expect("the account daemon").uid.as_raw(),
            As::User if geteuid().is_root() => NOBODY,
            As::User => geteuid().as_raw(),
        };
        for name in ["queue/public", "queue/private", "data", "queue/test-log", "queue/test-wake"] {
            chown(&instance.path(name), Some(owner.into()), None).expect("chown");
        }
        if identity == As::User && geteuid().is_root() {
            for name in ["queue", "queue/pid", "config"] {
                chown(&instance.path(name), Some(NOBODY.into()), None).expect("chown");
            }
        }
        instance
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn write_main_cf(&self, more: &str) {
        let root = self.directory.path().display();
        let text = format!(
            "compatibility_level = 3.6\nqueue_directory = {root}/queue\ndata_directory = {root}/data\n\
             daemon_directory = {root}/sbin\nmail_owner = daemon\nmaillog_file = /var/log/unused\n\
             inet_interfaces = 127.0.0.1\ninet_protocols = ipv4\nservice_throttle_time = 1s\n{more}"
        );
        fs::write(self.path("config/main.cf"), text).expect("main.cf");
    }

    fn write_master_cf(&self, text: &str) {
        fs::write(self.path("config/master.cf"), text).expect("master.cf");
    }

    /// The program of `daemon_directory` is this very test program, in the role of [`program`].
    fn install(&self, name: &str) {
        let path = self.path("sbin").join(name);
        let exe = std::env::current_exe().expect("own path");
        let queue = self.path("queue");
        let script = format!(
            "#!/bin/sh\nWORKER_QUEUE='{}' WORKER_ARGUMENTS=\"$*\" exec '{}' --exact program --ignored --nocapture\n",
            queue.display(),
            exe.display()
        );
        fs::write(&path, script).expect("program");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("permissions");
    }

    fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_master"));
        command.arg("-c").arg(self.path("config")).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        if self.identity == As::User && geteuid().is_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
        command
    }

    fn start(&mut self) {
        self.master = Some(self.command().arg("-s").spawn().expect("master"));
        self.wait_for_line("daemon started -- version");
    }

    fn pid(&self) -> Pid {
        let text = fs::read_to_string(self.path("queue/pid/master.pid")).expect("pid file");
        assert_eq!(text.len(), 33, "32 columns and a newline");
        Pid::from_raw(text.trim().parse().expect("a number"))
    }

    fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).expect("master is there");
    }

    /// Log lines up to the one that contains `text`.
    fn wait_for_line(&self, text: &str) -> Vec<String> {
        let mut seen = Vec::new();
        loop {
            while self.lines.borrow().is_empty() {
                let mut block = vec![0u8; 64 << 10];
                let length = match self.log.recv(&mut block) {
                    Ok(length) => length,
                    Err(error) => panic!("no \"{text}\" in the log ({error}): {seen:#?}"),
                };
                let block = String::from_utf8_lossy(&block[..length]).into_owned();
                self.lines.borrow_mut().extend(block.lines().map(str::to_owned));
            }
            let line = self.lines.borrow_mut().pop_front().expect("not empty");
            let found = line.contains(text);
            seen.push(line);
            if found {
                return seen;
            }
        }
    }

    fn client(&self, service: &str) -> Hello {
        let stream = UnixStream::connect(self.path("queue").join(service)).expect("connect");
        stream.set_read_timeout(Some(PATIENCE)).expect("timeout");
        let mut line = String::new();
        BufReader::new(&stream).read_line(&mut line).expect("hello");
        let mut words = line.trim_end().splitn(6, ' ');
        let mut next = || words.next().expect("a word");
        let number = |text: &str| text.parse::<u32>().expect("a number");
        let (pid, uid, sessions, _stress, generation) =
            (number(next()), number(next()), number(next()), next(), number(next()));
        Hello { stream, pid: pid as i32, uid, sessions, generation, words: next().to_owned() }
    }

    fn stop(&mut self) {
        self.signal(Signal::SIGTERM);
        self.wait_for_end();
    }

    fn wait_for_end(&mut self) {
        let status = self.master.take().expect("running").wait().expect("wait");
        assert!(status.success(), "{status}");
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        if let Some(mut master) = self.master.take() {
            // Its workers end by themselves, with the control socket.
            let _ = master.kill();
            let _ = master.wait();
        }
    }
}

const POSTLOG: &str = "postlog unix-dgram n - n - 1 postlogd\n";

/// A connection is closed by its worker's end, or there is nothing more to read.
fn is_closed(hello: &Hello) -> bool {
    let mut line = String::new();
    BufReader::new(&hello.stream).read_line(&mut line).is_ok_and(|length| length == 0)
}

#[test]
#[ignore = "the program that master starts in the other tests"]
fn program() {
    let words = std::env::var("WORKER_ARGUMENTS").expect("only to be started by master");
    let queue = std::env::var("WORKER_QUEUE").expect("only to be started by master");
    let words: Vec<&str> = words.split(' ').collect();
    std::process::exit(worker::main(&words, &queue));
}

#[test]
fn a_service_starts_on_demand_and_stops_in_order() {
    for identity in identities() {
        let mut instance = Instance::new(
            identity,
            &format!(
                "{POSTLOG}smtp unix - - n - - smtpd\n  -o {{ syslog_name = a b }} -v\nroot unix n n y - - smtpd\n"
            ),
        );
        instance.start();
        let first = instance.client("private/smtp");
        let second = instance.client("private/smtp");
        assert_eq!(first.pid, second.pid, "many clients per process");
        assert_eq!(first.words, "-n smtp -t unix -u -s 1 -o syslog_name = a b -v");
        assert_eq!(instance.client("public/root").words, "-n root -t unix -c -s 1");
        let socket = fs::metadata(instance.path("queue/private/smtp")).expect("socket");
        assert_eq!(socket.permissions().mode() & 0o777, 0o666);
        if identity == As::Root {
            let owner = std::os::unix::fs::MetadataExt::uid(&socket);
            assert_eq!(owner, User::from_name("daemon").expect("accounts").expect("daemon").uid.as_raw());
            assert_eq!(first.uid, 0, "giving up privilege is the program's own work");
        }
        assert!(!instance.command().arg("-t").status().expect("master -t").success());
        let again = instance.command().output().expect("a second master");
        let text = String::from_utf8_lossy(&again.stderr).into_owned();
        assert!(!again.status.success());
        assert!(text.contains("unable to set exclusive lock: Resource temporarily unavailable"), "{text}");
        drop((first, second));
        instance.signal(Signal::SIGTERM);
        instance.wait_for_line("terminating on signal 15");
        instance.wait_for_end();
        assert!(instance.command().arg("-t").status().expect("master -t").success());
    }
}

#[test]
fn reload_replaces_workers_without_dropping_a_client() {
    for identity in identities() {
        let old = format!("{POSTLOG}smtp unix - - n - - smtpd\ngone unix - - n - - smtpd\n");
        let mut instance = Instance::new(identity, &old);
        instance.start();
        let first = instance.client("private/smtp");
        instance.write_master_cf(&format!("{POSTLOG}smtp unix - - n - 7 smtpd\nnew unix n - n - - smtpd\n"));
        instance.write_main_cf("process_id_directory = other\n");
        instance.signal(Signal::SIGHUP);
        let lines = instance.wait_for_line("reload -- version");
        assert!(lines.iter().any(|line| line.contains("ignoring process_id_directory parameter value change")));
        // Until it hears that it shall drain, the old worker may take what comes; each time a client is sent away.
        let second = std::iter::repeat_with(|| instance.client("private/smtp"))
            .take(1000)
            .find(|client| client.pid != first.pid)
            .expect("a worker that knows the new configuration");
        assert_eq!((second.sessions, second.generation), (7, 1));
        assert_eq!(instance.client("public/new").generation, 1);
        UnixStream::connect(instance.path("queue/private/gone")).expect_err("no longer offered");
        kill(Pid::from_raw(first.pid), None).expect("the old worker still has its client");
        instance.write_master_cf("smtp unix - - x - - smtpd\n");
        instance.signal(Signal::SIGHUP);
        let lines = instance.wait_for_line("reload failed");
        assert!(lines.iter().any(|line| line.contains("line 1: bad chroot value: \"x\"")), "{lines:#?}");
        assert_eq!(instance.client("private/smtp").pid, second.pid);
        drop(first);
        drop(second);
        instance.stop();
    }
}

#[test]
fn what_dies_is_replaced_and_what_cannot_start_is_throttled() {
    for identity in identities() {
        let services = format!(
            "{POSTLOG}smtp unix - - n - - smtpd\nbad unix - - n - - worker\nnothing unix - - n - - nothing\n\
             scache unix - - n - 1 scache\nqmgr unix n - n 300 1 qmgr\n"
        );
        let mut instance = Instance::new(identity, &services);
        instance.master = Some(instance.command().arg("-s").spawn().expect("master"));
        let lines = instance.wait_for_line("daemon started");
        let said = |text: &str| lines.iter().filter(|line| line.contains(text)).count();
        assert_eq!((said("\"nothing\""), said("\"scache\"")), (1, 1), "{lines:#?}");
        UnixStream::connect(instance.path("queue/private/nothing")).expect_err("not offered");

        let first = instance.client("private/smtp");
        kill(Pid::from_raw(first.pid), Signal::SIGKILL).expect("kill");
        assert!(is_closed(&first));
        instance.wait_for_line(&format!("smtpd pid {} killed by signal 9", first.pid));
        assert_ne!(instance.client("private/smtp").pid, first.pid);

        let mut name = [0u8; 16];
        let length = instance.wake.recv(&mut name).expect("woken at the start");
        assert_eq!(&name[..length], b"qmgr");
        let qmgr = instance.client("public/qmgr");
        kill(Pid::from_raw(qmgr.pid), Signal::SIGKILL).expect("kill");
        instance.wake.recv(&mut name).expect("and again when it has died");

        let _bad = UnixStream::connect(instance.path("queue/private/bad")).expect("connect");
        instance.wait_for_line("exit status 1");
        instance.wait_for_line("bad command startup -- throttling");
        instance.wait_for_line("bad command startup -- throttling");
        instance.stop();
    }
}

#[test]
fn a_limit_holds_and_the_waiting_client_is_served_when_there_is_room() {
    for identity in identities() {
        let services = format!("{POSTLOG}smtp unix n - n - 2 smtpd\nlocal unix - - n - 2 local\n");
        let mut instance = Instance::new(identity, &services);
        instance.start();
        let one = instance.client("public/smtp");
        let two = instance.client("public/smtp");
        assert_eq!((one.pid, one.sessions), (two.pid, 2));
        let waiting = UnixStream::connect(instance.path("queue/public/smtp")).expect("connect");
        waiting.set_read_timeout(Some(PATIENCE)).expect("timeout");
        instance.wait_for_line("has reached its process limit \"2\": new clients may experience noticeable delays");
        drop(one);
        let mut line = String::new();
        BufReader::new(&waiting).read_line(&mut line).expect("served after all");
        assert_eq!(line.split(' ').nth(3), Some("true"), "under stress: {line}");

        let jobs = [instance.client("private/local"), instance.client("private/local")];
        assert_ne!(jobs[0].pid, jobs[1].pid, "one job per process");
        drop(jobs);
        drop(two);
        drop(waiting);
        instance.stop();
    }
}

#[test]
fn workers_end_when_master_is_gone() {
    for identity in identities() {
        let mut instance = Instance::new(identity, &format!("{POSTLOG}smtp unix - - n - - smtpd\n"));
        instance.start();
        let first = instance.client("private/smtp");
        instance.signal(Signal::SIGKILL);
        instance.master.take().expect("running").wait().expect("wait");
        assert!(is_closed(&first));
        instance.start();
        assert_ne!(instance.client("private/smtp").pid, first.pid);
        instance.stop();
    }
}

#[test]
fn background_start_says_whether_it_worked() {
    for identity in identities() {
        let mut instance = Instance::new(identity, &format!("{POSTLOG}smtp unix - - n - - smtpd\n"));
        let output = instance.command().arg("-w").output().expect("master -w");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let pid = instance.pid();
        assert_eq!(nix::unistd::getsid(Some(pid)), Ok(pid), "a session of its own");
        instance.client("private/smtp");
        instance.signal(Signal::SIGQUIT);
        instance.wait_for_line("terminating on signal 3");

        instance = Instance::new(identity, "smtp unix - - n - - smtpd\nnosuchport inet n - n - - smtpd\n");
        let output = instance.command().arg("-w").output().expect("master -w");
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success());
        assert!(text.contains("nosuchport") && text.contains("daemon initialization failure"), "{text}");
    }
}

#[test]
fn an_internet_address_in_use_is_fatal_and_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
    let port = taken.local_addr().expect("address").port();
    for identity in identities() {
        let instance = Instance::new(identity, &format!("{port} inet n - n - - smtpd\n"));
        let output = instance.command().output().expect("master");
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success());
        assert!(text.contains(&format!("fatal: bind 127.0.0.1 port {port}: Address already in use")), "{text}");
    }
}

#[test]
fn the_configuration_is_named_with_file_and_line() {
    let instance = Instance::new(As::User, "smtp unix - -\n");
    let output = instance.command().output().expect("master");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(text.contains("config/master.cf, line 1: bad field count"), "{text}");
    let path: &Path = &instance.path("config/main.cf");
    fs::write(path, "queue_directory\n").expect("main.cf");
    let output = instance.command().output().expect("master");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(text.contains("main.cf, line 1: missing '='"), "{text}");
}
