//! The start-up contract, with this test program as the daemon in a process of its own: the shell puts the descriptors
//! where master would.

use std::fs;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use ipc::blocking::Connection;
use ipc::master::{Load, ToMaster, ToWorker};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};

use super::Echo;
use super::jobs::Reverse;
use crate::control::Control;

/// Names the arguments of the daemon that [`as_a_daemon`] is to be, separated by line ends.
const ARGUMENTS: &str = "SERVER_TEST_ARGUMENTS";

/// Not a test: the daemon, when the tests below start it.
#[test]
fn as_a_daemon() {
    let Ok(arguments) = std::env::var(ARGUMENTS) else { return };
    let words: Vec<_> = arguments.lines().map(Into::into).collect();
    let outcome = match words.first().and_then(|name: &std::ffi::OsString| name.to_str()) {
        Some("reverse") => crate::job::begin::<Reverse>(words),
        _ => crate::service::serve::<Echo>(words),
    };
    let code = match outcome {
        Ok(code) => i32::from(code != std::process::ExitCode::SUCCESS),
        Err(error) => {
            let _ = fs::write("/dev/stderr", format!("{error}\n"));
            1
        }
    };
    log::finish();
    std::process::exit(code);
}

/// Master's side of one worker.
pub(super) struct Daemon {
    pub(super) directory: tempfile::TempDir,
    pub(super) child: Child,
    pub(super) control: Option<Control>,
}

impl Daemon {
    /// Starts `program` with the `arguments` behind `-n`, `-t`; listens at `private/service`.
    pub(super) fn start(program: &str, arguments: &[&str], main_cf: &str) -> Daemon {
        let directory = tempfile::tempdir().expect("directory");
        let path = directory.path();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("permissions");
        fs::create_dir(path.join("private")).expect("private");
        fs::write(path.join("marker"), "").expect("marker");
        let spool = path.display();
        let main_cf = format!("queue_directory = {spool}\nmail_owner = daemon\nsetgid_group = games\n{main_cf}\n");
        fs::write(path.join("main.cf"), main_cf).expect("main.cf");
        let listener = UnixListener::bind(path.join("private/service")).expect("listener");
        listener.set_nonblocking(true).expect("nonblocking");
        let (ours, theirs) =
            socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC).expect("pair");
        let child = Self::command(program, arguments, path)
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::from(OwnedFd::from(listener)))
            .spawn()
            .expect("spawn");
        Daemon { directory, child, control: Some(Control::new(ours).expect("control")) }
    }

    fn command(program: &str, arguments: &[&str], directory: &Path) -> Command {
        let words = [&[program, "-n", "service", "-t", "unix"], arguments].concat().join("\n");
        let mut command = Command::new("/bin/sh");
        command
            .args(["-c", "exec \"$0\" \"$@\" 3<&0 4<&1 </dev/null >/dev/null"])
            .arg(std::env::current_exe().expect("this program"))
            .args(["--exact", "tests::contract::as_a_daemon", "--nocapture"])
            .env(ARGUMENTS, words)
            .env("MAIL_CONFIG", directory)
            .stderr(Stdio::piped());
        command
    }

    pub(super) fn say(&self, message: &ToWorker) {
        let packet = postcard::to_allocvec(message).expect("packet");
        nix::sys::socket::send(
            std::os::fd::AsRawFd::as_raw_fd(self.control().descriptor()),
            &packet,
            nix::sys::socket::MsgFlags::empty(),
        )
        .expect("send");
    }

    pub(super) fn welcome(&self, sessions: u32) {
        self.say(&ToWorker::Start { sessions, stress: false, solitary: false, generation: 1, wakeup: None });
    }

    fn control(&self) -> &Control {
        self.control.as_ref().expect("master is there")
    }

    /// What the worker says next, proofs of life aside.
    pub(super) fn hear(&self) -> Option<ToMaster> {
        loop {
            let mut packet = [0u8; 64];
            let mut fds = [nix::poll::PollFd::new(
                std::os::fd::AsFd::as_fd(self.control().descriptor()),
                nix::poll::PollFlags::POLLIN,
            )];
            assert_eq!(nix::poll::poll(&mut fds, 20_000u16).expect("poll"), 1, "the worker is silent");
            let mut descriptors = Vec::new();
            let fd = std::os::fd::AsFd::as_fd(self.control().descriptor());
            let length = sys::passing::receive(fd, &mut packet, &mut descriptors).unwrap_or(0);
            if length == 0 {
                return None;
            }
            let message = postcard::from_bytes(&packet[..length]).expect("message");
            if message != ToMaster::Alive {
                return Some(message);
            }
        }
    }

    pub(super) fn connect(&self) -> Connection {
        let path = self.directory.path().join("private/service");
        Connection::connect(&path, Some(Duration::from_secs(20))).expect("connect")
    }

    fn try_connect(&self) -> Option<Connection> {
        let path = self.directory.path().join("private/service");
        Connection::connect(&path, Some(Duration::from_secs(20))).ok()
    }

    pub(super) fn ask(&self, text: &str) -> String {
        let mut connection = self.connect();
        connection.send(text).expect("send");
        connection.expect().expect("answer")
    }

    /// Exit status and what came on standard error.
    pub(super) fn end(mut self) -> (Option<i32>, String) {
        let status = self.child.wait().expect("wait");
        let mut text = String::new();
        self.child.stderr.take().expect("stderr").read_to_string(&mut text).expect("read");
        (status.code(), text)
    }
}

