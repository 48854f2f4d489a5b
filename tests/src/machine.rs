//! A private machine for tests that need one to themselves: its own file system tree, network, processes and host name, so
//! that port 25, `/etc/postfix`, `/var/spool/postfix` and the programs' usual places are its own. Needs root.
//!
//! What is written below `/etc`, `/usr` and `/var` goes to memory and ends with the machine; nothing of it is seen outside.
//! What programs send to `/dev/log` is in [`Machine::log`].

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Output, Stdio};
use std::time::Instant;

use nix::sched::{CloneFlags, setns};
use tempfile::TempDir;

use crate::{Log, PATIENCE, SmtpClient, Suite};

/// What makes the machine; the first argument is a directory for its files.
const SETUP: &str = r#"
set -eu
files=$1/files
mkdir "$files"
mount -t tmpfs -o mode=0755 tmpfs "$files"
mkdir "$files/dev"
touch "$files/dev/log"
mount --bind "$1/log" "$files/dev/log"
for node in null zero full random urandom tty; do
    touch "$files/dev/$node"
    mount --bind "/dev/$node" "$files/dev/$node"
done
ln -s /proc/self/fd "$files/dev/fd"
ln -s /proc/self/fd/0 "$files/dev/stdin"
ln -s /proc/self/fd/1 "$files/dev/stdout"
ln -s /proc/self/fd/2 "$files/dev/stderr"
for top in etc usr var; do
    mkdir "$files/$top" "$files/$top.work"
    mount -t overlay -o "lowerdir=/$top,upperdir=$files/$top,workdir=$files/$top.work" overlay "/$top"
done
mount --rbind "$files/dev" /dev
hostname mail.example.com
ip link set lo up

