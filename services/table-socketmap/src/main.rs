//! The program behind `socketmap:` and `tcp:` tables.

use std::process::ExitCode;

fn main() -> ExitCode {
    table_server::run::<posthouse_table_socketmap::SocketTable>()
}
