//! What a daemon gives up beyond its account and its root directory: files that are none of its business, TCP, and system
//! calls that no daemon makes (`sys::confine`). Everything that was opened before stays open.
//!
//! Programs that become a recipient (local, virtual) are not confined, for the commands that they start are the
//! recipient's own. `daemon_sandbox = no` leaves it out, for looking for a mistake with a debugger.

use std::path::PathBuf;

use config::Config;
use sys::confine::{self, Access, Calls, Confined, Confinement};

use crate::account::Account;
use crate::startup::Startup;

/// What the C library reads when it looks for accounts, names of services and the time zone, outside of a jail.
const SYSTEM_FILES: &[&str] = &[
    "/etc/passwd",
    "/etc/group",
    "/etc/nsswitch.conf",
    "/etc/hosts",
    "/etc/host.conf",
    "/etc/resolv.conf",
    "/etc/gai.conf",
    "/etc/services",
    "/etc/protocols",
    "/etc/aliases",
    "/etc/localtime",
    "/etc/timezone",
    "/etc/ld.so.cache",
    "/etc/ssl",
    "/etc/pki",
    "/etc/ca-certificates",
    "/usr/share/ca-certificates",
    "/usr/share/zoneinfo",
    "/usr/lib",
    "/usr/lib64",
    "/lib",
    "/lib64",
    "/run/systemd/resolve",
    "/run/systemd/userdb",
    "/var/lib/sss",
    "/var/lib/extrausers",
    "/dev/urandom",
    "/dev/random",
];

/// What the program may do below the queue directory.
fn queue_access(program: &str, account: Account) -> Option<Access> {
    match (account, program) {
        (Account::MailOwner, "showq") => Some(Access::Read),
        // Agents read their message from the descriptor that qmgr passes.
        (Account::MailOwner, "error" | "discard" | "trivial-rewrite" | "postlogd") => None,
        (Account::MailOwner, _) => Some(Access::Write),
        _ => None,
    }
}

/// Some value speaks of a peer on the internet: a milter, a policy server, a table server, a content filter.
fn has_internet_peers(config: &Config) -> bool {
    config.names().into_iter().any(|name| {
        let value = config.written(name).unwrap_or_default();
        ["inet:", "tcp:"].iter().any(|word| value.contains(word)) || (name == "smtpd_proxy_filter" && !value.is_empty())
    })
}

/// What the daemon keeps.
fn confinement(startup: &Startup, account: Account) -> Confinement {
    let (config, program) = (&startup.config, startup.program.as_str());
    let queue = queue_access(program, account);
    let mut paths = vec![(PathBuf::from("/dev/null"), Access::Write)];
    paths.extend(queue.map(|access| (PathBuf::from("."), access)));
    paths.extend(SYSTEM_FILES.iter().map(|path| (PathBuf::from(path), Access::Read)));
    paths.push((config.directory().to_owned(), Access::Read));
    if account == Account::Tables {
        // Map files are anywhere, and so are the settings of database clients.
        paths.push((PathBuf::from("/"), Access::Read));
    }
    // Caches are made, and made again, while a daemon runs.
    if let Ok(directory) = config.string("data_directory") {
        paths.push((directory.into(), Access::Write));
    }
    let internet = matches!(account, Account::MailOut | Account::Names | Account::Tables) || has_internet_peers(config);
    let writes = matches!(account, Account::MailOwner | Account::MailIn | Account::Keys | Account::Tables);
    Confinement { paths, connects: internet, binds: account == Account::MailOut, calls: Calls { writes, internet } }
}

/// What the process keeps that asks the system for accounts on behalf of a program in a jail: name services have their
/// settings below `/etc`, and some ask over the network.
fn lookup_confinement() -> Confinement {
    let mut paths = vec![(PathBuf::from("/dev/null"), Access::Write), (PathBuf::from("/etc"), Access::Read)];
    paths.extend(SYSTEM_FILES.iter().map(|path| (PathBuf::from(path), Access::Read)));
    Confinement { paths, connects: true, binds: false, calls: Calls { writes: false, internet: true } }
}

/// Confines this process, in its jail and under its account; a kernel that cannot is no reason to stop (master says so
/// once).
pub(crate) fn enter(startup: &Startup, account: Account) {
    give_up(startup, account, || confinement(startup, account));
}

/// Confines the process that asks for accounts, outside of the jail.
pub(crate) fn enter_for_lookups(startup: &Startup, account: Account) {
    give_up(startup, account, lookup_confinement);
}

