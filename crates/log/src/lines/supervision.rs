//! What master says about the processes it minds, and daemons about themselves.

use std::fmt;

/// master: `daemon started -- version v, configuration dir`.
pub fn daemon_started(version: &str, configuration: &str) {
    crate::info!("daemon started -- version {version}, configuration {configuration}");
}

/// master: `reload -- version v, configuration dir`.
pub fn reloaded(version: &str, configuration: &str) {
    crate::info!("reload -- version {version}, configuration {configuration}");
}

/// master: `terminating on signal n`.
pub fn terminating(signal: i32) {
    crate::info!("terminating on signal {signal}");
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// With this exit status.
    Exit(i32),
    /// By this signal.
    Killed(i32),
    /// Not ended, but stopped by this signal.
    Stopped(i32),
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Ending::Exit(status) => write!(f, "exit status {status}"),
            Ending::Killed(signal) => write!(f, "killed by signal {signal}"),
            Ending::Stopped(signal) => write!(f, "stopped by signal {signal}"),
        }
    }
}

/// master: `warning: process path pid n exit status n`.
pub fn process_ended(path: &str, pid: i32, ending: Ending) {
    crate::warning!("process {path} pid {pid} {ending}");
}

/// master: `warning: path: bad command startup -- throttling`.
pub fn bad_command_startup(path: &str) {
    crate::warning!("{path}: bad command startup -- throttling");
}

/// master: `warning: service "name" (port) has reached its process limit "n": ...` and the two lines of advice.
pub fn process_limit_reached(service: &str, port: &str, limit: u32) {
    crate::warning!(
        "service \"{service}\" ({port}) has reached its process limit \"{limit}\": new clients may experience noticeable \
         delays"
    );
    crate::warning!(
        "to avoid this condition, increase the process count in master.cf or reduce the service time per client"
    );
    crate::warning!(
        "see https://www.postfix.org/STRESS_README.html for examples of stress-adapting configuration settings"
    );
}

/// Any daemon: `table type:name has changed -- restarting`; `table` as the tables crate names it, with its flags.
pub fn table_changed(table: &str) {
    crate::info!("table {table} has changed -- restarting");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masters_lines() {
        crate::capture();
        daemon_started("3.12.0", "/etc/postfix");
        terminating(15);
        process_ended("/usr/lib/postfix/sbin/smtpd", 42, Ending::Exit(1));
        process_ended("/usr/lib/postfix/sbin/smtpd", 42, Ending::Killed(9));
        bad_command_startup("/usr/lib/postfix/sbin/smtpd");
        process_limit_reached("smtp", "25", 100);
        table_changed("lmdb:/etc/aliases(0,lock|fold_fix)");
        let lines = crate::capture();
        assert_eq!(lines[0], "daemon started -- version 3.12.0, configuration /etc/postfix");
        assert_eq!(lines[1], "terminating on signal 15");
        assert_eq!(lines[2], "warning: process /usr/lib/postfix/sbin/smtpd pid 42 exit status 1");
        assert_eq!(lines[3], "warning: process /usr/lib/postfix/sbin/smtpd pid 42 killed by signal 9");
        assert_eq!(lines[4], "warning: /usr/lib/postfix/sbin/smtpd: bad command startup -- throttling");
        assert!(
            lines[5].starts_with("warning: service \"smtp\" (25) has reached its process limit \"100\": new clients")
        );
        assert_eq!(lines[8], "table lmdb:/etc/aliases(0,lock|fold_fix) has changed -- restarting");
    }
}
