//! The options, and which go together.

use std::ffi::OsString;

use config::getopt::Getopt;

use crate::error::Error;

pub(crate) const USAGE: &str = "\
usage: postconf [-a (server SASL types)] [-A (client SASL types)] [-b (bounce templates)] [-c config_dir] \
[-C param_class] [-d (parameter defaults)] [-e (edit configuration)] [-f (fold lines)] [-F (master.cf fields)] \
[-h (no names)] [-H (no values)] [-j (JSON)] [-l (lock types)] [-m (map types)] [-M (master.cf)] \
[-n (non-default parameters)] [-o name=value (override parameter value)] [-p (main.cf, default)] \
[-P (master.cf parameters)] [-q (no deprecation warnings)] [-t (bounce templates)] \
[-T compile-version|run-version|public-key-algorithms] [-v (verbose)] [-x (expand parameter values)] [-X (exclude)] \
[-# (comment-out)] [name...]";

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Show parameters or services.
    List,
    /// Change a file.
    Edit(Change),
    /// `-a -A -l -m -T`.
    Facts(Facts),
    /// `-b` (expanded) or `-t`.
    Templates { expanded: bool },
}

/// How to change it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// `-e`, or an operand with `=`.
    Set,
    /// `-X`.
    Exclude,
    /// `-#`.
    CommentOut,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Facts {
    ServerSaslTypes,
    ClientSaslTypes,
    LockMethods,
    TableTypes,
    Tls(TlsFact),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TlsFact {
    CompileVersion,
    RunVersion,
    PublicKeyAlgorithms,
}

/// Which part of the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// `main.cf`.
    Main,
    /// `-M`.
    Entries,
    /// `-F`.
    Fields,
    /// `-P`.
    Overrides,
}

/// Which classes of parameters `-C` asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Classes {
    pub(crate) builtin: bool,
    pub(crate) service: bool,
    pub(crate) user: bool,
}

/// A command line that makes sense.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) action: Action,
    pub(crate) target: Target,
    pub(crate) config_directory: Option<OsString>,
    pub(crate) overrides: Vec<String>,
    pub(crate) classes: Classes,
    pub(crate) defaults: bool,
    pub(crate) only_set: bool,
    pub(crate) fold: bool,
    pub(crate) expand: bool,
    pub(crate) no_name: bool,
    pub(crate) no_value: bool,
    pub(crate) json: bool,
    pub(crate) quiet: bool,
    pub(crate) operands: Vec<String>,
}

/// Letters in the order in which messages name them.
const ORDER: &str = "aAbdefFhHjlmMnoPtTxX#";

/// Letters of which at most one may be given.
const ACTIONS: &str = "aAblmtTeX#";

