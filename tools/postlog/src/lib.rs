//! postlog: logs its arguments, or each line of standard input, in the way of all other programs.

use std::ffi::{OsStr, OsString};
use std::io::{self, BufRead, BufReader, IsTerminal, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::process::ExitCode;
use std::time::Duration;

use config::getopt::Getopt;
use log::Severity;

/// Exit status for a caller who may not use the configuration that was asked for (`EX_NOPERM`).
const NO_PERMISSION: u8 = 77;
/// What is looked at of an input line; more than the log shows.
const LINE_LIMIT: u64 = 8 << 10;
/// What happens after a line that says the worst, as in all programs.
const PAUSE: Duration = Duration::from_secs(1);

/// Why nothing (more) was logged.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("usage: postlog [-c config_dir] [-i] [-p priority] [-t tag] [-v] [text]")]
    Usage(Option<String>),
    #[error("bad severity: \"{0}\"")]
    Severity(String),
    #[error(transparent)]
    Config(#[from] config::Error),
    #[error("read standard input: {}", sys::reason(.0))]
    Input(io::Error),
}

/// What the command line asks for.
#[derive(Debug)]
struct Request {
    directory: Option<OsString>,
    severity: Severity,
    tag: Option<String>,
    verbose: u32,
    text: Vec<OsString>,
}

/// The command; arguments begin with the program's name.
#[must_use]
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let terminal = io::stderr().is_terminal();
    let mut options = log::Options::before_configuration("postlog").also_stderr(terminal);
    options.tag = Some(format!("{}/postlog", options.syslog_name));
    log::init(options);
    let code = match post(arguments.into_iter().skip(1), terminal) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            if let Error::Usage(Some(mistake)) = &error {
                // getopt(3) speaks before the program does.
                let _ = writeln!(io::stderr(), "postlog: {mistake}");
            }
            log::fatal!("{error}");
            let refused = matches!(error, Error::Config(config::Error::UnauthorizedDirectory(_)));
            if refused { ExitCode::from(NO_PERMISSION) } else { ExitCode::FAILURE }
        }
    };
    log::finish();
    code
}

fn post(arguments: impl IntoIterator<Item = OsString>, terminal: bool) -> Result<(), Error> {
    let request = parse(arguments)?;
    let config = config::tool::load(request.directory.as_deref())?;
    if config::tool::Caller::current().is_untrusted() {
        config::tool::clean_environment(&config)?;
    }
    let mut options = log::Options::from_config(&config, "postlog")?.also_stderr(terminal);
    if sys::privileges::is_root() {
        options = options.direct_when_down(&config)?;
    }
    options.verbose = request.verbose;
    options.tag = Some(request.tag.unwrap_or_else(|| format!("{}/postlog", options.syslog_name)));
    log::init(options);
    if request.text.is_empty() {
        log_lines(request.severity, io::stdin().lock()).map_err(Error::Input)
    } else {
        let text = request.text.join(OsStr::new(" "));
        log_one(request.severity, text.as_bytes());
        Ok(())
    }
}

fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Request, Error> {
    let mut options = Getopt::new(arguments, "c:ip:t:v");
    let mut request = Request { directory: None, severity: Severity::Info, tag: None, verbose: 0, text: Vec::new() };
    while let Some(option) = options.next_option().map_err(|mistake| Error::Usage(Some(mistake.to_string())))? {
        match option.letter {
            'c' => request.directory = Some(option.into_value()),
            'p' => {
                let name = option.text();
                request.severity = Severity::from_name(&name.to_ascii_lowercase()).ok_or(Error::Severity(name))?;
            }
            't' => request.tag = Some(option.text()),
            'v' => request.verbose += 1,
            // `-i`: the process id is always there.
            _ => {}
        }
    }
    request.text = options.into_operands();
    Ok(request)
}

fn log_one(severity: Severity, text: &[u8]) {
    log::print(severity, format_args!("{}", log::show(text)));
    if severity >= Severity::Fatal {
        std::thread::sleep(PAUSE);
    }
}

/// Logs each line of `input`, cut at [`LINE_LIMIT`].
fn log_lines(severity: Severity, input: impl Read) -> io::Result<()> {
    let mut input = BufReader::new(input);
    let mut line = Vec::new();
    loop {
        line.clear();
        if (&mut input).take(LINE_LIMIT).read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        let ended = line.last() == Some(&b'\n');
        let text = line.strip_suffix(b"\n").unwrap_or(&line);
        log_one(severity, text);
        if !ended {
            skip_line(&mut input)?;
        }
    }
}

fn skip_line(input: &mut impl BufRead) -> io::Result<()> {
    loop {
        let buffer = input.fill_buf()?;
        if buffer.is_empty() {
            return Ok(());
        }
        let (length, found) = match buffer.iter().position(|byte| *byte == b'\n') {
            Some(at) => (at + 1, true),
            None => (buffer.len(), false),
        };
        input.consume(length);
        if found {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[&str]) -> Vec<OsString> {
        words.iter().map(OsString::from).collect()
    }

    #[test]
    fn options_are_those_of_the_reference() {
        let request =
            parse(words(&["-i", "-p", "warn", "-t", "a/b", "-vv", "-c/etc/x", "some", "text"])).expect("request");
        assert_eq!((request.severity, request.tag.as_deref(), request.verbose), (Severity::Warning, Some("a/b"), 2));
        assert_eq!(request.directory.as_deref(), Some(OsStr::new("/etc/x")));
        assert_eq!(request.text, words(&["some", "text"]));
        for (name, severity) in [("info", Severity::Info), ("error", Severity::Error), ("panic", Severity::Panic)] {
            assert_eq!(parse(words(&["-p", name])).expect("request").severity, severity);
        }
        let error = parse(words(&["-p", "bogus"])).expect_err("unknown");
        assert_eq!(error.to_string(), "bad severity: \"bogus\"");
        assert!(matches!(parse(words(&["-o", "x=y"])), Err(Error::Usage(Some(_)))));
    }

    #[test]
    fn every_line_of_the_input_is_one() {
        log::capture();
        let long = "x".repeat(20_000);
        let input = format!("one\n\ntwo\x07\n{long}\nlast");
        log_lines(Severity::Warning, input.as_bytes()).expect("input");
        let lines = log::capture();
        assert_eq!(lines[..3], ["warning: one", "warning: ", "warning: two?"]);
        assert_eq!(lines[3].len(), "warning: ".len() + log::TEXT_LIMIT);
        assert_eq!(lines[4..], ["warning: last"]);
    }

    #[test]
    fn the_file_of_root_is_written_while_postlogd_is_down() {
        if !sys::privileges::is_root() {
            return;
        }
        let directory = tempfile::tempdir().expect("directory");
        let place = directory.path().display();
        std::fs::write(
            directory.path().join("main.cf"),
            format!("queue_directory = {place}\nmaillog_file = {place}/maillog\nsyslog_name = abc\n"),
        )
        .expect("main.cf");
        let configuration = directory.path().as_os_str().to_owned();
        post([OsString::from("-c"), configuration.clone(), "some".into(), "text".into()], false).expect("post");
        post([OsString::from("-c"), configuration, "-t".into(), "tag".into(), "more".into()], false).expect("post");
        let text = std::fs::read_to_string(directory.path().join("maillog")).expect("maillog");
        let lines: Vec<&str> = text.lines().collect();
        let pid = std::process::id();
        assert!(lines[0].ends_with(&format!(" abc/postlog[{pid}]: some text")), "{text}");
        assert!(lines[1].ends_with(&format!(" tag[{pid}]: more")), "{text}");
    }
}