fn give_up(startup: &Startup, account: Account, kept: impl FnOnce() -> Confinement) {
    let wanted = startup.config.bool("daemon_sandbox").unwrap_or(true);
    if account == Account::Root {
        return;
    }
    if !wanted {
        // No set-uid program can give anything back in any case.
        let _ = nix::sys::prctl::set_no_new_privs();
        return;
    }
    match confine::enter(&kept()) {
        Ok(Confined { files, network, calls }) => {
            log::debug!("confined: files {files}, network {network}, system calls {calls}");
        }
        Err(error) => log::warning!("cannot be confined: {}", sys::reason(&error)),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::process::Command;

    use super::*;

    fn startup(program: &str, parameters: &str) -> Startup {
        let config = Config::from_text(parameters).expect("configuration");
        Startup::for_tests(config, program)
    }

    #[test]
    fn what_each_program_keeps() {
        let milter = "smtpd_milters = inet:127.0.0.1:8891\n";
        let cases = [
            ("smtpd", Account::MailIn, "", None, false),
            ("smtpd", Account::MailIn, milter, None, true),
            ("smtpd", Account::MailIn, "smtpd_proxy_filter = 127.0.0.1:10026\n", None, true),
            ("smtp", Account::MailOut, "", None, true),
            ("lmtp", Account::MailOut, "", None, true),
            ("resolver", Account::Names, "", None, true),
            ("cleanup", Account::MailOwner, "", Some(Access::Write), false),
            ("cleanup", Account::MailOwner, milter, Some(Access::Write), true),
            ("qmgr", Account::MailOwner, "", Some(Access::Write), false),
            ("showq", Account::MailOwner, "", Some(Access::Read), false),
            ("discard", Account::MailOwner, "", None, false),
        ];
        for (program, account, parameters, queue, internet) in cases {
            let kept = confinement(&startup(program, parameters), account);
            let access = kept.paths.iter().find(|(path, _)| path == Path::new(".")).map(|(_, access)| *access);
            assert_eq!(access, queue, "{program} {parameters}");
            assert_eq!((kept.connects, kept.calls.internet), (internet, internet), "{program} {parameters}");
            assert_eq!(kept.binds, account == Account::MailOut, "{program}");
            assert!(!kept.paths.iter().any(|(path, _)| path == Path::new("/")), "{program}");
        }
    }

    const PROGRAM: &str = "SERVER_TEST_CONFINED";

    /// Not a test: a daemon in its confinement, when the test below starts it, in a queue directory.
    #[test]
    fn as_a_confined_daemon() {
        let Some(program) = std::env::var_os(PROGRAM) else { return };
        let program = program.to_str().expect("a name").to_owned();
        let account = match program.as_str() {
            "smtpd" => Account::MailIn,
            "smtp" => Account::MailOut,
            "resolver" => Account::Names,
            _ => Account::MailOwner,
        };
        let available = confine::available();
        let daemon = std::thread::spawn(move || {
            let startup = startup(&program, "");
            enter(&startup, account);
            if available.files {
                // What everybody may read, but no daemon.
                assert!(std::fs::read("../secret").is_err(), "{program}");
                assert!(std::fs::read("/proc/self/environ").is_err(), "{program}");
                assert!(std::fs::write("../new", "x").is_err(), "{program}");
                assert!(std::fs::read("/etc/passwd").is_ok(), "{program}");
                let access = queue_access(&program, account);
                assert_eq!(std::fs::read("incoming/A").is_ok(), access.is_some(), "{program}");
                assert_eq!(
                    std::fs::rename("incoming/A", "active/A").is_ok(),
                    access == Some(Access::Write),
                    "{program}"
                );
            }
            assert!(Command::new("/bin/true").status().is_err() || available == NOTHING, "{program}");
            let connected = std::net::TcpStream::connect("127.0.0.1:1").map_err(|error| error.kind());
            if available.network && !matches!(account, Account::MailOut | Account::Names) {
                assert_ne!(connected.err(), Some(std::io::ErrorKind::ConnectionRefused), "{program}");
            } else {
                assert_eq!(connected.err(), Some(std::io::ErrorKind::ConnectionRefused), "{program}");
            }
        });
        daemon.join().expect("a confined daemon");
    }

    const NOTHING: Confined = Confined { files: false, network: false, calls: false };

    #[test]
    fn a_confined_daemon_reads_no_other_file_and_starts_no_program() {
        for program in ["smtpd", "smtp", "resolver", "cleanup", "qmgr", "showq", "discard", "bounce", "pickup"] {
            let directory = tempfile::tempdir().expect("directory");
            let spool = directory.path().join("spool");
            for name in ["incoming", "active"] {
                std::fs::create_dir_all(spool.join(name)).expect("mkdir");
            }
            std::fs::write(spool.join("incoming/A"), "x").expect("write");
            std::fs::write(directory.path().join("secret"), "x").expect("write");
            let output = Command::new(std::env::current_exe().expect("this program"))
                .args(["--exact", "sandbox::tests::as_a_confined_daemon", "--nocapture"])
                .env(PROGRAM, program)
                .current_dir(&spool)
                .output()
                .expect("run");
            assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
        }
    }
}