# Nothing of a mail system that the host may have.
rm -rf /etc/postfix /var/spool/postfix /var/lib/postfix /usr/lib/postfix /usr/share/postfix /var/mail/* /var/spool/mail
rm -f /etc/aliases* /etc/mailname /usr/sbin/sendmail /usr/lib/sendmail /usr/sbin/post* /usr/bin/mailq /usr/bin/newaliases
ln -s ../mail /var/spool/mail
printf '127.0.0.1 localhost\n::1 localhost\n127.0.1.1 mail.example.com mail\n' >/etc/hosts
echo 'nameserver 127.0.0.1' >/etc/resolv.conf
getent group postdrop >/dev/null || groupadd --system postdrop
for name in postfix posthouse-in posthouse-out posthouse-dns posthouse-keys posthouse-tables; do
    getent passwd "$name" >/dev/null ||
        useradd --system --user-group --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin "$name"
done
for name in alice bob carol; do
    useradd --user-group --create-home --home-dir "/var/home-of-$name" --shell /bin/sh "$name"
done
echo ready
# Lives as long as the test; a shell that reads also buries the dead.
read -r _ || true
"#;

/// What the postinst of a package does after the files are there: accounts have been made, these are the directories.
const DIRECTORIES: &str = r"
set -eu
mkdir -p /etc/postfix /var/spool/postfix /var/lib/postfix
cd /var/spool/postfix
for name in pid; do mkdir -p $name; chown root:root $name; chmod 755 $name; done
for name in private incoming active bounce defer deferred flush saved corrupt; do
    mkdir -p $name; chown postfix:root $name; chmod 700 $name
done
mkdir -p public maildrop
chown postfix:postdrop public maildrop
chmod 2710 public
chmod 1730 maildrop
chown postfix:postfix /var/lib/postfix
";

/// The machine. Its processes end when it goes out of scope.
#[derive(Debug)]
pub struct Machine {
    directory: TempDir,
    namespaces: Child,
    /// Its first process reads from here until the end.
    life: Option<ChildStdin>,
}

impl Machine {
    /// A machine without a mail system, with the ordinary users `alice`, `bob` and `carol`.
    ///
    /// # Panics
    /// When not run by root, or where namespaces cannot be made.
    #[must_use]
    pub fn boot() -> Machine {
        crate::need_root();
        let directory = tempfile::Builder::new().prefix("machine-").tempdir().expect("temporary directory");
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).expect("chmod");
        keep_log(&directory.path().join("log"), &directory.path().join("maillog"));
        let mut command = Command::new("unshare");
        command.args(["--mount", "--net", "--uts", "--ipc", "--pid", "--fork", "--kill-child", "--mount-proc"]);
        command.args(["--propagation", "private", "bash", "-c", SETUP, "setup"]).arg(directory.path());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut namespaces = command.spawn().expect("unshare");
        let life = namespaces.stdin.take();
        let mut line = String::new();
        let stdout = namespaces.stdout.take().expect("standard output is a pipe");
        BufReader::new(stdout).read_line(&mut line).expect("read");
        if line != "ready\n" {
            drop(life);
            let output = namespaces.wait_with_output().expect("wait");
            panic!("no private machine: {}: {}", output.status, String::from_utf8_lossy(&output.stderr));
        }
        let machine = Machine { directory, namespaces, life };
        let names = machine.within_network(|| UdpSocket::bind("127.0.0.1:53")).expect("port 53");
        std::thread::spawn(move || answer_try_again(&names));
        machine
    }

    /// Unpacks the reference where its package has it, with the directories that the package makes.
    pub fn unpack_reference(&self) {
        let root = Suite::reference_root();
        // Links of the tree's own top directories (/lib) must not replace those of the machine.
        self.ok(&format!("cp -a {0}/etc {0}/usr {0}/var /", root.display()));
        self.ok(DIRECTORIES);
        self.ok(
            "chgrp postdrop /usr/sbin/postdrop /usr/sbin/postqueue; chmod 2555 /usr/sbin/postdrop /usr/sbin/postqueue",
        );
    }

    /// Puts our programs in their places.
    pub fn install_ours(&self) {
        let ours = Suite::ours();
        self.ok(DIRECTORIES);
        let mut script = "set -eu\nmkdir -p /usr/lib/postfix/sbin\n".to_owned();
        for entry in installed() {
            let (path, name) = (&entry.path, entry.name());
            if let Some(to) = &entry.to {
                script.push_str(&format!("ln -sf {to} {path}\n"));
            } else if entry.set_gid {
                let from = ours.commands.join(name);
                script.push_str(&format!("install -g postdrop -m 2755 {} {path}\n", from.display()));
            } else {
                // In place of a copy, since each is large in memory.
                let from = ours.commands.join(name);
                script.push_str(&format!("rm -f {path}; touch {path}; mount --bind {} {path}\n", from.display()));
            }
        }
        self.ok(&script);
    }

    /// The place of one of the machine's files, as seen from the test.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        Path::new(&format!("/proc/{}/root", self.namespaces.id())).join(name.trim_start_matches('/'))
    }

    /// The text of one of its files; empty when it is not there.
    #[must_use]
    pub fn text(&self, name: &str) -> String {
        fs::read(self.path(name)).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    /// Writes one of its files.
    ///
    /// # Panics
    /// When that does not work.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        fs::write(self.path(name), content).unwrap_or_else(|error| panic!("{name}: {error}"));
    }

    /// What was sent to `/dev/log`.
    #[must_use]
    pub fn log(&self) -> Log {
        Log::follow(&self.directory.path().join("maillog"))
    }

    /// A command within, run by `user`.
    fn enter(&self, user: &str) -> Command {
        let id = self.namespaces.id();
        let mut command = Command::new("nsenter");
        command.arg(format!("--target={id}")).args(["--mount", "--net", "--uts", "--ipc"]);
        command.arg(format!("--pid=/proc/{id}/ns/pid_for_children"));
        command.args(["--wd=/", "--", "setpriv"]);
        if user != "root" {
            // The names are those of the machine; setpriv looks them up there.
            command.args([&format!("--reuid={user}"), &format!("--regid={user}"), "--init-groups"]);
        }
        command.arg("--");
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("TZ", "UTC").env("LC_ALL", "C.UTF-8");
        command
    }

    /// Runs a shell script as `user`, with standard input.
    pub fn run_as(&self, user: &str, script: &str, input: &[u8]) -> Output {
        let mut command = self.enter(user);
        command.args(["bash", "-c", script]).stdin(Stdio::piped());
        // Files and not pipes: a daemon that is started keeps them open.
        let (mut stdout, mut stderr) = (tempfile::tempfile().expect("file"), tempfile::tempfile().expect("file"));
        command.stdout(stdout.try_clone().expect("duplicate")).stderr(stderr.try_clone().expect("duplicate"));
        let mut child = command.spawn().expect("nsenter");
        let mut stdin = child.stdin.take().expect("standard input is a pipe");
        let input = input.to_vec();
        let writer = std::thread::spawn(move || drop(stdin.write_all(&input)));
        let status = child.wait().expect("wait");
        writer.join().expect("the writer does not panic");
        let read = |file: &mut fs::File| {
            use std::io::{Read as _, Seek as _};
            let mut bytes = Vec::new();
            file.rewind().and_then(|()| file.read_to_end(&mut bytes)).expect("read");
            bytes
        };
        Output { status, stdout: read(&mut stdout), stderr: read(&mut stderr) }
    }

    /// Runs a shell script as root, which must succeed; returns both its outputs.
    ///
    /// # Panics
    /// When it fails.
    pub fn ok(&self, script: &str) -> String {
        self.ok_as("root", script, b"")
    }

    /// Runs a shell script as `user`, which must succeed; returns both its outputs.
    ///
    /// # Panics
    /// When it fails.
    pub fn ok_as(&self, user: &str, script: &str, input: &[u8]) -> String {
        let output = self.run_as(user, script, input);
        let said = said(&output);
        assert!(output.status.success(), "{user}: {script}: {}: {said}\n{}", output.status, self.log().text());
        said
    }

    /// Connects to a port on its 127.0.0.1.
    ///
    /// # Panics
    /// When nobody listens.
    #[must_use]
    pub fn connect(&self, port: u16) -> SmtpClient {
        SmtpClient::over(self.within_network(move || TcpStream::connect(("127.0.0.1", port))).expect("connect"))
    }

    /// Does something within its network; sockets stay there.
    fn within_network<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        let network = fs::File::open(format!("/proc/{}/ns/net", self.namespaces.id())).expect("the network");
        // Only this thread goes there.
        let there = std::thread::spawn(move || {
            setns(&network, CloneFlags::CLONE_NEWNET).expect("setns");
            work()
        });
        there.join().expect("no panic")
    }

    /// Connects to its port 25 and says EHLO.
    #[must_use]
    pub fn greeted(&self) -> SmtpClient {
        let mut client = self.connect(25);
        client.expect(220);
        client.command("EHLO client.example", 250);
        client
    }

    /// A listening socket on a port of its 127.0.0.1.
    ///
    /// # Panics
    /// When the port is taken.
    #[must_use]
    pub fn listen(&self, port: u16) -> TcpListener {
        self.within_network(move || TcpListener::bind(("127.0.0.1", port))).expect("listen")
    }

    /// Waits until a script of root succeeds; it is tried when the log has grown, and now and then.
    ///
    /// # Panics
    /// When it does not in time.
    pub fn wait_until(&self, script: &str) {
        let end = Instant::now() + PATIENCE;
        let mut log = self.log();
        loop {
            let output = self.run_as("root", script, b"");
            if output.status.success() {
                return;
            }
            assert!(Instant::now() < end, "not in time: {script}: {}\n{}", said(&output), log.text());
            log.wait_for_more(std::time::Duration::from_millis(200));
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let mut log = self.log();
            let tail: Vec<&str> = log.text().lines().rev().take(60).collect();
            let tail: Vec<&str> = tail.into_iter().rev().collect();
            let _ = writeln!(std::io::stderr(), "--- log of the machine ---\n{}", tail.join("\n"));
        }
        drop(self.life.take());
        let _ = self.namespaces.wait();
    }
}

/// The name server of the machine: nobody knows anything now (`SERVFAIL`).
fn answer_try_again(socket: &UdpSocket) {
    let mut buffer = [0; 512];
    while let Ok((length, client)) = socket.recv_from(&mut buffer) {
        if length >= 12 {
            buffer[2] |= 0x80;
            buffer[3] = 0x82;
            let _ = socket.send_to(&buffer[..length], client);
        }
    }
}

/// Both outputs of a command.
#[must_use]
pub fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Writes what comes to a socket to a file, a line each, without the priority and the time.
fn keep_log(socket: &Path, file: &Path) {
    let socket_path = socket;
    let socket = UnixDatagram::bind(socket).expect("a socket for the log");
    fs::set_permissions(socket_path, fs::Permissions::from_mode(0o666)).expect("chmod");
    let mut file = fs::File::create(file).expect("the log");
    std::thread::spawn(move || {
        let mut buffer = vec![0; 1 << 16];
        while let Ok(length) = socket.recv(&mut buffer) {
            let text = &buffer[..length];
            let text = text.splitn(2, |byte| *byte == b'>').nth(1).unwrap_or(text);
            let mut line = text.trim_ascii_end().to_vec();
            line.push(b'\n');
            if file.write_all(&line).is_err() {
                return;
            }
        }
    });
}

/// What the list of an installation places in the usual directories.
struct Placed {
    path: String,
    to: Option<String>,
    set_gid: bool,
}

impl Placed {
    fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or_default()
    }
}

fn installed() -> Vec<Placed> {
    let list = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("a parent").join("packaging/files.toml");
    let list: toml::Table = toml::from_str(&fs::read_to_string(list).expect("files.toml")).expect("files.toml");
    let place = |path: &str| {
        path.replace("$daemon_directory", "/usr/lib/postfix/sbin")
            .replace("$command_directory", "/usr/sbin")
            .replace("$sendmail_path", "/usr/sbin/sendmail")
            .replace("$newaliases_path", "/usr/bin/newaliases")
            .replace("$mailq_path", "/usr/bin/mailq")
    };
    let entries = list["entry"].as_array().expect("entries").iter();
    entries
        .filter(|entry| matches!(entry["kind"].as_str(), Some("program" | "link")))
        .map(|entry| Placed {
            path: place(entry["path"].as_str().expect("a path")),
            to: entry.get("to").map(|to| place(to.as_str().expect("a path"))),
            set_gid: entry["mode"].as_str().is_some_and(|mode| mode.starts_with('2')),
        })
        .collect()
}