#[test]
fn a_worker_serves_reports_its_load_and_drains() {
    let daemon = Daemon::start("echo", &[], "");
    daemon.welcome(2);
    assert_eq!(daemon.hear(), Some(ToMaster::Ready));
    let mut first = daemon.connect();
    first.send("one").expect("send");
    assert_eq!(first.expect::<String>().expect("answer"), "one");
    assert_eq!(daemon.hear(), Some(ToMaster::Load(Load::Some)));
    let mut second = daemon.connect();
    second.send("two").expect("send");
    assert_eq!(second.expect::<String>().expect("answer"), "two");
    assert_eq!(daemon.hear(), Some(ToMaster::Load(Load::Full)));
    // A third client is not taken: it waits for a place.
    let mut third = daemon.connect();
    third.send("three").expect("send");
    third.stream().set_read_timeout(Some(Duration::from_millis(100))).expect("timeout");
    assert!(third.receive::<String>().is_err(), "beyond the share");
    third.stream().set_read_timeout(Some(Duration::from_secs(20))).expect("timeout");
    drop(first);
    assert_eq!(third.expect::<String>().expect("answer"), "three");
    daemon.say(&ToWorker::Sessions(5));
    assert_eq!(daemon.hear(), Some(ToMaster::Load(Load::Some)));
    daemon.say(&ToWorker::Drain);
    assert_eq!(daemon.hear(), Some(ToMaster::Draining));
    let serving: Vec<_> = std::iter::from_fn(|| daemon.hear()).collect();
    assert_eq!(serving, [ToMaster::Serving(2), ToMaster::Serving(1), ToMaster::Serving(0)]);
    let (code, text) = daemon.end();
    assert_eq!((code, text.as_str()), (Some(0), ""));
}

#[test]
fn an_idle_worker_says_so_and_leaves() {
    let daemon = Daemon::start("echo", &["-o", "{ max_idle = 2s }"], "");
    daemon.welcome(0);
    assert_eq!(daemon.hear(), Some(ToMaster::Ready));
    assert_eq!(daemon.ask("x"), "x");
    assert_eq!(daemon.hear(), Some(ToMaster::Load(Load::Some)));
    assert_eq!(daemon.hear(), Some(ToMaster::Load(Load::Idle)));
    assert_eq!(daemon.hear(), Some(ToMaster::Draining));
    assert_eq!(daemon.end().0, Some(0));
}

