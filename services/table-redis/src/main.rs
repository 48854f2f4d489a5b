//! The program behind `redis:` tables.

use std::process::ExitCode;

fn main() -> ExitCode {
    table_server::run::<posthouse_table_redis::Redis>()
}
