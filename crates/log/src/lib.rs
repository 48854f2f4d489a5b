//! The log: to syslog, to `maillog_file` by way of postlogd, or to standard output, in the lines that tools parse.
//!
//! [`init`] chooses once where lines go. [`info!`], [`warning!`], [`error!`], [`fatal!`] and [`panic!`] write one line
//! each; they only log, the caller decides how the program goes on. [`lines`] has one function per line that log
//! analysers know. Whatever a line is made of, control characters never reach the log: they become `?`.
//!
//! A daemon's lines wait until the end of a turn of its event loop ([`set_batching`], [`flush`]) and leave together;
//! tools write each line at once.

mod framing;
pub mod lines;
mod logger;
mod options;
mod sink;
#[cfg(test)]
mod tests;

pub use framing::{Severity, Shown, TEXT_LIMIT, show};
pub use logger::{
    after_fork, capture, finish, flush, init, is_initialized, is_pending, print, set_batching, set_reconnect,
    set_syslog_socket, set_verbose, try_print_and_finish, verbose,
};
pub use options::{DirectFile, Facility, Options, Sink, file_permissions};

/// Logs a line without severity.
#[macro_export]
macro_rules! info {
    ($($argument:tt)+) => { $crate::print($crate::Severity::Info, ::core::format_args!($($argument)+)) };
}

/// Logs a `warning:` line.
#[macro_export]
macro_rules! warning {
    ($($argument:tt)+) => { $crate::print($crate::Severity::Warning, ::core::format_args!($($argument)+)) };
}

/// Logs an `error:` line.
#[macro_export]
macro_rules! error {
    ($($argument:tt)+) => { $crate::print($crate::Severity::Error, ::core::format_args!($($argument)+)) };
}

/// Logs a `fatal:` line, at once. The caller ends the program.
#[macro_export]
macro_rules! fatal {
    ($($argument:tt)+) => { $crate::print($crate::Severity::Fatal, ::core::format_args!($($argument)+)) };
}

/// Logs a `panic:` line (an inconsistency that should not be possible), at once.
#[doc(hidden)]
#[macro_export]
macro_rules! panic_line {
    ($($argument:tt)+) => { $crate::print($crate::Severity::Panic, ::core::format_args!($($argument)+)) };
}

/// Logs a line when `-v` was given, or `verbose_level` is reached with `level => ...`.
#[macro_export]
macro_rules! debug {
    ($($argument:tt)+) => {
        if $crate::verbose() > 0 {
            $crate::print($crate::Severity::Info, ::core::format_args!($($argument)+));
        }
    };
}

pub use panic_line as panic;
