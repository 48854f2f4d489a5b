//! As root: who runs as whom and where, and what each may not do. Needs the accounts that `.ci/run` makes.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;
use std::process::{Command, Stdio};

use nix::unistd::{Group, Pid, User};
use posthouse_tests::instance::RunAs;
use posthouse_tests::{Instance, Sink, SmtpClient, Suite, need_root};

fn uid_of(name: &str) -> u32 {
    User::from_name(name).ok().flatten().unwrap_or_else(|| panic!("no user {name}: .ci/run makes it")).uid.as_raw()
}

/// The services in the jail, as upstream's master.cf can have them.
fn jailed(sink: &Sink, more: &str) -> Instance {
    let mut instance = Instance::new(&Suite::ours(), RunAs::Root);
    instance.add_main_cf(&format!("relayhost = [127.0.0.1]:{}\n{more}", sink.port()));
    let master = fs::read_to_string(instance.config().join("master.cf")).expect("master.cf");
    let lines: Vec<String> = master
        .lines()
        .map(|line| {
            let mut words: Vec<&str> = line.split_whitespace().collect();
            if !["local", "virtual", "postlogd", "pipe"].contains(words.last().expect("a program")) {
                words[4] = "y";
            }
            words.join(" ")
        })
        .collect();
    instance.write("master.cf", lines.join("\n") + "\n");
    instance.start();
    instance
}

/// The four user ids and the capabilities that a process could still use.
fn identity(process: Pid) -> (Vec<u32>, String) {
    let status = fs::read_to_string(format!("/proc/{process}/status")).expect("status");
    let line =
        |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().trim().to_owned();
    (line("Uid:").split_whitespace().map(|id| id.parse().expect("a number")).collect(), line("CapPrm:"))
}

/// Whether set-uid programs have no effect below a process, and how its system calls are restricted (2: by a filter).
fn confinement(process: Pid) -> (String, String) {
    let status = fs::read_to_string(format!("/proc/{process}/status")).expect("status");
    let line =
        |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().trim().to_owned();
    (line("NoNewPrivs:"), line("Seccomp:"))
}

fn filters_exist() -> bool {
    fs::read_to_string("/proc/sys/kernel/seccomp/actions_avail").is_ok_and(|actions| actions.contains("errno"))
}

#[test]
fn each_daemon_has_its_account_and_root_directory() {
    need_root();
    let sink = Sink::start();
    let instance = jailed(&sink, "");
    let mut client = SmtpClient::greeted(instance.port());
    client.message("s@client.example", &["r@dest.example"], "Subject: x\r\n\r\nx\r\n");
    let _ = sink.wait_for(1);
    instance.output("postqueue", &["-p"]);
    let mut seen = Vec::new();
    let mut report = String::new();
    for process in instance.processes() {
        let program = Instance::program_of(process);
        let (uids, capabilities) = identity(process);
        let root = fs::read_link(format!("/proc/{process}/root")).expect("root directory");
        let (account, in_jail) = match program.as_str() {
            "master" => ("root", false),
            "local" | "virtual" => continue,
            "smtpd" => ("posthouse-in", true),
            "smtp" => ("posthouse-out", true),
            "resolver" => ("posthouse-dns", true),
            "postlogd" => ("postfix", false),
            _ => ("postfix", true),
        };
        report.push_str(&format!("{program}: {account}, {}\n", root.display()));
        assert_eq!(uids, [uid_of(account); 4], "{program}");
        let (no_new_privileges, filter) = confinement(process);
        assert_eq!(no_new_privileges == "1", program != "master", "{program}");
        assert!(filter == "2" || program == "master" || !filters_exist(), "{program}: {filter}");
        let expected = if in_jail { instance.spool() } else { "/".into() };
        if program != "resolver" {
            assert_eq!(root, expected, "{program}");
        }
        if account != "root" {
            assert_eq!(capabilities.trim_start_matches('0'), "", "{program} has capabilities");
        }
        seen.push(program);
    }
    for program in ["master", "smtpd", "cleanup", "qmgr", "smtp", "trivial-rewrite", "showq"] {
        assert!(seen.iter().any(|one| one == program), "{program} does not run: {seen:?}");
    }
    let _ = std::io::stderr().write_all(report.as_bytes());
}

