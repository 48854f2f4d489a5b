//! A private mail system: configuration, spool, data and log below one temporary directory.

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::time::Instant;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Group, Pid, User};
use tempfile::TempDir;

use crate::{Log, PATIENCE, Suite, ports};

/// Who runs an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunAs {
    /// root, with an account per service.
    Root,
    /// A user without privilege: the one who runs the tests, or `nobody` when that is root.
    User,
}

/// A mail system of its own. It is stopped when it goes out of scope.
#[derive(Debug)]
pub struct Instance {
    directory: TempDir,
    suite: Suite,
    run_as: RunAs,
    smtp_port: u16,
    started: bool,
}

impl Instance {
    /// An instance with the usual settings; not started.
    #[must_use]
    pub fn new(suite: &Suite, run_as: RunAs) -> Instance {
        let directory = tempfile::Builder::new().prefix("mail-").tempdir().expect("temporary directory");
        let instance = Instance { directory, suite: suite.clone(), run_as, smtp_port: ports::free(), started: false };
        instance.make_directories();
        instance.write_configuration();
        instance
    }

    /// An instance of our suite, run by a user without privilege, with more `main.cf` lines; started.
    #[must_use]
    pub fn running(main_cf: &str) -> Instance {
        let mut instance = Instance::new(&Suite::ours(), RunAs::User);
        instance.add_main_cf(main_cf);
        instance.start();
        instance
    }

