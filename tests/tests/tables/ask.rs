//! `postmap -q` of both suites.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use posthouse_tests::instance::RunAs;
use posthouse_tests::{Instance, Suite};

/// What a lookup gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Found(String),
    NotFound,
    /// With what was said about it.
    Error(String),
}

impl Answer {
    /// The value that was found.
    pub(crate) fn value(&self) -> Option<&str> {
        match self {
            Answer::Found(value) => Some(value),
            _ => None,
        }
    }

    pub(crate) fn is_error(&self, part: &str) -> bool {
        matches!(self, Answer::Error(text) if text.contains(part))
    }
}

/// The asker: a configuration, never started.
pub(crate) struct Ask {
    pub ours: Instance,
    reference: Option<Instance>,
    kind: &'static str,
}

impl Ask {
    /// Tables of this type. The reference is asked the same where its plug-in is there; it wants to be root for that.
    pub(crate) fn new(kind: &'static str) -> Ask {
        let ours = Instance::new(&Suite::ours(), RunAs::User);
        let suite = Suite::reference();
        let plugin = suite.libraries.as_ref().map(|path| path.join(format!("postfix-{kind}.so")));
        let plugin = plugin.filter(|path| path.exists() && nix::unistd::geteuid().is_root());
        let reference = plugin.map(|plugin| {
            let reference = Instance::new(&suite, RunAs::Root);
            // Without a postlogd that runs, the log file would cost each command a second.
            reference.add_main_cf(&format!("meta_directory = {}\nmaillog_file =", reference.config().display()));
            make_older(&reference.config().join("main.cf"));
            let line = format!("{kind} {} dict_{kind}_open\n", plugin.display());
            fs::write(reference.config().join("dynamicmaps.cf"), line).expect("write");
            reference
        });
        Ask { ours, reference, kind }
    }

    /// Asks with a table's settings.
    pub(crate) fn ask(&self, settings: &str, key: &str) -> Answer {
        query(&self.ours, self.kind, settings, key)
    }

    /// Asks a table by its whole name.
    pub(crate) fn table(&self, table: &str, key: &str) -> Answer {
        query_table(&self.ours, table, key)
    }

    /// Asks both suites for many keys; what they print has to be the same.
    pub(crate) fn both_many(&self, settings: &str, keys: &[&str]) -> String {
        let input = keys.join("\n");
        let print = |instance: &Instance| {
            let file = instance.write("table.cf", settings);
            make_older(&file);
            make_older(&file);
            let table = format!("{}:{}", self.kind, file.display());
            let output = instance.run_with_input("postmap", &["-q", "-", &table], input.as_bytes());
            let error = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(!error.contains("fatal:"), "{error}");
            String::from_utf8_lossy(&output.stdout).into_owned()
        };
        let printed = print(&self.ours);
        if let Some(reference) = &self.reference {
            assert_eq!(printed, print(reference), "{settings}");
        }
        printed
    }

    /// Asks both suites, who have to say the same; errors may be worded differently.
    pub(crate) fn both(&self, settings: &str, key: &str) -> Answer {
        let answer = self.ask(settings, key);
        if let Some(reference) = &self.reference {
            match (query(reference, self.kind, settings, key), &answer) {
                (Answer::Error(_), Answer::Error(_)) => {}
                (expected, answer) => assert_eq!(answer, &expected, "{key:?} in\n{settings}"),
            }
        }
        answer
    }
}

/// The reference reads a file that was just written again and again, until it is a second old.
fn make_older(path: &Path) {
    let file = fs::File::options().write(true).open(path).expect("open");
    file.set_modified(SystemTime::now() - Duration::from_secs(60)).expect("set the time");
}

fn query(instance: &Instance, kind: &str, settings: &str, key: &str) -> Answer {
    let file = instance.write("table.cf", settings);
    make_older(&file);
    query_table(instance, &format!("{kind}:{}", file.display()), key)
}

fn query_table(instance: &Instance, table: &str, key: &str) -> Answer {
    let output = instance.run("postmap", &["-q", key, table]);
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    match output.status.code() {
        Some(0) => Answer::Found(text.strip_suffix('\n').unwrap_or(&text).to_owned()),
        // Warnings come with lookups that find nothing, too.
        Some(1) if !error.contains("query error") && !error.contains("fatal:") => Answer::NotFound,
        _ => Answer::Error(error),
    }
}
