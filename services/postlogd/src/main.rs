//! postlogd(8): writes the log lines of all programs to `maillog_file`.

use std::process::ExitCode;

fn main() -> ExitCode {
    server::run_datagrams::<posthouse_postlogd::Postlogd>()
}