    /// Its directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// `config_directory`
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.path().join("etc")
    }

    /// `queue_directory`
    #[must_use]
    pub fn spool(&self) -> PathBuf {
        self.path().join("spool")
    }

    /// Where the mail of local and virtual users goes.
    #[must_use]
    pub fn mail(&self) -> PathBuf {
        self.path().join("mail")
    }

    /// The port of its smtp service on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.smtp_port
    }

    /// Its log.
    #[must_use]
    pub fn log(&self) -> Log {
        Log::follow(&self.path().join("log/maillog"))
    }

    /// Adds lines to main.cf; they replace earlier ones. Each parameter set twice is a warning of each program, and a
    /// dozen warnings are more than the socket of postlogd takes before postlogd runs: the reference's master then waits
    /// for ever.
    pub fn add_main_cf(&self, lines: &str) {
        let name = |line: &str| {
            let (name, _) = line.split_once('=')?;
            (!line.starts_with([' ', '\t', '#'])).then(|| name.trim().to_owned())
        };
        let new: Vec<String> = lines.lines().filter_map(name).collect();
        let path = self.config().join("main.cf");
        let text = fs::read_to_string(&path).expect("main.cf");
        let kept = text.lines().filter(|line| name(line).is_none_or(|name| !new.contains(&name)));
        let kept: String = kept.map(|line| format!("{line}\n")).collect();
        fs::write(&path, kept).expect("write main.cf");
        self.append("main.cf", lines);
    }

    /// Adds lines to master.cf.
    pub fn add_master_cf(&self, lines: &str) {
        self.append("master.cf", lines);
    }

    /// Writes a file below the configuration directory and returns its path.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.config().join(name);
        fs::write(&path, content).expect("write a configuration file");
        self.give(&path);
        path
    }

    fn append(&self, name: &str, lines: &str) {
        let path = self.config().join(name);
        let mut file = fs::OpenOptions::new().append(true).open(path).expect("open a configuration file");
        writeln!(file, "{lines}").expect("write");
    }

    /// A command of the suite, for this instance, as whom it runs.
    #[must_use]
    pub fn command(&self, tool: &str) -> Command {
        self.command_of(&self.suite, tool)
    }

    /// A command of another suite, for this instance.
    #[must_use]
    pub fn command_of(&self, suite: &Suite, tool: &str) -> Command {
        let program = suite.command(tool);
        let mut command = match self.user() {
            Some((uid, gid)) => {
                let mut command = Command::new("setpriv");
                command.args([&format!("--reuid={uid}"), &format!("--regid={gid}"), "--clear-groups", "--"]);
                command.arg(program.get_program());
                command
            }
            None => Command::new(program.get_program()),
        };
        suite.prepare(&mut command);
        command.env("MAIL_CONFIG", self.config()).env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("TZ", "UTC");
        command.current_dir(self.path());
        command
    }

    /// Runs a command of the suite.
    #[must_use]
    pub fn run(&self, tool: &str, arguments: &[&str]) -> Output {
        self.run_with_input(tool, arguments, b"")
    }

    /// Runs a command of the suite with standard input.
    #[must_use]
    pub fn run_with_input(&self, tool: &str, arguments: &[&str], input: &[u8]) -> Output {
        let mut command = self.command(tool);
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{tool}: {error}"));
        let mut stdin = child.stdin.take().expect("standard input is a pipe");
        let input = input.to_vec();
        // A program that does not read all of it is no reason to hang.
        let writer = std::thread::spawn(move || drop(stdin.write_all(&input)));
        let output = child.wait_with_output().expect("wait for the command");
        writer.join().expect("the writer does not panic");
        output
    }

    /// Runs a command that must succeed, and returns its standard output.
    ///
    /// # Panics
    /// When it fails.
    pub fn output(&self, tool: &str, arguments: &[&str]) -> String {
        let output = self.run(tool, arguments);
        assert!(
            output.status.success(),
            "{tool} {arguments:?}: {}: {}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Submits a message with sendmail.
    ///
    /// # Panics
    /// When sendmail fails.
    pub fn sendmail(&self, arguments: &[&str], message: &str) {
        let output = self.run_with_input("sendmail", arguments, message.as_bytes());
        assert!(output.status.success(), "sendmail {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// Starts it.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start(&mut self) {
        let output = self.start_command();
        let log = fs::read_to_string(self.path().join("log/maillog")).unwrap_or_default();
        assert!(
            output.status.success(),
            "start: {}\n{}{}\n{log}",
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        self.started = true;
    }

    /// Starts it again after its master was killed; false when that does not work yet.
    #[must_use]
    pub fn try_start(&self) -> bool {
        self.start_command().status.success()
    }

    fn start_command(&self) -> Output {
        if self.suite.is_reference() {
            self.run("master", &["-w", "-c", &self.config().to_string_lossy()])
        } else {
            self.run("postfix", &["-c", &self.config().to_string_lossy(), "start"])
        }
    }

    /// Stops it, and waits until none of its processes is left; what does not go by itself is killed.
    pub fn stop(&mut self) {
        if !self.started {
            return;
        }
        self.started = false;
        if let Some(master) = self.master() {
            let _ = kill(master, Signal::SIGTERM);
            self.wait_for_master_end();
        }
        for process in self.processes() {
            let _ = kill(process, Signal::SIGKILL);
        }
    }

    /// Kills all of it at once, as a power cut would. It can be started again.
    pub fn kill(&mut self) {
        self.started = false;
        loop {
            let processes = self.processes();
            if processes.is_empty() {
                return;
            }
            for process in processes {
                let _ = kill(process, Signal::SIGKILL);
            }
            std::thread::yield_now();
        }
    }

    /// Waits until nobody holds the lock that master holds as long as it lives.
    ///
    /// # Panics
    /// When it does not end in time.
    pub fn wait_for_master_end(&self) {
        let path = self.spool().join("pid/master.pid");
        let Ok(file) = fs::File::open(path) else { return };
        let (sender, ended) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let _ = sender.send(nix::fcntl::Flock::lock(file, nix::fcntl::FlockArg::LockShared).is_ok());
        });
        assert_eq!(ended.recv_timeout(PATIENCE), Ok(true), "master does not end");
    }

    /// The processes of this instance, master first: those whose working directory is its spool.
    #[must_use]
    pub fn processes(&self) -> Vec<Pid> {
        let spool = self.spool();
        let mut found = Vec::new();
        for entry in fs::read_dir("/proc").expect("read /proc").flatten() {
            let Ok(pid) = entry.file_name().to_string_lossy().parse::<i32>() else { continue };
            if fs::read_link(entry.path().join("cwd")).is_ok_and(|cwd| cwd == spool) {
                found.push(Pid::from_raw(pid));
            }
        }
        let master = self.master();
        found.sort_by_key(|pid| (Some(*pid) != master, pid.as_raw()));
        found
    }

    /// What a process of this instance runs: `smtpd`, `qmgr`, ...; empty when it has ended.
    #[must_use]
    pub fn program_of(process: Pid) -> String {
        let name = fs::read_to_string(format!("/proc/{process}/comm")).unwrap_or_default();
        name.trim().to_owned()
    }

    /// Takes the spool of another instance, which has been stopped.
    ///
    /// # Panics
    /// When it cannot be moved.
    pub fn take_spool(&self, other: &Instance) {
        fs::remove_dir_all(self.spool()).expect("remove the empty spool");
        fs::rename(other.spool(), self.spool()).expect("move the spool");
    }

    /// The process id of its master.
    #[must_use]
    pub fn master(&self) -> Option<Pid> {
        let text = fs::read_to_string(self.spool().join("pid/master.pid")).ok()?;
        text.trim().parse().ok().map(Pid::from_raw)
    }

    /// The suite it runs.
    #[must_use]
    pub fn suite(&self) -> &Suite {
        &self.suite
    }

    /// Names of the queue files in a queue directory, at any depth.
    #[must_use]
    pub fn queue_files(&self, queue: &str) -> Vec<String> {
        fn walk(directory: &Path, found: &mut Vec<String>) {
            for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
                if entry.path().is_dir() {
                    walk(&entry.path(), found);
                } else {
                    found.push(entry.file_name().to_string_lossy().into_owned());
                }
            }
        }
        let mut found = Vec::new();
        walk(&self.spool().join(queue), &mut found);
        found.sort();
        found
    }

    /// The messages of a Maildir below [`Instance::mail`].
    #[must_use]
    pub fn maildir(&self, name: &str) -> Vec<String> {
        let directory = self.mail().join(name).join("new");
        let mut files: Vec<PathBuf> =
            fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
        files.sort();
        files
            .iter()
            .map(|file| String::from_utf8_lossy(&fs::read(file).expect("read a message")).into_owned())
            .collect()
    }

    /// Waits until the names of the files in a queue directory are as wanted.
    ///
    /// # Panics
    /// When they do not become so in time.
    pub fn wait_for_queue(&self, queue: &str, wanted: impl Fn(&[String]) -> bool) {
        let end = Instant::now() + PATIENCE;
        loop {
            // The watch comes before the look, so that nothing happens between them; hashed directories come and go.
            let watch = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC).expect("inotify");
            let top = self.spool().join(queue);
            let below = fs::read_dir(&top).into_iter().flatten().flatten().map(|entry| entry.path());
            let events = AddWatchFlags::IN_CREATE | AddWatchFlags::IN_DELETE | AddWatchFlags::IN_MOVE;
            for directory in std::iter::once(top.clone()).chain(below.filter(|path| path.is_dir())) {
                let _ = watch.add_watch(&directory, events);
            }
            let files = self.queue_files(queue);
            if wanted(&files) {
                return;
            }
            assert!(Instant::now() < end, "{queue} has {files:?}");
            let mut fds = [PollFd::new(watch.as_fd(), PollFlags::POLLIN)];
            let _ = poll(&mut fds, PollTimeout::from(500_u16));
        }
    }

    /// Starts it with `postfix start-fg`.
    #[must_use]
    pub fn foreground(&self) -> Foreground {
        let mut command = self.command("postfix");
        command.arg("-c").arg(self.config()).arg("start-fg");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut child = command.spawn().expect("postfix");
        let stdout = child.stdout.take().expect("standard output is a pipe");
        Foreground { child, lines: BufReader::new(stdout) }
    }

    /// The name of the user who runs an instance without privilege.
    #[must_use]
    pub fn user_name() -> String {
        let uid = nix::unistd::geteuid();
        let uid = if uid.is_root() { 65534.into() } else { uid };
        User::from_uid(uid).ok().flatten().expect("the user has a name").name
    }

    /// User and group id of who runs this instance.
    #[must_use]
    pub fn ids(&self) -> (u32, u32) {
        self.user().unwrap_or_else(|| (nix::unistd::getuid().as_raw(), nix::unistd::getgid().as_raw()))
    }

    /// User and group that run an instance without privilege, when that is not who runs the test.
    fn user(&self) -> Option<(u32, u32)> {
        (self.run_as == RunAs::User && nix::unistd::geteuid().is_root()).then_some((65534, 65534))
    }

    fn owner(&self) -> (String, String) {
        let name = |uid: nix::unistd::Uid| User::from_uid(uid).ok().flatten().map(|user| user.name);
        let group = |gid: nix::unistd::Gid| Group::from_gid(gid).ok().flatten().map(|group| group.name);
        match (self.run_as, self.user()) {
            (RunAs::Root, _) => ("postfix".to_owned(), "postdrop".to_owned()),
            (RunAs::User, Some((uid, gid))) => (name(uid.into()).expect("nobody"), group(gid.into()).expect("nogroup")),
            (RunAs::User, None) => (
                name(nix::unistd::getuid()).expect("the user who runs the test has a name"),
                group(nix::unistd::getgid()).expect("and a group"),
            ),
        }
    }

    /// Gives a file to the user who runs an instance without privilege.
    fn give(&self, path: &Path) {
        if let Some((uid, gid)) = self.user() {
            chown(path, Some(uid), Some(gid)).expect("chown");
        }
    }

    fn make_directories(&self) {
        fs::set_permissions(self.path(), fs::Permissions::from_mode(0o755)).expect("chmod");
        for name in ["etc", "spool", "data", "log", "mail"] {
            let path = self.path().join(name);
            fs::create_dir(&path).expect("make a directory");
            self.give(&path);
        }
        if self.run_as == RunAs::Root {
            let owner = User::from_name("postfix").ok().flatten().expect("user postfix: .ci/run makes it");
            let group = Group::from_name("postdrop").ok().flatten().expect("group postdrop: .ci/run makes it");
            chown(self.path().join("data"), Some(owner.uid.as_raw()), None).expect("chown");
            for (name, mode) in SPOOL {
                let path = self.spool().join(name);
                fs::create_dir(&path).expect("make a directory");
                let (uid, gid) = match *name {
                    "pid" => (None, None),
                    "maildrop" | "public" => (Some(owner.uid.as_raw()), Some(group.gid.as_raw())),
                    _ => (Some(owner.uid.as_raw()), None),
                };
                chown(&path, uid, gid).expect("chown");
                fs::set_permissions(&path, fs::Permissions::from_mode(*mode)).expect("chmod");
            }
        }
    }

    fn write_configuration(&self) {
        let (owner, group) = self.owner();
        let at = |name: &str| self.path().join(name).display().to_string();
        let mut main = String::new();
        let mut set = |name: &str, value: &str| writeln!(main, "{name} = {value}").expect("write to a string");
        set("compatibility_level", if self.suite.is_reference() { "3.6" } else { "3.12" });
        set("queue_directory", &at("spool"));
        set("data_directory", &at("data"));
        set("daemon_directory", &self.suite.daemons.display().to_string());
        set("command_directory", &self.suite.commands.display().to_string());
        set("mail_owner", &owner);
        set("setgid_group", &group);
        set("maillog_file", &at("log/maillog"));
        set("maillog_file_prefixes", &format!("{}, /dev/stdout", at("log")));
        set("myhostname", "mail.example.com");
        set("mydomain", "example.com");
        set("mydestination", "$myhostname, example.com, localhost");
        set("inet_interfaces", "127.0.0.1");
        set("inet_protocols", "ipv4");
        set("mynetworks", "127.0.0.0/8");
        set("default_database_type", "texthash");
        set("alias_maps", "");
        set("alias_database", "");
        set("local_recipient_maps", "");
        set("smtpd_peername_lookup", "no");
        if let Some(libraries) = &self.suite.libraries {
            set("shlib_directory", &libraries.display().to_string());
            set("meta_directory", &libraries.display().to_string());
            set("import_environment", "MAIL_CONFIG MAIL_DEBUG MAIL_LOGTAG TZ LANG=C LD_LIBRARY_PATH");
        }
        let mut master = format!("127.0.0.1:{} inet n - n - - smtpd\n", self.smtp_port);
        master.push_str(SERVICES);
        if self.suite.is_reference() {
            master.push_str(REFERENCE_SERVICES);
        }
        self.write("main.cf", main);
        self.write("master.cf", master);
    }
}

