//! The settings of local delivery.

use std::ffi::OsString;
use std::time::Duration;

use address::Delimiters;
use config::Config;
use delivery::mailbox::lock;

/// Where a command or file destination was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// An alias table.
    Alias,
    /// A `.forward` file.
    Forward,
    /// An `:include:` file.
    Include,
}

/// What local reads from main.cf.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The configuration, for parameters that are expanded per recipient.
    pub config: Config,
    /// `myhostname`
    pub myhostname: String,
    /// `recipient_delimiter`
    pub delimiters: Delimiters,
    /// `default_privs`
    pub default_privs: String,
    /// `mail_spool_directory`
    pub mail_spool_directory: String,
    /// `home_mailbox`
    pub home_mailbox: String,
    /// `mailbox_command`, not expanded: the shell does that.
    pub mailbox_command: String,
    /// `local_command_shell`
    pub shell: String,
    /// `command_time_limit`, or `local_time_limit`.
    pub command_time_limit: Duration,
    /// `mailbox_size_limit`, bytes; none: no limit.
    pub mailbox_size_limit: Option<u64>,
    /// `mailbox_delivery_lock` and the rest.
    pub locking: lock::Settings,
    /// `allow_mail_to_commands`
    pub commands_from: Vec<Source>,
    /// `allow_mail_to_files`
    pub files_from: Vec<Source>,
    /// `prepend_delivered_header`: commands, files, forwarded mail.
    pub delivered_to: (bool, bool, bool),
    /// `expand_owner_alias`
    pub expand_owner_alias: bool,
    /// `reset_owner_alias`
    pub reset_owner_alias: bool,
    /// `ipc_timeout`
    pub ipc_timeout: Duration,
    /// `duplicate_filter_limit`
    pub duplicate_filter_limit: usize,
    /// The socket of cleanup.
    pub cleanup: String,
    /// `export_environment`, with the values that this process has.
    pub exported: Vec<(OsString, OsString)>,
    /// `require_home_directory`
    pub require_home_directory: bool,
    /// `forward_expansion_filter`
    pub forward_filter: String,
    /// `execution_directory_expansion_filter`
    pub directory_filter: String,
    /// `mailbox_transport`
    pub mailbox_transport: String,
    /// `fallback_transport`
    pub fallback_transport: String,
}

impl Settings {
    /// Reads the settings.
    ///
    /// # Errors
    /// The first parameter that is wrong.
    pub fn load(config: &Config) -> Result<Settings, config::Error> {
        let sources = |name: &str| -> Result<Vec<Source>, config::Error> {
            config
                .list(name)?
                .into_iter()
                .map(|word| match word.as_str() {
                    "alias" => Ok(Source::Alias),
                    "forward" => Ok(Source::Forward),
                    "include" => Ok(Source::Include),
                    _ => Err(config.invalid_value("destination source", name, word)),
                })
                .collect()
        };
        let delivered = config.list("prepend_delivered_header")?;
        let on = |word: &str| delivered.iter().any(|have| have == word);
        Ok(Settings {
            config: config.clone(),
            myhostname: config.string("myhostname")?,
            delimiters: Delimiters::new(
                config.string("recipient_delimiter")?.as_bytes(),
                config.bool("owner_request_special")?,
            ),
            default_privs: config.string("default_privs")?,
            mail_spool_directory: config.string("mail_spool_directory")?,
            home_mailbox: config.string("home_mailbox")?,
            mailbox_command: config.raw("mailbox_command")?,
            shell: config.string("local_command_shell")?,
            command_time_limit: config.time("command_time_limit")?,
            mailbox_size_limit: u64::try_from(config.long("mailbox_size_limit")?).ok().filter(|limit| *limit > 0),
            locking: lock::Settings::load(config, "mailbox_delivery_lock")?,
            commands_from: sources("allow_mail_to_commands")?,
            files_from: sources("allow_mail_to_files")?,
            delivered_to: (on("command"), on("file"), on("forward")),
            expand_owner_alias: config.bool("expand_owner_alias")?,
            reset_owner_alias: config.bool("reset_owner_alias")?,
            ipc_timeout: config.time("ipc_timeout")?,
            duplicate_filter_limit: usize::try_from(config.int("duplicate_filter_limit")?).unwrap_or(1000),
            cleanup: format!("public/{}", config.string("cleanup_service_name")?),
            exported: config::tool::exported_environment(config)?,
            require_home_directory: config.bool("require_home_directory")?,
            forward_filter: config.string("forward_expansion_filter")?,
            directory_filter: config.string("execution_directory_expansion_filter")?,
            mailbox_transport: config.string("mailbox_transport")?,
            fallback_transport: config.string("fallback_transport")?,
        })
    }
}
