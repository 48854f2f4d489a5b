//! sendmail, mailq, newaliases: the commands that programs submit mail with.

use std::process::ExitCode;

fn main() -> ExitCode {
    posthouse_sendmail::run()
}
