//! What this build can do: `-a -A -l -m -T`.

use std::path::PathBuf;

use config::Config;

use crate::Output;
use crate::options::{Facts, Options, TlsFact};

/// Shows a list, one element per line.
pub(crate) fn show(facts: Facts, options: &Options, output: &mut Output) {
    let available;
    let names: &[&str] = match facts {
        // Neither SASL nor TLS is in this build, and the reference, built without them, shows nothing either.
        Facts::ServerSaslTypes | Facts::ClientSaslTypes => &[],
        Facts::Tls(TlsFact::CompileVersion | TlsFact::RunVersion | TlsFact::PublicKeyAlgorithms) => &[],
        Facts::LockMethods => &["flock", "fcntl", "dotlock"],
        Facts::TableTypes => {
            available = table_types(options);
            &available
        }
    };
    if !options.operands.is_empty() {
        output.warn("names behind this option are not used");
    }
    for name in names {
        output.line(name);
    }
}

/// The types that are served in every process, and those whose servers are installed.
fn table_types(options: &Options) -> Vec<&'static str> {
    // What cannot be read has no say in where programs are.
    let configured = options.directory().ok().and_then(|directory| Config::load(&directory).ok());
    let config = configured.unwrap_or_else(|| Config::defaults(std::path::Path::new(config::DEFAULT_CONFIG_DIRECTORY)));
    let daemons = config.string("daemon_directory").map(PathBuf::from).unwrap_or_default();
    tables::open::available(|program| daemons.join(program).exists())
}
