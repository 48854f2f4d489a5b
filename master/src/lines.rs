//! The texts of master's log lines (reference: log-lines).

use crate::supervisor::{Ending, Line};

/// Writes a line that a decision asks for; `pid` is the process id of the worker it is about.
pub(crate) fn write(line: &Line, pid: Option<i32>) {
    match line {
        Line::Ended { path, pid, ending: Ending::Exit(status) } => {
            log::warning!("process {path} pid {pid} exit status {status}");
        }
        Line::Ended { path, pid, ending: Ending::Signal(signal) } => {
            log::warning!("process {path} pid {pid} killed by signal {signal}");
        }
        Line::BadStartup { path } => log::warning!("{path}: bad command startup -- throttling"),
        Line::ThrottleReleased { path } => log::debug!("throttle released for command {path}"),
        Line::LimitReached { service, listener, limit } => {
            log::warning!(
                "service \"{service}\" ({listener}) has reached its process limit \"{limit}\": new clients may \
                 experience noticeable delays"
            );
            log::warning!(
                "to avoid this condition, increase the process count in master.cf or reduce the service time per client"
            );
            log::warning!(
                "the number bounds the clients that are served at once; stress=yes is in effect for new ones"
            );
        }
        Line::Hangs { path, silent, .. } => {
            let pid = pid.unwrap_or_default();
            log::warning!("process {path} pid {pid} gave no sign of life for {}s -- killing it", silent.as_secs());
        }
    }
}

pub(crate) fn stopped(path: &str, pid: i32, signal: i32) {
    log::warning!("process {path} pid {pid} stopped by signal {signal}");
}

pub(crate) fn started(version: &str, directory: &str) {
    log::info!("daemon started -- version {version}, configuration {directory}");
}

/// Daemons have fewer walls on this kernel.
pub(crate) fn unconfined(lacking: &str) {
    log::info!("this kernel has {lacking}: daemons are confined by their accounts and root directories alone");
}

pub(crate) fn reloaded(version: &str, directory: &str) {
    log::info!("reload -- version {version}, configuration {directory}");
}

pub(crate) fn terminating(signal: i32) {
    log::info!("terminating on signal {signal}");
}

/// A service of `master.cf` without a program in this installation.
pub(crate) fn no_program(service: &str, listener: &str, program: &str) {
    log::warning!("service \"{service}\" ({listener}): no program {program} in this installation -- not offered");
}

/// A service that needs no process of its own here.
pub(crate) fn work_done_elsewhere(service: &str, program: &str, by: &str) {
    log::info!("service \"{service}\": no {program} process is needed: {by}");
}
