//! The program behind `mongodb:` tables.

use std::process::ExitCode;

fn main() -> ExitCode {
    table_server::run::<posthouse_table_mongodb::Mongodb>()
}