#[test]
fn each_place_serves_max_use_clients() {
    let daemon = Daemon::start("echo", &["-o", "max_use=3"], "service_session_limit = 1");
    daemon.welcome(0);
    assert_eq!(daemon.hear(), Some(ToMaster::Ready));
    for _ in 0..3 {
        assert_eq!(daemon.ask("x"), "x");
    }
    let heard: Vec<_> = std::iter::from_fn(|| daemon.hear()).collect();
    assert_eq!(heard.last(), Some(&ToMaster::Draining));
    assert_eq!(daemon.end().0, Some(0));
}

#[test]
fn a_worker_whose_tables_change_all_the_time_still_serves() {
    let daemon = Daemon::start("echo", &["changed"], "");
    daemon.welcome(0);
    assert_eq!(daemon.hear(), Some(ToMaster::Ready));
    assert_eq!(daemon.ask("x"), "x");
    // A second client is left to the successor; this worker may be gone before it even comes.
    let _second = daemon.try_connect();
    let heard: Vec<_> = std::iter::from_fn(|| daemon.hear()).collect();
    assert!(heard.contains(&ToMaster::Draining), "{heard:?}");
    assert_eq!(daemon.end().0, Some(0));
}

#[test]
fn the_end_of_master_is_the_end_of_its_workers() {
    let mut daemon = Daemon::start("echo", &[], "");
    daemon.welcome(0);
    assert_eq!(daemon.hear(), Some(ToMaster::Ready));
    let _client = daemon.connect();
    daemon.control = None;
    assert_eq!(daemon.end().0, Some(0));
}

#[test]
fn a_panicking_session_has_the_worker_replaced() {
    let daemon = Daemon::start("echo", &[], "");
    daemon.welcome(0);
    assert_eq!(daemon.hear(), Some(ToMaster::Ready));
    let mut victim = daemon.connect();
    victim.send("panic").expect("send");
    assert!(victim.receive::<String>().expect("closed").is_none());
    let heard: Vec<_> = std::iter::from_fn(|| daemon.hear()).collect();
    assert!(heard.contains(&ToMaster::Draining), "{heard:?}");
    assert_eq!(daemon.end().0, Some(0));
}

#[test]
fn a_stuck_event_loop_ends_the_process() {
    let daemon = Daemon::start("echo", &["-o", "daemon_timeout=1s"], "");
    daemon.welcome(0);
    assert_eq!(daemon.hear(), Some(ToMaster::Ready));
    let mut client = daemon.connect();
    client.send("stuck").expect("send");
    assert!(client.receive::<String>().expect("closed").is_none());
    // Killed by a signal: no exit code.
    assert_eq!(daemon.end().0, None);
}

#[test]
fn what_does_not_fit_is_refused_in_words() {
    let cases: [(&[&str], &str, &str); 5] = [
        (&["broken"], "", "told to fail"),
        (&["-t", "unix-dgram"], "", "service service: program cannot serve this type of socket"),
        (&["-Q"], "", "bad command line: invalid option -- 'Q'"),
        (&["-o", "max_idle=soon"], "", "max_idle"),
        (&["-s", "3"], "", "descriptor"),
    ];
    for (arguments, main_cf, wanted) in cases {
        let daemon = Daemon::start("echo", arguments, main_cf);
        daemon.welcome(0);
        let (code, text) = daemon.end();
        assert_eq!(code, Some(1), "{arguments:?}");
        assert!(text.contains(wanted), "{arguments:?}: {text}");
    }
}

#[test]
fn by_hand_there_is_nothing_to_serve() {
    let directory = tempfile::tempdir().expect("directory");
    let output = Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "tests::contract::as_a_daemon", "--nocapture"])
        .env(ARGUMENTS, "echo")
        .env("MAIL_CONFIG", directory.path())
        .stdin(Stdio::null())
        .output()
        .expect("run");
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("do not run this command by hand"));
}

