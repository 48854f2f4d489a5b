//! The program behind `ldap:` tables.

use std::process::ExitCode;

fn main() -> ExitCode {
    table_server::run::<posthouse_table_ldap::Ldap>()
}
