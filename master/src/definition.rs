//! A service as `master.cf` and `main.cf` define it, ready to be opened and supervised.

use std::ffi::CString;
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use config::{Config, Disabled, MasterCf, Service, ServiceKind};

use crate::addresses;
use crate::child::Program;
use crate::limits::{Limits, Wanted};
use crate::listener::Endpoint;
use crate::ports;
use crate::programs::{self, Stage, Style};
use crate::settings::{Settings, unsigned};
use crate::supervisor::{Policy, Wakeup};
use crate::{Error, lines};

/// One service.
#[derive(Clone, Debug)]
pub(crate) struct Definition {
    /// Where it listens.
    pub endpoints: Vec<Endpoint>,
    /// What is executed; the number of listeners is not among the arguments yet.
    pub program: Program,
    /// What the start and stop logic has to know.
    pub policy: Policy,
}

/// Services that we need and that the `master.cf` of an old installation does not list.
const BUILT_IN: &str = "\
resolver         unix        -  -  n  -  -  resolver
postlog          unix-dgram  n  -  n  -  1  postlogd
table-ldap       unix        -  -  n  -  -  table-ldap
table-memcache   unix        -  -  n  -  -  table-memcache
table-mongodb    unix        -  -  n  -  -  table-mongodb
table-mysql      unix        -  -  n  -  -  table-mysql
table-pgsql      unix        -  -  n  -  -  table-pgsql
table-redis      unix        -  -  n  -  -  table-redis
table-socketmap  unix        -  -  n  -  -  table-socketmap
table-sqlite     unix        -  -  n  -  -  table-sqlite
";

/// All services to offer, in the order of `master.cf`, the built-in ones last. Entries without a program get a line in
/// the log and are left out.
///
/// # Errors
/// Entries that make no sense: names that cannot be resolved, paths outside of the queue.
pub(crate) fn all(
    config: &Config,
    master_cf: &MasterCf,
    settings: &Settings,
    extra: &[String],
) -> Result<Vec<Definition>, Error> {
    let disabled = Disabled::new(config.list("master_service_disable")?);
    let level = config.compatibility_level()?;
    let mut found: Vec<Definition> = Vec::new();
    let mut offer = |entry: &Service| -> Result<(), Error> {
        if !disabled.contains(&entry.name, entry.kind) {
            found.extend(define(config, settings, entry, entry.is_chroot(level), extra)?);
        }
        Ok(())
    };
    master_cf.services.iter().try_for_each(&mut offer)?;
    for mut entry in MasterCf::parse(BUILT_IN)?.services {
        let wanted = match entry.command.as_str() {
            "postlogd" => {
                entry.name.clone_from(&settings.postlog_service);
                settings.has_maillog_file
            }
            "resolver" => {
                entry.name.clone_from(&settings.resolver_service);
                true
            }
            // Tables' servers are found by the names of their programs, where these are installed.
            _ => true,
        };
        if wanted && master_cf.find(&entry.name, entry.kind).is_none() && executable(settings, &entry.command).is_some()
        {
            offer(&entry)?;
        }
    }
    Ok(found)
}

/// Before the number of listeners.
const COUNT_OPTION: &str = "-s";

/// Corrects the number of listeners to those that could be opened.
pub(crate) fn set_listener_count(program: &mut Program, count: usize) {
    let at = program.arguments.iter().position(|word| word.as_bytes() == COUNT_OPTION.as_bytes());
    if let Some(value) = at.and_then(|at| program.arguments.get_mut(at + 1)) {
        *value = CString::new(count.to_string()).expect("digits have no NUL");
    }
}