#[test]
fn stand_alone_serves_standard_input() {
    let directory = tempfile::tempdir().expect("directory");
    let main_cf = format!("queue_directory = {}\n", directory.path().display());
    fs::write(directory.path().join("main.cf"), main_cf).expect("main.cf");
    let mut wire = Vec::new();
    ipc::frame::put_message(&mut wire, "hello").expect("frame");
    let input = directory.path().join("input");
    fs::write(&input, &wire).expect("input");
    let output = Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "tests::contract::as_a_daemon", "--nocapture"])
        .env(ARGUMENTS, "echo\n-S")
        .env("MAIL_CONFIG", directory.path())
        .stdin(Stdio::from(fs::File::open(&input).expect("input")))
        .output()
        .expect("run");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let at = output.stdout.windows(wire.len()).position(|window| window == wire);
    assert!(at.is_some(), "{:?}", output.stdout);
}

#[test]
fn as_root_the_rights_are_gone_and_the_root_is_the_queue() {
    if !sys::privileges::is_root() {
        return;
    }
    let id = |name: &str| sys::privileges::look_up(name).expect("look up").expect("account");
    let (owner, mail_in) = (id("daemon"), id("nobody"));
    let games = sys::privileges::look_up_group("games").expect("group");
    let daemon = Daemon::start("echo", &["-u", "-c"], "mail_in_account = nobody");
    daemon.welcome(0);
    assert_eq!(daemon.hear(), Some(ToMaster::Ready));
    let mut groups = vec![owner.gid.as_raw(), mail_in.gid.as_raw(), games.as_raw()];
    groups.sort_unstable();
    let wanted = format!("uid={} gid={} groups={groups:?} jail=true here=true", mail_in.uid, mail_in.gid);
    assert_eq!(daemon.ask("who"), wanted);
    daemon.say(&ToWorker::Drain);
    assert_eq!(daemon.end().0, Some(0));
    // Without an account of its own, and without a jail.
    let daemon = Daemon::start("echo", &["-u"], "mail_in_account = no-such-account");
    daemon.welcome(0);
    assert_eq!(daemon.hear(), Some(ToMaster::Ready));
    let wanted = format!(
        "uid={} gid={} groups=[{}] jail=false here=true",
        owner.uid,
        owner.gid,
        owner.groups.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    );
    assert_eq!(daemon.ask("who"), wanted);
    daemon.say(&ToWorker::Drain);
    assert_eq!(daemon.end().0, Some(0));
}

#[test]
fn an_unknown_mail_owner_is_fatal() {
    if !sys::privileges::is_root() {
        return;
    }
    let daemon = Daemon::start("echo", &["-u", "-o", "mail_owner=no-such-account"], "");
    daemon.welcome(0);
    let (code, text) = daemon.end();
    assert_eq!(code, Some(1));
    assert!(text.contains("parameter mail_owner: unknown user name value: no-such-account"), "{text}");
}

/// A connection that only exists to be there.
#[test]
fn many_sessions_at_once() {
    let daemon = Daemon::start("echo", &[], "");
    daemon.welcome(0);
    assert_eq!(daemon.hear(), Some(ToMaster::Ready));
    let path = daemon.directory.path().join("private/service");
    let clients: Vec<UnixStream> = (0..300).map(|_| UnixStream::connect(&path).expect("connect")).collect();
    let mut connections: Vec<Connection> = clients.into_iter().map(Connection::new).collect();
    for connection in &mut connections {
        connection.send("x").expect("send");
    }
    for connection in &mut connections {
        assert_eq!(connection.expect::<String>().expect("answer"), "x");
    }
    daemon.say(&ToWorker::Drain);
    assert_eq!(daemon.end().0, Some(0));
}
