//! postmap(1): the command is [`tables::command`]; here is what only postmap has, keys from a message.

mod message_keys;

use tables::build::Syntax;
use tables::command::Command;

/// The command.
pub const POSTMAP: Command = Command {
    name: "postmap",
    letters: "bc:d:fFhijmnNopq:rsuUvw",
    usage: "[-bfFhijmnNoprsuUvw] [-c config_dir] [-d key] [-q key] [map_type:]file...",
    syntax: Syntax::Map,
    separator: "\t",
    message_keys: Some(message_keys::each),
};
