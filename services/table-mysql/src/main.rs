//! The program behind `mysql:` tables.

use std::process::ExitCode;

fn main() -> ExitCode {
    table_server::run::<posthouse_table_mysql::Mysql>()
}
