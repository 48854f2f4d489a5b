//! The commands, how often each was used, and what is special about them.

/// A command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// `HELO`
    Helo,
    /// `EHLO`
    Ehlo,
    /// `XCLIENT`
    Xclient,
    /// `XFORWARD`
    Xforward,
    /// `STARTTLS`
    Starttls,
    /// `AUTH`
    Auth,
    /// `MAIL`
    Mail,
    /// `RCPT`
    Rcpt,
    /// `DATA`
    Data,
    /// `BDAT`
    Bdat,
    /// `RSET`
    Rset,
    /// `NOOP`
    Noop,
    /// `VRFY`
    Vrfy,
    /// `ETRN`
    Etrn,
    /// `QUIT`
    Quit,
    /// `HELP`
    Help,
    /// Anything else.
    Unknown,
}

impl Verb {
    /// In the order in which the `disconnect` line counts them.
    pub const ALL: [Verb; 17] = [
        Verb::Helo,
        Verb::Ehlo,
        Verb::Xclient,
        Verb::Xforward,
        Verb::Starttls,
        Verb::Auth,
        Verb::Mail,
        Verb::Rcpt,
        Verb::Data,
        Verb::Bdat,
        Verb::Rset,
        Verb::Noop,
        Verb::Vrfy,
        Verb::Etrn,
        Verb::Quit,
        Verb::Help,
        Verb::Unknown,
    ];

    /// The command of a word, in any case.
    #[must_use]
    pub fn parse(word: &[u8]) -> Verb {
        Verb::ALL
            .into_iter()
            .find(|verb| *verb != Verb::Unknown && word.eq_ignore_ascii_case(verb.name().as_bytes()))
            .unwrap_or(Verb::Unknown)
    }

    /// The name, upper case, as in log lines.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Verb::Helo => "HELO",
            Verb::Ehlo => "EHLO",
            Verb::Xclient => "XCLIENT",
            Verb::Xforward => "XFORWARD",
            Verb::Starttls => "STARTTLS",
            Verb::Auth => "AUTH",
            Verb::Mail => "MAIL",
            Verb::Rcpt => "RCPT",
            Verb::Data => "DATA",
            Verb::Bdat => "BDAT",
            Verb::Rset => "RSET",
            Verb::Noop => "NOOP",
            Verb::Vrfy => "VRFY",
            Verb::Etrn => "ETRN",
            Verb::Quit => "QUIT",
            Verb::Help => "HELP",
            Verb::Unknown => "UNKNOWN",
        }
    }

    /// The name in lower case, as the `disconnect` line has it.
    #[must_use]
    pub const fn count_name(self) -> &'static str {
        match self {
            Verb::Helo => "helo",
            Verb::Ehlo => "ehlo",
            Verb::Xclient => "xclient",
            Verb::Xforward => "xforward",
            Verb::Starttls => "starttls",
            Verb::Auth => "auth",
            Verb::Mail => "mail",
            Verb::Rcpt => "rcpt",
            Verb::Data => "data",
            Verb::Bdat => "bdat",
            Verb::Rset => "rset",
            Verb::Noop => "noop",
            Verb::Vrfy => "vrfy",
            Verb::Etrn => "etrn",
            Verb::Quit => "quit",
            Verb::Help => "help",
            Verb::Unknown => "unknown",
        }
    }

    /// RFC 2920 3.1: nothing may follow it before its reply.
    pub(super) const fn ends_a_batch(self) -> bool {
        matches!(self, Verb::Helo | Verb::Ehlo | Verb::Data | Verb::Noop | Verb::Vrfy)
    }

    /// RFC 3207 4: what is allowed before STARTTLS where TLS is required.
    pub(super) const fn may_precede_tls(self) -> bool {
        matches!(self, Verb::Helo | Verb::Ehlo | Verb::Starttls | Verb::Noop | Verb::Quit | Verb::Help)
    }

    /// Counts for `smtpd_junk_command_limit`.
    pub(super) const fn is_junk(self) -> bool {
        matches!(self, Verb::Helo | Verb::Ehlo | Verb::Rset | Verb::Noop | Verb::Vrfy | Verb::Etrn)
    }
}

/// How often each command came, and how often it was accepted.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    total: [u16; 17],
    accepted: [u16; 17],
}

impl Counts {
    pub(super) fn add(&mut self, verb: Verb) {
        let slot = &mut self.total[verb as usize];
        *slot = slot.saturating_add(1);
    }

    pub(super) fn accept(&mut self, verb: Verb) {
        let slot = &mut self.accepted[verb as usize];
        *slot = slot.saturating_add(1);
    }

    /// (command, accepted, total) of every command that was used, in the log's order.
    pub fn used(&self) -> impl Iterator<Item = (Verb, u16, u16)> {
        Verb::ALL
            .into_iter()
            .map(|verb| (verb, self.accepted[verb as usize], self.total[verb as usize]))
            .filter(|(_, _, total)| *total > 0)
    }
}
