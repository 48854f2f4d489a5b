//! Errors at start-up; errors of single lookups are part of the answers.

/// The routing settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A parameter of `main.cf`.
    #[error("{0}")]
    Config(#[from] config::Error),
    /// A table or list.
    #[error("{0}")]
    Table(#[from] tables::Error),
    /// A transport parameter without a transport.
    #[error("parameter {parameter}: missing transport name in \"{value}\"")]
    NoTransport {
        /// The parameter.
        parameter: &'static str,
        /// What it says.
        value: String,
    },
}