/// Runs a shell command as another user, with that user's groups only.
fn as_user(user: &str, group: Option<&str>, command: &mut Command) -> std::process::Output {
    let mut outer = Command::new("setpriv");
    outer.arg(format!("--reuid={user}"));
    outer.arg(format!("--regid={}", group.unwrap_or(user))).arg("--clear-groups").arg("--").arg(command.get_program());
    outer.args(command.get_args());
    for (name, value) in command.get_envs() {
        if let Some(value) = value {
            outer.env(name, value);
        }
    }
    outer.stdin(Stdio::null()).output().expect("setpriv")
}

#[test]
fn queued_mail_is_for_nobody_else() {
    need_root();
    let sink = Sink::with_answers(|line| line.starts_with("RCPT").then(|| "450 4.7.1 not now".to_owned()));
    let instance = jailed(&sink, "");
    let id = SmtpClient::greeted(instance.port()).message("", &["r@dest.example"], "Subject: x\r\n\r\nsecret\r\n");
    instance.wait_for_queue("deferred", |files| files.contains(&id));
    let file = find(&instance.spool().join("deferred"), &id).expect("the queue file");
    let metadata = fs::metadata(&file).expect("metadata");
    assert_eq!((metadata.uid(), metadata.mode() & 0o7777), (uid_of("postfix"), 0o700));
    // smtp gets descriptors, and cannot open a file itself; smtpd neither, nor an ordinary user.
    for user in ["posthouse-out", "posthouse-in", "posthouse-dns", "posthouse-test"] {
        let output = as_user(user, None, Command::new("cat").arg(&file));
        assert!(!output.status.success(), "{user} can read queued mail");
        let output = as_user(user, None, Command::new("ls").arg(instance.spool().join("deferred")));
        assert!(!output.status.success(), "{user} can list the queue");
        let output = as_user(user, None, Command::new("ls").arg(instance.spool().join("maildrop")));
        assert!(!output.status.success(), "{user} can list maildrop");
    }
    let output = as_user("postfix", None, Command::new("cat").arg(&file));
    assert!(output.status.success(), "postfix owns the queue");
}

fn find(directory: &Path, name: &str) -> Option<std::path::PathBuf> {
    for entry in fs::read_dir(directory).ok()?.flatten() {
        if entry.file_name().to_string_lossy() == name {
            return Some(entry.path());
        }
        if entry.path().is_dir()
            && let Some(found) = find(&entry.path(), name)
        {
            return Some(found);
        }
    }
    None
}

/// Fails unless the smtp client runs without a right to the queue: its own view, through its process.
#[test]
fn the_smtp_client_cannot_open_a_queue_file() {
    need_root();
    let sink = Sink::start();
    let instance = jailed(&sink, "");
    let mut client = SmtpClient::greeted(instance.port());
    client.message("", &["r@dest.example"], "Subject: x\r\n\r\nx\r\n");
    let _ = sink.wait_for(1);
    let smtp = instance.processes().into_iter().find(|pid| Instance::program_of(*pid) == "smtp").expect("smtp runs");
    let status = fs::read_to_string(format!("/proc/{smtp}/status")).expect("status");
    let field = |name: &str| -> Vec<u32> {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
        line.split_whitespace().filter_map(|word| word.parse().ok()).collect()
    };
    let (uid, gid) = (field("Uid:")[1], field("Gid:")[1]);
    let groups = field("Groups:").iter().map(u32::to_string).collect::<Vec<_>>().join(",");
    let held = instance.spool().join("deferred/0123456789");
    fs::write(&held, "x").expect("write");
    fs::set_permissions(&held, fs::Permissions::from_mode(0o700)).expect("chmod");
    chown(&held, Some(uid_of("postfix")), None).expect("chown");
    let mut command = Command::new("setpriv");
    command.args([format!("--reuid={uid}"), format!("--regid={gid}")]);
    command.arg(if groups.is_empty() { "--clear-groups".to_owned() } else { format!("--groups={groups}") });
    let output = command.arg("--").arg("cat").arg(&held).output().expect("setpriv");
    fs::remove_file(&held).expect("remove");
    assert!(!output.status.success(), "uid {uid}, gid {gid}, groups {groups} can read a queue file");
    assert_ne!(uid, uid_of("postfix"));
}