/// What one entry asks for; `None` when there is no process to run for it.
fn define(
    config: &Config,
    settings: &Settings,
    entry: &Service,
    chroot: bool,
    extra: &[String],
) -> Result<Option<Definition>, Error> {
    let known = programs::find(&entry.command);
    let listener = shown_listener(entry);
    if let Some(by) = known.work_done_by {
        lines::work_done_elsewhere(&entry.name, &entry.command, by);
        return Ok(None);
    }
    let Some(path) = executable(settings, &entry.command) else {
        let missing = settings.daemon_directory.join(&entry.command);
        lines::no_program(&entry.name, &listener, &missing.display().to_string());
        return Ok(None);
    };
    let mut limits = Limits::new(
        known.style,
        Wanted {
            process_limit: entry.process_limit,
            default_process_limit: settings.default_process_limit,
            default_is_chosen: settings.default_process_limit_is_set,
            session_limit: unsigned(config.service_int(&entry.name, "session_limit")?),
            cores: cores(),
        },
    );
    if known.style == Style::Sessions && entry.kind == ServiceKind::Fifo {
        // Readers of a pipe would take each other's bytes.
        limits = Limits { processes: 1, spread: 1, solitary: true, ..limits };
    }
    let name = Path::new(&entry.command)
        .file_name()
        .map_or_else(|| entry.command.clone(), |name| name.to_string_lossy().into_owned());
    let mut arguments =
        vec![name, "-n".to_owned(), entry.name.clone(), "-t".to_owned(), entry.kind.as_str().to_owned()];
    if entry.unprivileged {
        arguments.push("-u".to_owned());
    }
    if chroot {
        arguments.push("-c".to_owned());
    }
    let endpoints = endpoints(settings, entry)?;
    arguments.extend([COUNT_OPTION.to_owned(), endpoints.len().to_string()]);
    arguments.extend_from_slice(extra);
    arguments.extend(entry.arguments.iter().cloned());
    let shown_path = path.display().to_string();
    Ok(Some(Definition {
        endpoints,
        program: Program {
            path: c_string(&shown_path, entry)?,
            arguments: arguments.iter().map(|word| c_string(word, entry)).collect::<Result<_, _>>()?,
            environment: settings.environment.clone(),
        },
        policy: Policy {
            key: format!("{}/{}", entry.name, entry.kind.as_str()),
            name: entry.name.clone(),
            listener,
            path: shown_path,
            limits,
            wakeup: entry.wakeup.map(|wakeup| Wakeup {
                period: Duration::from_secs(wakeup.seconds.into()),
                only_if_used: wakeup.only_if_used,
            }),
            stage: stage(known.stage, entry.kind),
            public: !entry.private,
            throttle: settings.throttle,
            daemon_timeout: settings.daemon_timeout,
        },
    }))
}

/// Whoever listens on the network takes mail in, whatever the program is.
fn stage(known: Stage, kind: ServiceKind) -> Stage {
    match kind {
        ServiceKind::Inet | ServiceKind::Pass => known.min(Stage::Intake),
        ServiceKind::Unix | ServiceKind::UnixDgram | ServiceKind::Fifo => known,
    }
}

fn cores() -> u32 {
    std::thread::available_parallelism().map_or(1, |n| u32::try_from(n.get()).unwrap_or(u32::MAX))
}

fn c_string(text: &str, entry: &Service) -> Result<CString, Error> {
    CString::new(text)
        .map_err(|_| Error::Value { what: format!("master.cf entry {}", entry.name), value: text.replace('\0', "?") })
}

/// The program's file, under its own name or that of the program that does the same work.
fn executable(settings: &Settings, command: &str) -> Option<PathBuf> {
    let other = programs::find(command).same_as;
    [Some(command), other]
        .into_iter()
        .flatten()
        .map(|name| settings.daemon_directory.join(name))
        .find(|path| path.metadata().is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0))
}

fn local_path(entry: &Service) -> PathBuf {
    Path::new(if entry.private { "private" } else { "public" }).join(&entry.name)
}

/// What the warning about a reached limit shows: the port number, with the host where the name has one.
fn shown_listener(entry: &Service) -> String {
    match entry.kind {
        ServiceKind::Inet => {
            let (host, port) = entry.name.rsplit_once(':').unwrap_or(("", &entry.name));
            let port = ports::look_up(port).map_or_else(|| port.to_owned(), |number| number.to_string());
            if host.is_empty() { port } else { format!("{host}:{port}") }
        }
        ServiceKind::Unix | ServiceKind::UnixDgram | ServiceKind::Fifo | ServiceKind::Pass => {
            local_path(entry).display().to_string()
        }
    }
}

