//! The programs under test.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A set of programs.
#[derive(Clone, Debug)]
pub struct Suite {
    /// Where sendmail, postqueue, ... are.
    pub commands: PathBuf,
    /// Where master, smtpd, ... are.
    pub daemons: PathBuf,
    /// Shared libraries of the reference.
    pub libraries: Option<PathBuf>,
    /// What the reports call it.
    pub name: &'static str,
}

impl Suite {
    /// Ours, from the directory of the test's own build, or from `POSTHOUSE_BIN`.
    ///
    /// # Panics
    /// When it has not been built.
    #[must_use]
    pub fn ours() -> Suite {
        let directory = std::env::var_os("POSTHOUSE_BIN").map_or_else(built, PathBuf::from);
        assert!(
            directory.join("master").exists() && directory.join("smtpd").exists(),
            "{} has no programs: run `cargo build --workspace` first",
            directory.display()
        );
        Suite { commands: directory.clone(), daemons: directory, libraries: None, name: "posthouse" }
    }

    /// A Postfix unpacked from the distribution's package (`POSTFIX_ROOT`, by default what `.ci/run` unpacks).
    ///
    /// # Panics
    /// When it is not there.
    #[must_use]
    pub fn reference() -> Suite {
        let root = Suite::reference_root();
        Suite {
            commands: root.join("usr/sbin"),
            daemons: root.join("usr/lib/postfix/sbin"),
            libraries: Some(root.join("usr/lib/postfix")),
            name: "postfix",
        }
    }

    /// Where the distribution's package of the reference was unpacked (`POSTFIX_ROOT`).
    ///
    /// # Panics
    /// When it is not there.
    #[must_use]
    pub fn reference_root() -> PathBuf {
        let root =
            std::env::var_os("POSTFIX_ROOT").map_or_else(|| PathBuf::from("/opt/posthouse-reference"), PathBuf::from);
        assert!(
            root.join("usr/sbin/postconf").exists(),
            "no reference Postfix in {}: .ci/run unpacks it from the distribution's package",
            root.display()
        );
        root
    }

    /// A command of this suite.
    #[must_use]
    pub fn command(&self, tool: &str) -> Command {
        let daemon = self.daemons.join(tool);
        let command = self.commands.join(tool);
        let mut command = Command::new(if command.exists() { command } else { daemon });
        self.prepare(&mut command);
        command
    }

    pub(crate) fn prepare(&self, command: &mut Command) {
        if let Some(libraries) = &self.libraries {
            command.env("LD_LIBRARY_PATH", libraries);
        }
    }

    /// Whether this is the reference.
    #[must_use]
    pub fn is_reference(&self) -> bool {
        self.libraries.is_some()
    }
}

/// `target/debug` for a test in `target/debug/deps`.
fn built() -> PathBuf {
    let test = std::env::current_exe().expect("the path of the test");
    test.parent().and_then(Path::parent).expect("a test is two levels below the build").to_owned()
}
