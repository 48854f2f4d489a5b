//! What ends the command with exit status 1. All but usage errors show as `fatal:`.

/// Errors; the texts are what standard error shows behind `postconf: `.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// An option that does not exist, with the text that tells which do.
    #[error("{0}\n{usage}", usage = crate::options::USAGE)]
    Usage(#[from] config::getopt::OptionError),
    /// Options that do not go together, or arguments of the wrong form.
    #[error("fatal: {0}")]
    Request(String),
    /// `-o` without `=`.
    #[error("fatal: invalid parameter override: {0}: missing '=' after attribute name")]
    Override(String),
    /// `-T` with a question that nobody can answer.
    #[error("warning: unknown 'postconf -T' mode: {0}")]
    TlsFact(String),
    /// The configuration is wrong.
    #[error("fatal: {0}")]
    Config(#[from] config::Error),
    /// A file cannot be read or written.
    #[error("fatal: {what} {path}: {source}")]
    File {
        /// What was tried.
        what: &'static str,
        /// With which file.
        path: String,
        /// Why it failed.
        source: std::io::Error,
    },
}

impl Error {
    pub(crate) fn request(text: impl Into<String>) -> Error {
        Error::Request(text.into())
    }
}
