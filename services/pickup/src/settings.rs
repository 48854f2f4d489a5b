//! The parameters of pickup, read once at start.

use std::time::Duration;

use config::Config;
use ipc::cleanup::Options;

/// What the parameters say.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `content_filter`; none when empty.
    pub content_filter: Option<String>,
    /// What cleanup does with local mail (`receive_override_options`).
    pub options: Options,
    /// `cleanup_service_name`
    pub cleanup_service: String,
    /// `ipc_timeout`
    pub ipc_timeout: Duration,
    /// `info_log_address_format = external`
    pub external_addresses: bool,
}

impl Settings {
    /// Reads the configuration.
    ///
    /// # Errors
    /// A parameter with a bad value.
    pub fn load(config: &Config) -> Result<Settings, config::Error> {
        let overrides = config.list("receive_override_options")?;
        let allowed = |word: &str| !overrides.iter().any(|given| given == word);
        Ok(Settings {
            content_filter: Some(config.string("content_filter")?).filter(|filter| !filter.is_empty()),
            options: Options {
                // The submitter has gone: what cannot be accepted goes back as mail.
                bounce: true,
                header_body_checks: allowed("no_header_body_checks"),
                automatic_bcc: allowed("no_address_mappings"),
                address_mapping: allowed("no_address_mappings"),
                milters: allowed("no_milters"),
                hold: false,
                extract_recipients: false,
            },
            cleanup_service: config.string("cleanup_service_name")?,
            ipc_timeout: config.time("ipc_timeout")?,
            external_addresses: config.string("info_log_address_format")? != "internal",
        })
    }
}
