//! The program behind `memcache:` tables.

use std::process::ExitCode;

fn main() -> ExitCode {
    table_server::run::<posthouse_table_memcache::Memcache>()
}
