//! The `postfix` command against directories of its own. Master is played by this test: it holds the lock.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

use nix::fcntl::{Flock, FlockArg};
use nix::unistd::{Group, User, geteuid};
use tempfile::TempDir;

struct Instance {
    directory: TempDir,
}

impl Instance {
    fn new() -> Instance {
        let directory = tempfile::tempdir().expect("directory");
        let root = directory.path();
        for name in ["config", "sbin", "bin"] {
            fs::create_dir(root.join(name)).expect("directory");
        }
        let shown = root.display();
        let text = format!(
            "compatibility_level = 3.6\nqueue_directory = {shown}/queue\ndata_directory = {shown}/data\n\
             daemon_directory = {shown}/sbin\ncommand_directory = {shown}/bin\nmail_owner = daemon\n\
             setgid_group = mail\nmyhostname = mail.example.com\nmaillog_file = {shown}/maillog\n\
             maillog_file_prefixes = {shown}\n"
        );
        let instance = Instance { directory };
        fs::write(instance.path("config/main.cf"), text).expect("main.cf");
        fs::write(instance.path("config/master.cf"), "postlog unix-dgram n - n - 1 postlogd\n").expect("master.cf");
        instance.script("sbin/master", "exit 0");
        instance.script("bin/postsuper", "echo postsuper $* >> \"$MAIL_CONFIG/said\"");
        instance
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn script(&self, name: &str, text: &str) {
        fs::write(self.path(name), format!("#!/bin/sh\n{text}\n")).expect("script");
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(0o755)).expect("permissions");
    }

    fn postfix(&self, words: &[&str]) -> (Option<i32>, String) {
        let Output { status, stderr, .. } = Command::new(env!("CARGO_BIN_EXE_postfix"))
            .arg("-c")
            .arg(self.path("config"))
            .args(words)
            .env_remove("MAIL_CONFIG")
            .stdin(Stdio::null())
            .output()
            .expect("postfix");
        (status.code(), String::from_utf8_lossy(&stderr).into_owned())
    }

    /// A process that is taken for master as long as the lock is held.
    fn master(&self) -> (Child, Flock<File>) {
        let child = Command::new("/bin/cat").stdin(Stdio::piped()).spawn().expect("cat");
        let path = self.path("queue/pid/master.pid");
        fs::write(&path, format!("{:>32}\n", child.id())).expect("pid file");
        let file = File::open(&path).expect("pid file");
        (child, Flock::lock(file, FlockArg::LockExclusiveNonblock).expect("lock"))
    }
}

#[test]
fn check_makes_what_is_missing_and_is_silent_when_all_is_well() {
    let instance = Instance::new();
    let (code, text) = instance.postfix(&["check"]);
    assert_eq!((code, text.as_str()), (Some(0), ""));
    let mode = |name: &str| fs::metadata(instance.path(name)).expect(name).permissions().mode() & 0o7777;
    let wanted = [("queue", 0o755), ("queue/maildrop", 0o730), ("queue/public", 0o710), ("queue/incoming", 0o700)];
    for (name, bits) in wanted {
        assert_eq!(mode(name), bits, "{name}");
    }
    if geteuid().is_root() {
        use std::os::unix::fs::MetadataExt;
        let owner = User::from_name("daemon").expect("accounts").expect("daemon").uid.as_raw();
        let group = Group::from_name("mail").expect("groups").expect("mail").gid.as_raw();
        let drop = fs::metadata(instance.path("queue/maildrop")).expect("maildrop");
        assert_eq!((drop.uid(), drop.gid()), (owner, group));
        assert_eq!(fs::metadata(instance.path("queue/pid")).expect("pid").uid(), 0);
    }
    assert_eq!(fs::read_to_string(instance.path("config/said")).expect("postsuper ran"), "postsuper\n");
    fs::set_permissions(instance.path("queue/private"), fs::Permissions::from_mode(0o700)).expect("permissions");
    fs::set_permissions(instance.path("queue/pid"), fs::Permissions::from_mode(0o777)).expect("permissions");
    fs::write(instance.path("queue/corrupt/4FA71"), "").expect("file");
    let (code, text) = instance.postfix(&["check"]);
    assert_eq!(code, Some(0));
    assert_eq!(mode("queue/private"), 0o710, "put right");
    assert!(
        text.contains(&format!("warning: group or other writable: {}\n", instance.path("queue/pid").display())),
        "{text}"
    );
    assert!(text.contains("warning: damaged message: corrupt/4FA71"), "{text}");
    let log = fs::read_to_string(instance.path("maillog")).expect("written without postlogd");
    assert!(log.contains(" postfix/postfix-script[") && log.contains("damaged message"), "{log}");
}

