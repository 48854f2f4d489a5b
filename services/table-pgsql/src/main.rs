//! The program behind `pgsql:` tables.

use std::process::ExitCode;

fn main() -> ExitCode {
    table_server::run::<posthouse_table_pgsql::Pgsql>()
}