impl Options {
    pub(crate) fn parse(arguments: Vec<OsString>) -> Result<Options, Error> {
        let mut getopt = Getopt::new(arguments, "aAbc:C:deEfFhHjlmMno:pPqtT:vxX#");
        let mut given = String::new();
        let mut config_directory = None;
        let mut overrides = Vec::new();
        let mut classes = None;
        let mut tls = TlsFact::CompileVersion;
        while let Some(option) = getopt.next_option()? {
            match option.letter {
                'c' => config_directory = Some(option.into_value()),
                'C' => add_classes(&mut classes, &option.text())?,
                'v' | 'p' => {}
                'E' => return Err(config::getopt::OptionError::Unknown('E').into()),
                letter => {
                    match letter {
                        'o' => overrides.push(option.text()),
                        'T' => tls = tls_fact(&option.text())?,
                        _ => {}
                    }
                    if !given.contains(letter) {
                        given.push(letter);
                    }
                }
            }
        }
        for option in &overrides {
            if config::main_cf::assignment(option).is_err() {
                return Err(Error::Override(option.clone()));
            }
        }
        let operands: Vec<String> =
            getopt.into_operands().into_iter().map(|word| word.to_string_lossy().into_owned()).collect();
        let has = |letter: char| given.contains(letter);
        let lists = !ACTIONS.chars().any(has);
        if lists && operands.iter().any(|word| word.contains('=')) && !has('o') {
            given.push('e');
        } else if lists && operands.iter().any(|word| word.contains('=')) {
            return Err(Error::request("specify one of -e -o"));
        }
        check(&given)?;
        let has = |letter: char| given.contains(letter);
        let action = if has('a') {
            Action::Facts(Facts::ServerSaslTypes)
        } else if has('A') {
            Action::Facts(Facts::ClientSaslTypes)
        } else if has('l') {
            Action::Facts(Facts::LockMethods)
        } else if has('m') {
            Action::Facts(Facts::TableTypes)
        } else if has('T') {
            Action::Facts(Facts::Tls(tls))
        } else if has('b') || has('t') {
            Action::Templates { expanded: has('b') }
        } else if has('e') {
            Action::Edit(Change::Set)
        } else if has('X') {
            Action::Edit(Change::Exclude)
        } else if has('#') {
            Action::Edit(Change::CommentOut)
        } else {
            Action::List
        };
        let target = match ('M', 'F', 'P') {
            (m, _, _) if has(m) => Target::Entries,
            (_, f, _) if has(f) => Target::Fields,
            (_, _, p) if has(p) => Target::Overrides,
            _ => Target::Main,
        };
        if let Action::Edit(change) = action {
            if operands.is_empty() {
                return Err(Error::request(match change {
                    Change::Set => "-e requires name=value argument",
                    Change::Exclude | Change::CommentOut => "missing service argument",
                }));
            }
            for word in &operands {
                if word.contains(['\n', '\r']) {
                    return Err(Error::request("-e, -X, or -# accepts no multi-line input"));
                }
                if word.trim_start().starts_with('#') {
                    return Err(Error::request("-e, -X, or -# accepts no comment input"));
                }
            }
        }
        Ok(Options {
            action,
            target,
            config_directory,
            overrides,
            classes: classes.unwrap_or(Classes { builtin: true, service: true, user: true }),
            defaults: has('d'),
            only_set: has('n'),
            fold: has('f'),
            expand: has('x'),
            no_name: has('h'),
            no_value: has('H'),
            json: has('j'),
            quiet: has('q'),
            operands,
        })
    }
}

fn check(given: &str) -> Result<(), Error> {
    let has = |letter: char| given.contains(letter);
    let one_of = |letters: &str| {
        let found: Vec<char> = ORDER.chars().filter(|c| letters.contains(*c) && has(*c)).collect();
        if found.len() < 2 {
            return Ok(());
        }
        let named: Vec<String> = found.iter().map(|letter| format!("-{letter}")).collect();
        Err(Error::request(format!("specify one of {}", named.join(" "))))
    };
    if has('b') && has('t') {
        return Err(Error::request("specify one of -b and -t"));
    }
    for letters in [ACTIONS, "FMP", "dn", "hH", "do", "hj", "Hj", "fj"] {
        one_of(letters)?;
    }
    // What shows nothing of the configuration, and what changes it, has no use for the ways of showing it.
    for action in ACTIONS.chars().filter(|c| has(*c)) {
        let editing = "eX#".contains(action);
        let templates = "bt".contains(action);
        let ways = if editing {
            "dfhHjnox"
        } else if templates {
            "dfFhHjMnPx"
        } else {
            "dfFhHjMnoPx"
        };
        for way in ways.chars() {
            one_of(&format!("{action}{way}"))?;
        }
    }
    for (target, forbidden) in [('M', "dhHn"), ('F', "dn#X"), ('P', "dn#")] {
        if let Some(letter) = forbidden.chars().find(|c| has(target) && has(*c)) {
            return Err(Error::request(format!("with option -{target}, do not specify -{letter}")));
        }
    }
    Ok(())
}

fn tls_fact(mode: &str) -> Result<TlsFact, Error> {
    match mode {
        "compile-version" => Ok(TlsFact::CompileVersion),
        "run-version" => Ok(TlsFact::RunVersion),
        "public-key-algorithms" => Ok(TlsFact::PublicKeyAlgorithms),
        _ => Err(Error::TlsFact(mode.to_owned())),
    }
}

fn add_classes(classes: &mut Option<Classes>, text: &str) -> Result<(), Error> {
    let all = classes.get_or_insert(Classes { builtin: false, service: false, user: false });
    for word in config::list::split(text) {
        match word.as_str() {
            "builtin" => all.builtin = true,
            "service" => all.service = true,
            "user" => all.user = true,
            "all" => *all = Classes { builtin: true, service: true, user: true },
            _ => return Err(Error::Request(format!("unknown -C option value \"{word}\" in \"{text}\""))),
        }
    }
    Ok(())
}
