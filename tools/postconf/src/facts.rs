//! What this build can do: `-a -A -l -m -T`.

use crate::Output;
use crate::options::{Facts, TlsFact};

/// Shows a list, one element per line.
pub(crate) fn show(facts: Facts, operands: &[String], output: &mut Output) {
    let names: &[&str] = match facts {
        // Neither SASL nor TLS is in this build, and the reference, built without them, shows nothing either.
        Facts::ServerSaslTypes | Facts::ClientSaslTypes => &[],
        Facts::Tls(TlsFact::CompileVersion | TlsFact::RunVersion | TlsFact::PublicKeyAlgorithms) => &[],
        Facts::LockMethods => &["flock", "fcntl", "dotlock"],
        Facts::TableTypes => tables::open::LOCAL,
    };
    if !operands.is_empty() {
        output.warn("names behind this option are not used");
    }
    for name in names {
        output.line(name);
    }
}
