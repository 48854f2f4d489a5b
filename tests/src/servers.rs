//! Database and directory servers of the distribution, each a throw-away instance on loopback: started when a test needs it, gone
//! with the test.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Instant;

use tempfile::TempDir;

use crate::{PATIENCE, ports};

/// Who servers run as when the test is root's: some refuse to be root.
const NOBODY: u32 = 65534;

/// A running server.
#[derive(Debug)]
pub struct Server {
    directory: TempDir,
    port: u16,
    child: Child,
}

/// A program that only nobody may be; as the caller when that is not root.
fn unprivileged(program: impl AsRef<Path>) -> Command {
    let mut command = Command::new(program.as_ref());
    if nix::unistd::geteuid().is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    command.env("LC_ALL", "C").env("TZ", "UTC").env("HOME", "/nonexistent");
    command
}

fn done(command: &mut Command) {
    let output = command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Runs a command with standard input; it must succeed.
fn fed(command: &mut Command, input: &str) {
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    child.stdin.take().expect("a pipe").write_all(input.as_bytes()).expect("write");
    let output = child.wait_with_output().expect("wait");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn directory() -> TempDir {
    let directory = tempfile::Builder::new().prefix("server-").tempdir().expect("temporary directory");
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).expect("chmod");
    if nix::unistd::geteuid().is_root() {
        chown(directory.path(), Some(NOBODY), Some(NOBODY)).expect("chown");
    }
    directory
}

/// The newest directory of PostgreSQL's programs.
fn postgres_programs() -> PathBuf {
    let mut found: Vec<PathBuf> = fs::read_dir("/usr/lib/postgresql")
        .expect("PostgreSQL: .ci/run installs it")
        .flatten()
        .map(|entry| entry.path().join("bin"))
        .filter(|path| path.join("initdb").exists())
        .collect();
    found.sort();
    found.pop().expect("PostgreSQL: .ci/run installs it")
}

/// A key and a certificate for `localhost` and 127.0.0.1 that vouches for itself: `key.pem`, `cert.pem`.
pub fn certificate(directory: &Path) {
    let path = |name: &str| directory.join(name);
    let mut openssl = Command::new("openssl");
    openssl.args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30", "-subj", "/CN=localhost"]);
    openssl.args(["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]);
    done(openssl.arg("-keyout").arg(path("key.pem")).arg("-out").arg(path("cert.pem")));
    fs::set_permissions(path("key.pem"), fs::Permissions::from_mode(0o600)).expect("chmod");
    if nix::unistd::geteuid().is_root() {
        chown(path("key.pem"), Some(NOBODY), Some(NOBODY)).expect("chown");
        chown(path("cert.pem"), Some(NOBODY), Some(NOBODY)).expect("chown");
    }
}

impl Server {
    /// Starts it and reads what it prints up to a line with `ready`.
    fn start(directory: TempDir, port: u16, mut command: Command, ready: &str) -> Server {
        let child = Server::spawn(&mut command, ready);
        Server { directory, port, child }
    }

    fn spawn(command: &mut Command, ready: &str) -> Child {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error} (.ci/run installs it)"));
        let (sender, lines) = mpsc::channel();
        let streams: [Box<dyn Read + Send>; 2] =
            [Box::new(child.stdout.take().expect("a pipe")), Box::new(child.stderr.take().expect("a pipe"))];
        for stream in streams {
            let sender = sender.clone();
            // Reads on for as long as the server writes, so that it never waits.
            std::thread::spawn(move || {
                for line in BufReader::new(stream).split(b'\n').map_while(Result::ok) {
                    let _ = sender.send(String::from_utf8_lossy(&line).into_owned());
                }
            });
        }
        drop(sender);
        let end = Instant::now() + PATIENCE;
        let mut seen = Vec::new();
        loop {
            match lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(line) if line.contains(ready) => return child,
                Ok(line) => seen.push(line),
                Err(_) => {
                    let _ = child.kill();
                    let _ = child.wait();
                    panic!("{command:?} does not start:\n{}", seen.join("\n"));
                }
            }
        }
    }

    /// PostgreSQL with the user `mail` (password `secret`), the database `mail` and what `sql` makes; TLS is on.
    #[must_use]
    pub fn postgres(sql: &str) -> Server {
        let (directory, port) = (directory(), ports::free());
        let (programs, data) = (postgres_programs(), directory.path().join("data"));
        let mut initdb = unprivileged(programs.join("initdb"));
        initdb.args(["-U", "admin", "-A", "trust", "--no-sync", "-E", "UTF8", "--locale=C", "-D"]).arg(&data);
        done(&mut initdb);
        certificate(directory.path());
        let hba = "local all admin trust\nlocal all all scram-sha-256\nhost all all 127.0.0.1/32 scram-sha-256\n";
        fs::write(data.join("pg_hba.conf"), hba).expect("write");
        let mut postgres = unprivileged(programs.join("postgres"));
        postgres.arg("-D").arg(&data).args(["-p", &port.to_string(), "-h", "127.0.0.1", "-F", "-k"]);
        postgres.arg(directory.path());
        for (name, file) in [("ssl_cert_file", "cert.pem"), ("ssl_key_file", "key.pem")] {
            postgres.arg("-c").arg(format!("{name}={}", directory.path().join(file).display()));
        }
        postgres.args(["-c", "ssl=on", "-c", "max_connections=30"]);
        let server = Server::start(directory, port, postgres, "ready to accept connections");
        let mut psql = Command::new(programs.join("psql"));
        psql.args(["-q", "-v", "ON_ERROR_STOP=1", "-U", "admin", "-p", &port.to_string(), "-d", "postgres", "-h"]);
        psql.arg(server.directory.path());
        let setup = "CREATE ROLE mail LOGIN PASSWORD 'secret';\nCREATE DATABASE mail OWNER mail;\n\\c mail\n";
        fed(&mut psql, &format!("{setup}SET ROLE mail;\n{sql}"));
        server
    }

    /// Kills it and starts it again on the same data and port.
    pub fn restart_postgres(&mut self) {
        self.kill();
        let data = self.directory.path().join("data");
        let _ = fs::remove_file(data.join("postmaster.pid"));
        let mut postgres = unprivileged(postgres_programs().join("postgres"));
        postgres.arg("-D").arg(&data).args(["-p", &self.port.to_string(), "-h", "127.0.0.1", "-F", "-k"]);
        postgres.arg(self.directory.path());
        self.child = Server::spawn(&mut postgres, "ready to accept connections");
    }

    /// MariaDB with the user `mail` (password `secret`), the database `mail` and what `sql` makes; TLS is on.
    #[must_use]
    pub fn mariadb(sql: &str) -> Server {
        let (directory, port) = (directory(), ports::free());
        let path = |name: &str| directory.path().join(name);
        let mut install = unprivileged("mariadb-install-db");
        install.args([
            "--no-defaults",
            "--auth-root-authentication-method=normal",
            "--skip-test-db",
            "--skip-name-resolve",
        ]);
        install.arg(format!("--datadir={}", path("data").display()));
        done(&mut install);
        certificate(directory.path());
        let mut mariadbd = unprivileged("/usr/sbin/mariadbd");
        mariadbd.args(["--no-defaults", "--bind-address=127.0.0.1", "--innodb-flush-log-at-trx-commit=0"]);
        mariadbd.args(["--innodb-buffer-pool-size=8M", "--skip-name-resolve", "--skip-log-bin"]);
        mariadbd.arg(format!("--port={port}"));
        for (name, file) in [
            ("datadir", "data"),
            ("socket", "socket"),
            ("pid-file", "pid"),
            ("ssl-cert", "cert.pem"),
            ("ssl-key", "key.pem"),
            ("ssl-ca", "cert.pem"),
        ] {
            mariadbd.arg(format!("--{name}={}", path(file).display()));
        }
        let server = Server::start(directory, port, mariadbd, "ready for connections");
        let mut client = Command::new("mariadb");
        client.args(["--no-defaults", "-u", "root", "--default-character-set=utf8mb4"]);
        client.arg(format!("--socket={}", server.path("socket").display()));
        let setup = "CREATE DATABASE mail CHARACTER SET utf8mb4; CREATE USER mail IDENTIFIED BY 'secret';\n\
                     CREATE USER mail@localhost IDENTIFIED BY 'secret'; GRANT ALL ON mail.* TO mail;\n\
                     GRANT ALL ON mail.* TO mail@localhost; USE mail;\n";
        fed(&mut client, &format!("{setup}{sql}"));
        server
    }

    /// OpenLDAP with the suffix `dc=example,dc=com`, the administrator `cn=admin,dc=example,dc=com` (password `secret`) and the
    /// entries of `ldif`; it offers StartTLS.
    #[must_use]
    pub fn ldap(ldif: &str) -> Server {
        let (directory, port) = (directory(), ports::free());
        let path = |name: &str| directory.path().join(name);
        let data = path("data");
        fs::create_dir(&data).expect("make a directory");
        certificate(directory.path());
        let configuration = format!(
            "include /etc/ldap/schema/core.schema\ninclude /etc/ldap/schema/cosine.schema\n\
             include /etc/ldap/schema/inetorgperson.schema\ninclude /etc/ldap/schema/nis.schema\n\
             modulepath /usr/lib/ldap\nmoduleload back_mdb\n\
             TLSCertificateFile {cert}\nTLSCertificateKeyFile {key}\n\
             database mdb\nsuffix \"dc=example,dc=com\"\nrootdn \"cn=admin,dc=example,dc=com\"\nrootpw secret\n\
             directory {data}\nmaxsize 10485760\ndbnosync\n",
            cert = path("cert.pem").display(),
            key = path("key.pem").display(),
            data = data.display()
        );
        fs::write(path("slapd.conf"), configuration).expect("write");
        if nix::unistd::geteuid().is_root() {
            chown(&data, Some(NOBODY), Some(NOBODY)).expect("chown");
        }
        let mut slapadd = unprivileged("/usr/sbin/slapadd");
        fed(slapadd.arg("-q").arg("-f").arg(path("slapd.conf")), ldif);
        let mut slapd = unprivileged("/usr/sbin/slapd");
        slapd.args(["-d", "stats", "-h", &format!("ldap://127.0.0.1:{port}/"), "-f"]).arg(path("slapd.conf"));
        Server::start(directory, port, slapd, "slapd starting")
    }

    /// Redis with the password `secret`.
    #[must_use]
    pub fn redis() -> Server {
        let (directory, port) = (directory(), ports::free());
        let mut redis = unprivileged("redis-server");
        redis.args(["--bind", "127.0.0.1", "--save", "", "--requirepass", "secret", "--port", &port.to_string()]);
        redis.arg("--dir").arg(directory.path());
        Server::start(directory, port, redis, "Ready to accept connections")
    }

    /// memcached.
    #[must_use]
    pub fn memcached() -> Server {
        let (directory, port) = (directory(), ports::free());
        let mut memcached = unprivileged("memcached");
        memcached.args(["-l", "127.0.0.1", "-U", "0", "-m", "8", "-t", "1", "-vv", "-p", &port.to_string()]);
        Server::start(directory, port, memcached, "server listening")
    }

    /// The port on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// A file in its directory.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Ends it without a chance to say anything.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Sends commands in Redis's own short form, each on a line.
    ///
    /// # Panics
    /// When one fails.
    pub fn redis_commands(&self, commands: &[&str]) {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).expect("connect");
        stream.set_read_timeout(Some(PATIENCE)).expect("time limit");
        let mut reader = BufReader::new(stream);
        for command in ["AUTH secret"].iter().chain(commands) {
            reader.get_mut().write_all(format!("{command}\r\n").as_bytes()).expect("write");
            let mut line = String::new();
            reader.read_line(&mut line).expect("read");
            assert!(line.starts_with(['+', ':']), "{command}: {line}");
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}
