//! postalias(1): builds, queries and changes alias databases.

use std::process::ExitCode;

use tables::build::Syntax;
use tables::command::Command;

const POSTALIAS: Command = Command {
    name: "postalias",
    letters: "c:d:fFijnNopq:rsuvw",
    usage: "[-fFijnNoprsuvw] [-c config_dir] [-d key] [-q key] [map_type:]file...",
    syntax: Syntax::Alias,
    separator: ":\t",
    message_keys: None,
};

fn main() -> ExitCode {
    POSTALIAS.run()
}
