//! The program behind `sqlite:` tables.

use std::process::ExitCode;

fn main() -> ExitCode {
    table_server::run::<posthouse_table_sqlite::Sqlite>()
}