/// An instance in the foreground.
#[derive(Debug)]
pub struct Foreground {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Foreground {
    /// Reads standard output up to a line that contains `part`.
    ///
    /// # Panics
    /// When it ends before.
    pub fn wait_for(&mut self, part: &str) -> String {
        let mut all = String::new();
        loop {
            let mut line = String::new();
            let count = self.lines.read_line(&mut line).expect("read standard output");
            assert!(count > 0, "no {part:?} in\n{all}");
            if line.contains(part) {
                return line;
            }
            all.push_str(&line);
        }
    }

    /// Asks it to stop, and waits for that.
    ///
    /// # Panics
    /// When it ends with an error.
    pub fn terminate(mut self) {
        let pid = i32::try_from(self.child.id()).expect("a process id");
        kill(Pid::from_raw(pid), Signal::SIGTERM).expect("kill");
        let status = self.child.wait().expect("wait");
        assert!(status.success(), "{status}");
    }
}

impl Drop for Foreground {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        self.stop();
        // What a foreground master or a failed start left.
        self.kill();
        if std::thread::panicking()
            && let Ok(log) = fs::read_to_string(self.path().join("log/maillog"))
        {
            let tail: Vec<&str> = log.lines().rev().take(60).collect();
            let tail: Vec<&str> = tail.into_iter().rev().collect();
            let mut error = std::io::stderr();
            let _ = writeln!(error, "--- log of {} ---\n{}", self.suite.name, tail.join("\n"));
        }
    }
}

/// The directories of a spool and their modes (queue_directory of the reference).
const SPOOL: &[(&str, u32)] = &[
    ("active", 0o700),
    ("bounce", 0o700),
    ("corrupt", 0o700),
    ("defer", 0o700),
    ("deferred", 0o700),
    ("flush", 0o700),
    ("hold", 0o700),
    ("incoming", 0o700),
    ("maildrop", 0o730),
    ("pid", 0o755),
    ("private", 0o700),
    ("public", 0o710),
    ("saved", 0o700),
    ("trace", 0o700),
];

/// The services that both suites have.
const SERVICES: &str = "\
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
flush unix n - n 1000? 0 flush
showq unix n - n - - showq
smtp unix - - n - - smtp
relay unix - - n - - smtp
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
local unix - n n - - local
virtual unix - n n - - virtual
postlog unix-dgram n - n - 1 postlogd
";

/// What the reference waits for when it is not there.
const REFERENCE_SERVICES: &str = "\
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
";
