//! What master knows about the programs that `master.cf` names: how they serve, and in which order they stop.
//!
//! The names are those of `daemon_directory`. A program that is not listed (third-party) is a job program.

/// How a program serves its clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// Many clients per process; `maxproc` bounds the clients.
    Sessions,
    /// Many clients per process, each other daemon keeps a connection to it; `maxproc` bounds the processes, as it does in
    /// Postfix, where these are the programs that serve many clients too.
    Shared,
    /// One process, whatever `maxproc` says, for any number of clients.
    Alone,
    /// One job per process at a time; `maxproc` bounds the processes.
    Jobs,
}

/// When a program ends as master stops: the earlier stages first, so that what is under way can be finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Takes mail in.
    Intake,
    /// Gives out deliveries.
    Queue,
    /// Delivers, or helps the others.
    Support,
    /// Writes the log of all others.
    Log,
}

/// One program.
#[derive(Clone, Copy, Debug)]
pub struct Program {
    /// File name in `daemon_directory`.
    pub name: &'static str,
    /// How it serves.
    pub style: Style,
    /// When it ends.
    pub stage: Stage,
    /// The program that does the same work under another name, used where no file has this name.
    pub same_as: Option<&'static str>,
    /// For programs that Posthouse has no use for: who does their work.
    pub work_done_by: Option<&'static str>,
}

const fn program(name: &'static str, style: Style, stage: Stage) -> Program {
    Program { name, style, stage, same_as: None, work_done_by: None }
}

const fn same(name: &'static str, style: Style, stage: Stage, as_program: &'static str) -> Program {
    Program { name, style, stage, same_as: Some(as_program), work_done_by: None }
}

const fn elsewhere(name: &'static str, by: &'static str) -> Program {
    Program { name, style: Style::Shared, stage: Stage::Support, same_as: None, work_done_by: Some(by) }
}

/// All that master knows.
pub static PROGRAMS: &[Program] = &[
    program("anvil", Style::Alone, Stage::Support),
    program("bounce", Style::Sessions, Stage::Support),
    program("cleanup", Style::Sessions, Stage::Support),
    program("discard", Style::Sessions, Stage::Support),
    elsewhere("dnsblog", "postscreen asks the resolver service"),
    program("error", Style::Sessions, Stage::Support),
    program("flush", Style::Sessions, Stage::Support),
    same("lmtp", Style::Sessions, Stage::Support, "smtp"),
    program("local", Style::Jobs, Stage::Support),
    program("nbdb_reindexd", Style::Alone, Stage::Support),
    same("nqmgr", Style::Alone, Stage::Queue, "qmgr"),
    same("oqmgr", Style::Alone, Stage::Queue, "qmgr"),
    program("pickup", Style::Alone, Stage::Intake),
    program("pipe", Style::Jobs, Stage::Support),
    program("postlogd", Style::Alone, Stage::Log),
    program("postscreen", Style::Alone, Stage::Intake),
    program("proxymap", Style::Shared, Stage::Support),
    program("qmgr", Style::Alone, Stage::Queue),
    program("qmqpd", Style::Sessions, Stage::Intake),
    program("resolver", Style::Shared, Stage::Support),
    elsewhere("scache", "smtp and lmtp keep their connections themselves"),
    program("showq", Style::Sessions, Stage::Support),
    program("smtp", Style::Sessions, Stage::Support),
    program("smtpd", Style::Sessions, Stage::Intake),
    program("spawn", Style::Jobs, Stage::Support),
    program("table-ldap", Style::Shared, Stage::Support),
    program("table-memcache", Style::Shared, Stage::Support),
    program("table-mongodb", Style::Shared, Stage::Support),
    program("table-mysql", Style::Shared, Stage::Support),
    program("table-pgsql", Style::Shared, Stage::Support),
    program("table-redis", Style::Shared, Stage::Support),
    program("table-socketmap", Style::Shared, Stage::Support),
    program("table-sqlite", Style::Shared, Stage::Support),
    program("tlsmgr", Style::Alone, Stage::Support),
    program("tlsproxy", Style::Sessions, Stage::Support),
    program("trivial-rewrite", Style::Shared, Stage::Support),
    program("verify", Style::Alone, Stage::Support),
    program("virtual", Style::Jobs, Stage::Support),
];

static THIRD_PARTY: Program = program("", Style::Jobs, Stage::Support);

/// What is known of the program `name`.
#[must_use]
pub fn find(name: &str) -> &'static Program {
    PROGRAMS.binary_search_by(|have| have.name.cmp(name)).map_or(&THIRD_PARTY, |at| &PROGRAMS[at])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted() {
        assert!(PROGRAMS.is_sorted_by(|a, b| a.name < b.name));
    }

    #[test]
    fn unknown_programs_serve_one_job_per_process() {
        assert_eq!(find("greylistd").style, Style::Jobs);
        assert_eq!(find("smtpd").style, Style::Sessions);
        assert_eq!(find("lmtp").same_as, Some("smtp"));
        assert!(find("scache").work_done_by.is_some());
    }
}