fn endpoints(settings: &Settings, entry: &Service) -> Result<Vec<Endpoint>, Error> {
    if entry.kind == ServiceKind::Inet {
        let found = addresses::resolve(&entry.name, &settings.interfaces, settings.protocols)?;
        return Ok(found.into_iter().map(Endpoint::Inet).collect());
    }
    let path = local_path(entry);
    if !path.components().all(|part| matches!(part, Component::Normal(_))) || Path::new(&entry.name).is_absolute() {
        return Err(Error::Value { what: "master.cf service name".to_owned(), value: entry.name.clone() });
    }
    Ok(vec![match entry.kind {
        ServiceKind::UnixDgram => Endpoint::UnixDatagram(path),
        ServiceKind::Fifo => Endpoint::Fifo(path),
        ServiceKind::Inet | ServiceKind::Unix | ServiceKind::Pass => Endpoint::Unix(path),
    }])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn definitions(main_cf: &str, master_cf: &str, programs: &[&str]) -> Result<Vec<Definition>, Error> {
        let directory = tempfile::tempdir().expect("directory");
        for program in programs {
            let path = directory.path().join(program);
            std::fs::write(&path, "#!/bin/sh\n").expect("program");
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("permissions");
        }
        let text = format!(
            "daemon_directory = {}\nmail_owner = daemon\ncompatibility_level = 3.6\ninet_protocols = ipv4\n{main_cf}",
            directory.path().display()
        );
        let config = Config::from_text(&text)?;
        let settings = Settings::load(&config)?;
        all(&config, &MasterCf::parse(master_cf)?, &settings, &["-v".to_owned()])
    }

    fn words(definition: &Definition) -> String {
        let words: Vec<_> = definition.program.arguments.iter().map(|word| word.to_string_lossy()).collect();
        words.join(" ")
    }

    #[test]
    fn entries_become_command_lines_and_listeners() {
        let master_cf = "\
smtp      inet  n  -  y  -      -  smtpd
submission inet n  -  n  -      5  smtpd -o { syslog_name = postfix/submission } -o x=y
qmgr      unix  n  -  n  300    1  oqmgr
flush     unix  n  -  n  1000?  0  flush
maildrop  unix  -  n  n  -      -  pipe flags=DRXhu user=vmail argv=/usr/bin/maildrop
scache    unix  -  -  n  -      1  scache
policy    unix  -  n  n  -      0  ourpolicy
postlog   unix-dgram n - n -    1  postlogd
";
        let programs = ["smtpd", "qmgr", "flush", "postlogd", "resolver", "ourpolicy"];
        let found = definitions("", master_cf, &programs).expect("definitions");
        let shown: Vec<String> = found
            .iter()
            .map(|definition| {
                let endpoints: Vec<String> = definition.endpoints.iter().map(ToString::to_string).collect();
                format!("{} | {}", words(definition), endpoints.join(" "))
            })
            .collect();
        assert_eq!(
            shown,
            [
                "smtpd -n smtp -t inet -u -c -s 1 -v | 0.0.0.0:25",
                "smtpd -n submission -t inet -u -s 1 -v -o syslog_name = postfix/submission -o x=y | 0.0.0.0:587",
                "oqmgr -n qmgr -t unix -u -s 1 -v | public/qmgr",
                "flush -n flush -t unix -u -s 1 -v | public/flush",
                "ourpolicy -n policy -t unix -s 1 -v | private/policy",
                "postlogd -n postlog -t unix-dgram -u -s 1 -v | public/postlog",
                "resolver -n resolver -t unix -u -s 1 -v | private/resolver",
            ]
        );
        assert!(found[2].policy.path.ends_with("/qmgr"), "the program that does the same work");
        let wakeup = |at: usize| found[at].policy.wakeup.map(|wakeup| (wakeup.period.as_secs(), wakeup.only_if_used));
        assert_eq!((wakeup(2), wakeup(3)), (Some((300, false)), Some((1000, true))));
        assert_eq!((found[0].policy.listener.as_str(), found[0].policy.stage), ("25", Stage::Intake));
        assert_eq!(found[1].policy.limits.clients, Some(5));
        assert_eq!(found[4].policy.limits.share, 1, "a third-party program gets one job per process");
    }

    #[test]
    fn services_are_disabled_and_built_in_ones_added_when_needed() {
        let keys = |main_cf: &str, master_cf: &str| -> Vec<String> {
            let found = definitions(main_cf, master_cf, &["smtpd", "resolver", "postlogd"]).expect("definitions");
            found.into_iter().map(|definition| definition.policy.key).collect()
        };
        let two = "smtp inet n - n - - smtpd\n2525 inet n - n - - smtpd\n";
        assert_eq!(keys("", two), ["smtp/inet", "2525/inet", "resolver/unix"]);
        assert_eq!(keys("master_service_disable = inet, resolver/unix", two), Vec::<String>::new());
        assert_eq!(keys("master_service_disable = 2525/inet", two), ["smtp/inet", "resolver/unix"]);
        assert_eq!(keys("maillog_file = /var/log/mail", ""), ["resolver/unix", "postlog/unix-dgram"]);
        assert_eq!(keys("resolver_service_name = names", ""), ["names/unix"]);
        assert_eq!(keys("", "resolver unix - - y - - resolver\n"), ["resolver/unix"]);
    }

    #[test]
    fn session_limits_are_per_service() {
        let found = definitions(
            "service_session_limit = 500\nsmtp_session_limit = 1\n",
            "smtp inet n - n - 60 smtpd\nsubmission inet n - n - 2000 smtpd\n",
            &["smtpd"],
        )
        .expect("definitions");
        assert_eq!((found[0].policy.limits.share, found[0].policy.limits.processes), (1, 60));
        assert!(found[1].policy.limits.share <= 500);
    }
}