#[test]
fn set_gid_commands_serve_an_ordinary_user() {
    need_root();
    let sink = Sink::start();
    let mut instance = Instance::new(&Suite::ours(), RunAs::Root);
    instance.add_main_cf(&format!("relayhost = [127.0.0.1]:{}\n", sink.port()));
    // Copies of the commands, as a package installs them.
    let commands = instance.path().join("bin");
    fs::create_dir(&commands).expect("a directory");
    let postdrop = Group::from_name("postdrop").ok().flatten().expect("group postdrop: .ci/run makes it").gid.as_raw();
    for entry in fs::read_dir(&instance.suite().commands).expect("the build").flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.path().is_file() && !name.contains('.') {
            let copy = commands.join(&name);
            fs::copy(entry.path(), &copy).expect("copy");
            let set_gid = ["postdrop", "postqueue", "postlog"].contains(&name.as_str());
            if set_gid {
                chown(&copy, Some(0), Some(postdrop)).expect("chown");
            }
            let mode = if set_gid { 0o2755 } else { 0o755 };
            fs::set_permissions(&copy, fs::Permissions::from_mode(mode)).expect("chmod");
        }
    }
    instance.add_main_cf(&format!("command_directory = {}\n", commands.display()));
    instance.start();
    // A set-gid program takes no configuration from a stranger: the directory has to be authorised in the default
    // main.cf, which a test does not have; alternate_config_directories is what a package's main.cf would say.
    let mut sendmail = Command::new(commands.join("sendmail"));
    sendmail.args(["-C", &instance.config().display().to_string(), "-f", "me@client.example", "r@dest.example"]);
    let output = as_user_with_input("posthouse-test", &sendmail, b"Subject: set-gid\n\nx\n", &instance);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let messages = sink.wait_for(1);
    assert!(String::from_utf8_lossy(&messages[0].content).contains("Subject: set-gid"));
    let mut postqueue = Command::new(commands.join("postqueue"));
    postqueue.arg("-c").arg(instance.config()).arg("-p");
    let output = as_user_with_input("posthouse-test", &postqueue, b"", &instance);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(String::from_utf8_lossy(&output.stdout).contains("Mail queue is empty"));
    // Without the bit there is nothing to be had.
    fs::set_permissions(commands.join("postqueue"), fs::Permissions::from_mode(0o755)).expect("chmod");
    let output = as_user_with_input("posthouse-test", &postqueue, b"", &instance);
    assert!(!output.status.success(), "an ordinary user reached public/showq");
}

/// In a mount namespace where the instance's configuration is the machine's (`/etc/postfix`).
fn as_user_with_input(user: &str, command: &Command, input: &[u8], instance: &Instance) -> std::process::Output {
    let mut words: Vec<String> = vec![command.get_program().to_string_lossy().into_owned()];
    words.extend(command.get_args().map(|word| word.to_string_lossy().into_owned()));
    let quoted: Vec<String> = words.iter().map(|word| format!("'{word}'")).collect();
    let script = format!(
        "set -e; mkdir -p /run/posthouse-etc; mount -t tmpfs tmpfs /run/posthouse-etc; mkdir -p /run/posthouse-etc/upper \
         /run/posthouse-etc/work; mount -t overlay overlay -o lowerdir=/etc,upperdir=/run/posthouse-etc/upper,workdir=/run/posthouse-etc/work /etc; \
         mkdir -p /etc/postfix; mount --bind '{}' /etc/postfix; \
         exec setpriv --reuid={user} --regid={user} --clear-groups -- {}",
        instance.config().display(),
        quoted.join(" ").replace(&format!("'{}'", instance.config().display()), "/etc/postfix")
    );
    let mut outer = Command::new("unshare");
    outer.args(["-m", "--propagation", "private", "sh", "-c", &script]);
    outer.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = outer.spawn().expect("unshare");
    let mut stdin = child.stdin.take().expect("a pipe");
    let _ = stdin.write_all(input);
    drop(stdin);
    child.wait_with_output().expect("wait")
}
