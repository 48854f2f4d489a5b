//! Where lines go, and under what name.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use config::Config;

/// All that the log has to know.
#[derive(Debug)]
pub struct Options {
    /// Name of this program (`smtpd`), after the slash of the tag.
    pub program: String,
    /// `syslog_name`: what stands before the slash; `postfix`, `postfix/submission`.
    pub syslog_name: String,
    /// Stands for `syslog_name/program` where a tag is given whole (`postlog -t`).
    pub tag: Option<String>,
    /// `syslog_facility`.
    pub facility: Facility,
    /// First label of the host name, for sinks other than syslog, which adds its own.
    pub host: String,
    /// Where lines go.
    pub sink: Sink,
    /// How often `-v` was given.
    pub verbose: u32,
    /// Lines go to standard error as well (tools; daemons run by hand), as `program: severity: text`.
    pub also_stderr: bool,
}

/// Where lines go.
#[derive(Debug)]
pub enum Sink {
    /// To the syslog daemon at this socket, `/dev/log`.
    Syslog(PathBuf),
    /// To postlogd.
    Postlog {
        /// Its socket, `public/postlog` below `queue_directory`.
        socket: PathBuf,
        /// For the tools of root: written to when postlogd does not answer.
        direct: Option<DirectFile>,
    },
    /// To standard output (`maillog_file = /dev/stdout`), or wherever this descriptor leads.
    Stream(OwnedFd),
    /// Nowhere but to standard error, if [`Options::also_stderr`] says so.
    None,
}

/// `maillog_file`, written without postlogd.
#[derive(Clone, Debug)]
pub struct DirectFile {
    /// The file.
    pub path: PathBuf,
    /// Permissions when it has to be made (`maillog_file_permissions`).
    pub permissions: u32,
}

/// A syslog facility (RFC 5424 6.2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facility(u8);

impl Facility {
    /// `mail`
    pub const MAIL: Facility = Facility(2);

    /// The facility that `syslog_facility` calls `name`.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Facility> {
        const NAMES: [(&str, u8); 20] = [
            ("kern", 0),
            ("user", 1),
            ("mail", 2),
            ("daemon", 3),
            ("auth", 4),
            ("syslog", 5),
            ("lpr", 6),
            ("news", 7),
            ("uucp", 8),
            ("cron", 9),
            ("authpriv", 10),
            ("ftp", 11),
            ("local0", 16),
            ("local1", 17),
            ("local2", 18),
            ("local3", 19),
            ("local4", 20),
            ("local5", 21),
            ("local6", 22),
            ("local7", 23),
        ];
        NAMES.iter().find(|(known, _)| *known == name).map(|(_, code)| Facility(*code))
    }

    pub(crate) fn priority(self, level: u8) -> u8 {
        self.0 * 8 + level
    }
}

impl Options {
    /// What holds before the configuration is read: syslog, with the tag that `MAIL_LOGTAG` says (default `postfix`).
    #[must_use]
    pub fn before_configuration(program: &str) -> Options {
        Options {
            program: program.to_owned(),
            syslog_name: std::env::var("MAIL_LOGTAG").unwrap_or_else(|_| "postfix".to_owned()),
            tag: None,
            facility: Facility::MAIL,
            host: host(None),
            sink: Sink::Syslog(PathBuf::from(SYSLOG_SOCKET)),
            verbose: 0,
            also_stderr: false,
        }
    }

    /// What a daemon or tool named `program` is told by `syslog_name`, `syslog_facility` and `maillog_file`.
    ///
    /// # Errors
    /// Those of the configuration. An unknown facility counts as `mail`.
    pub fn from_config(config: &Config, program: &str) -> Result<Options, config::Error> {
        let facility = Facility::from_name(&config.string("syslog_facility")?).unwrap_or(Facility::MAIL);
        let mut options =
            Options { syslog_name: config.string("syslog_name")?, facility, ..Options::before_configuration(program) };
        if !config.string("maillog_file")?.is_empty() {
            let service = config.string("postlog_service_name")?;
            let socket = Path::new(&config.string("queue_directory")?).join("public").join(service);
            options.sink = Sink::Postlog { socket, direct: None };
            options.host = host(config.string("myhostname").ok());
        }
        Ok(options)
    }

    /// Lets a tool that root runs (postfix, postsuper, postmulti, postlog) write to `maillog_file` itself while
    /// postlogd is down.
    ///
    /// # Errors
    /// Those of the configuration.
    pub fn direct_when_down(mut self, config: &Config) -> Result<Options, config::Error> {
        if let Sink::Postlog { direct, .. } = &mut self.sink {
            let path = PathBuf::from(config.string("maillog_file")?);
            let permissions = file_permissions(&config.string("maillog_file_permissions")?);
            *direct = Some(DirectFile { path, permissions });
        }
        Ok(self)
    }

    /// For daemons, whose working directory is `queue_directory` in the jail and outside: postlogd's socket is named
    /// from there.
    #[must_use]
    pub fn within_queue_directory(mut self) -> Options {
        if let Sink::Postlog { socket, .. } = &mut self.sink
            && let Some(name) = socket.file_name()
        {
            *socket = Path::new("public").join(name);
        }
        self
    }

    /// Shows lines on standard error as well.
    #[must_use]
    pub fn also_stderr(mut self, yes: bool) -> Options {
        self.also_stderr = yes;
        self
    }
}

/// The socket of the syslog daemon.
pub(crate) const SYSLOG_SOCKET: &str = "/dev/log";

/// `maillog_file_permissions` as a number: octal, 0600 when it makes no sense.
#[must_use]
pub fn file_permissions(text: &str) -> u32 {
    u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o777).unwrap_or(0o600)
}

/// First label of the name that lines of `maillog_file` have: `POSTLOG_HOSTNAME`, or `myhostname`, or, before that is
/// known, this machine's.
fn host(myhostname: Option<String>) -> String {
    let name = std::env::var("POSTLOG_HOSTNAME")
        .ok()
        .or(myhostname)
        .or_else(|| nix::unistd::gethostname().ok().map(|n| n.to_string_lossy().into_owned()))
        .unwrap_or_default();
    match name.split('.').next() {
        Some(label) if !label.is_empty() => label.to_owned(),
        _ => "localhost".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fixed: lines of maillog_file had the machine's name, those of the reference have that of myhostname.
    #[test]
    fn lines_of_maillog_file_have_the_first_label_of_myhostname() {
        let text = "maillog_file = /var/log/mail\nmyhostname = mx.example.test\n";
        let config = Config::from_text(text).expect("configuration");
        let options = Options::from_config(&config, "smtpd").expect("options");
        assert_eq!(options.host, "mx");
    }

    #[test]
    fn priorities_are_those_of_the_protocol() {
        let mail = Facility::from_name("mail").expect("known");
        assert_eq!(mail, Facility::MAIL);
        assert_eq!(mail.priority(6), 22);
        assert_eq!(Facility::from_name("local7").expect("known").priority(4), 188);
        assert_eq!(Facility::from_name("nosuch"), None);
    }

    #[test]
    fn permissions_are_octal() {
        for (text, mode) in [("0600", 0o600), ("644", 0o644), ("0640", 0o640), ("bogus", 0o600), ("7777", 0o600)] {
            assert_eq!(file_permissions(text), mode, "{text}");
        }
    }
}