#[test]
fn what_is_not_running_is_not_stopped() {
    let instance = Instance::new();
    assert_eq!(instance.postfix(&["check"]).0, Some(0));
    let (code, text) = instance.postfix(&["status"]);
    assert_eq!((code, text.as_str()), (Some(1), "postfix/postfix-script: the Postfix mail system is not running\n"));
    for command in ["stop", "abort", "drain", "reload"] {
        let (code, text) = instance.postfix(&[command]);
        let expected = "postfix/postfix-script: fatal: the Postfix mail system is not running\n";
        assert_eq!((code, text.as_str()), (Some(1), expected), "{command}");
    }
}

#[test]
fn status_stop_and_a_second_start() {
    let instance = Instance::new();
    assert_eq!(instance.postfix(&["check"]).0, Some(0));
    let (mut master, lock) = instance.master();
    let (code, text) = instance.postfix(&["status"]);
    assert_eq!(code, Some(0));
    assert_eq!(text, format!("postfix/postfix-script: the Postfix mail system is running: PID: {}\n", master.id()));
    let (code, text) = instance.postfix(&["start"]);
    assert_eq!(code, Some(1));
    assert!(text.contains("fatal: the Postfix mail system is already running"), "{text}");
    // Waiting for it must not end it.
    let _input = master.stdin.take();
    let waiting = std::thread::spawn(move || {
        let status = master.wait().expect("wait");
        drop(lock);
        status
    });
    let (code, text) = instance.postfix(&["quick-stop"]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.starts_with("postfix/postfix-script: stopping the Postfix mail system\n"), "{text}");
    let status = waiting.join().expect("thread");
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(15));

    // The marker of quick-stop: no checks this time, so nothing is put right.
    fs::remove_dir(instance.path("queue/hold")).expect("rmdir");
    assert_eq!(instance.postfix(&["start"]).0, Some(0));
    assert!(!instance.path("queue/hold").exists());
    assert_eq!(instance.postfix(&["start"]).0, Some(0));
    assert!(instance.path("queue/hold").exists());
}

#[test]
fn reload_checks_the_active_queue_first() {
    let instance = Instance::new();
    assert_eq!(instance.postfix(&["check"]).0, Some(0));
    let (mut master, _lock) = instance.master();
    instance.script("bin/postsuper", "exit 1");
    assert_eq!(instance.postfix(&["reload"]).0, Some(1));
    assert_eq!(master.try_wait().expect("wait"), None, "no signal");
    instance.script("bin/postsuper", "exit 0");
    let (code, text) = instance.postfix(&["reload"]);
    assert_eq!((code, text.as_str()), (Some(0), "postfix/postfix-script: refreshing the Postfix mail system\n"));
    let status = master.wait().expect("wait");
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(1));
}

#[test]
fn a_start_that_fails_says_why() {
    let instance = Instance::new();
    instance.script("sbin/master", "echo $* >> \"$MAIL_CONFIG/said\"; exit 1");
    let (code, text) = instance.postfix(&["-v", "start"]);
    assert_eq!(code, Some(1));
    assert!(text.contains("starting the Postfix mail system\n"), "{text}");
    assert!(text.ends_with("fatal: mail system startup failed\n"), "{text}");
    let said = fs::read_to_string(instance.path("config/said")).expect("said");
    assert!(said.ends_with(&format!("-c {} -v -w\n", instance.path("config").display())), "{said}");

    fs::write(instance.path("config/master.cf"), "# services\n\nsmtp inet n - - x - smtpd\n").expect("master.cf");
    let (code, text) = instance.postfix(&["start"]);
    assert_eq!(code, Some(1));
    assert!(text.contains("config/master.cf: line 3") || text.contains("config/master.cf, line 3"), "{text}");
    assert!(text.ends_with("fatal: Postfix integrity check failed!\n"), "{text}");

    fs::remove_file(instance.path("sbin/master")).expect("remove");
    let (code, text) = instance.postfix(&["check"]);
    assert_eq!(code, Some(1));
    assert!(text.contains("fatal: no Postfix master program"), "{text}");
}

#[test]
fn a_broken_configuration_and_unknown_commands_are_named() {
    let instance = Instance::new();
    for (words, expected) in [
        (&["tls", "enable-client"][..], "fatal: the command 'tls' is not available in this version"),
        (&["logrotate"], "fatal: the command 'logrotate' is not available in this version"),
        (&["restart"], "fatal: unknown command: 'restart'. Usage: postfix start"),
        (&["-x"], "fatal: invalid option -- 'x'"),
        (&[], "fatal: usage: postfix [-c config_dir] [-Dv] command"),
    ] {
        let (code, text) = instance.postfix(words);
        assert_eq!(code, Some(1));
        assert!(text.contains(expected), "{words:?}: {text}");
    }
    fs::write(instance.path("config/main.cf"), "myhostname = x\nnonsense\n").expect("main.cf");
    let (code, text) = instance.postfix(&["start"]);
    assert_eq!(code, Some(1));
    assert!(text.contains("config/main.cf, line 2: missing '=' after attribute name"), "{text}");
}
