//! The parameters of cleanup, read once at start.

use std::time::Duration;

use bstr::BString;
use config::Config;
use message::Limits;

/// What the parameters say.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "independent parameters")]
pub struct Settings {
    /// `myhostname`
    pub myhostname: String,
    /// `mail_name`
    pub mail_name: String,
    /// `enable_long_queue_ids`
    pub long_queue_ids: bool,
    /// `always_add_missing_headers`
    pub always_add_missing_headers: bool,
    /// `remote_header_rewrite_domain` is set: headers of remote mail are rewritten as well.
    pub rewrite_remote_headers: bool,
    /// `always_bcc`
    pub always_bcc: BString,
    /// `undisclosed_recipients_header`
    pub undisclosed_recipients_header: BString,
    /// `header_from_format = obsolete`
    pub obsolete_from: bool,
    /// `full_name_encoding_charset`
    pub full_name_charset: String,
    /// `empty_address_recipient`
    pub empty_address_recipient: BString,
    /// `message_size_limit`, bytes; 0 for none
    pub message_size_limit: u64,
    /// `hopcount_limit`
    pub hopcount_limit: u32,
    /// `header_size_limit`, `mime_boundary_length_limit`, `mime_nesting_limit`
    pub limits: Limits,
    /// `header_address_token_limit`
    pub header_address_token_limit: usize,
    /// `line_length_limit`
    pub line_length_limit: usize,
    /// `message_drop_headers`, lower case
    pub drop_headers: Vec<String>,
    /// `cleanup_replace_stray_cr_lf`
    pub replace_stray_cr: bool,
    /// `message_strip_characters`, decoded
    pub strip_characters: Vec<u8>,
    /// `message_reject_characters`, decoded
    pub reject_characters: Vec<u8>,
    /// `delay_warning_time`; none when zero
    pub delay_warning: Option<Duration>,
    /// `enable_original_recipient`
    pub original_recipient: bool,
    /// `duplicate_filter_limit`; 0 for none
    pub duplicate_filter_limit: usize,
    /// `queue_file_attribute_count_limit`
    pub attribute_count_limit: usize,
    /// `disable_verp_bounces`
    pub disable_verp: bool,
    /// `detect_8bit_encoding_header`
    pub detect_8bit_encoding: bool,
    /// `non_empty_end_of_header_action`
    pub end_of_header: EndOfHeaderAction,
    /// `disable_mime_input_processing`
    pub disable_mime: bool,
    /// `force_mime_input_conversion`
    pub force_conversion: bool,
    /// `strict_7bit_headers`, `strict_8bitmime`
    pub strict_headers: bool,
    /// `strict_8bitmime_body`, `strict_8bitmime`
    pub strict_body: bool,
    /// `strict_mime_encoding_domain`
    pub strict_encoding_domain: bool,
    /// `body_checks_size_limit`, bytes of each part
    pub body_checks_size_limit: u64,
    /// `in_flow_delay`
    pub in_flow_delay: Duration,
    /// `ipc_timeout`
    pub ipc_timeout: Duration,
    /// `queue_service_name`
    pub queue_service: String,
    /// `bounce_service_name`
    pub bounce_service: String,
    /// Milters are configured, so places for their edits are left in queue files.
    pub milter_places: bool,
    /// `delay_logging_resolution_limit`, decimals
    pub delay_resolution: u32,
    /// `smtputf8_autodetect_classes` has `sendmail`, and `smtputf8_enable` is on.
    pub detect_utf8_local: bool,
    /// As before, for `verify`.
    pub detect_utf8_probe: bool,
    /// `backwards_bounce_logfile_compatibility`
    pub old_bounce_log: bool,
}

/// What happens to a message whose header does not end with an empty line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndOfHeaderAction {
    /// An empty line is added.
    FixQuietly,
    /// A header says that an empty line was added.
    AddHeader,
    /// The message is refused.
    Reject,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            myhostname: "localhost".to_owned(),
            mail_name: "Posthouse".to_owned(),
            long_queue_ids: false,
            always_add_missing_headers: false,
            rewrite_remote_headers: false,
            always_bcc: BString::default(),
            undisclosed_recipients_header: BString::default(),
            obsolete_from: false,
            full_name_charset: "utf-8".to_owned(),
            empty_address_recipient: "MAILER-DAEMON".into(),
            message_size_limit: 10_240_000,
            hopcount_limit: 50,
            limits: Limits::default(),
            header_address_token_limit: 10_240,
            line_length_limit: 2048,
            drop_headers: ["bcc", "content-length", "resent-bcc", "return-path"].map(str::to_owned).to_vec(),
            replace_stray_cr: true,
            strip_characters: Vec::new(),
            reject_characters: Vec::new(),
            delay_warning: None,
            original_recipient: true,
            duplicate_filter_limit: 1000,
            attribute_count_limit: 100,
            disable_verp: false,
            detect_8bit_encoding: true,
            end_of_header: EndOfHeaderAction::FixQuietly,
            disable_mime: false,
            force_conversion: false,
            strict_headers: false,
            strict_body: false,
            strict_encoding_domain: false,
            body_checks_size_limit: 51_200,
            in_flow_delay: Duration::from_secs(1),
            ipc_timeout: Duration::from_secs(3600),
            queue_service: "qmgr".to_owned(),
            bounce_service: "bounce".to_owned(),
            milter_places: false,
            delay_resolution: 2,
            detect_utf8_local: true,
            detect_utf8_probe: true,
            old_bounce_log: true,
        }
    }
}

impl Settings {
    /// Reads the configuration.
    ///
    /// # Errors
    /// A parameter with a bad value.
    pub fn load(config: &Config) -> Result<Settings, config::Error> {
        let size = |name: &str| config.int(name).map(|value| usize::try_from(value).unwrap_or(0));
        let strict = config.bool("strict_8bitmime")?;
        let classes = config.list("smtputf8_autodetect_classes")?;
        let utf8 = config.bool("smtputf8_enable")?;
        let detects = |class: &str| utf8 && classes.iter().any(|name| name == class || name == "all");
        let delay_warning = config.time("delay_warning_time")?;
        Ok(Settings {
            myhostname: config.string("myhostname")?,
            mail_name: config.string("mail_name")?,
            long_queue_ids: config.bool("enable_long_queue_ids")?,
            always_add_missing_headers: config.bool("always_add_missing_headers")?,
            rewrite_remote_headers: !config.string("remote_header_rewrite_domain")?.is_empty(),
            always_bcc: config.string("always_bcc")?.into(),
            undisclosed_recipients_header: config.string("undisclosed_recipients_header")?.into(),
            obsolete_from: config.string("header_from_format")? == "obsolete",
            full_name_charset: config.string("full_name_encoding_charset")?,
            empty_address_recipient: config.string("empty_address_recipient")?.into(),
            message_size_limit: u64::try_from(config.long("message_size_limit")?).unwrap_or(0),
            hopcount_limit: u32::try_from(config.int("hopcount_limit")?).unwrap_or(u32::MAX),
            limits: Limits {
                header_size: size("header_size_limit")?,
                boundary_length: size("mime_boundary_length_limit")?,
                nesting: size("mime_nesting_limit")?,
            },
            header_address_token_limit: size("header_address_token_limit")?,
            line_length_limit: size("line_length_limit")?.max(1),
            drop_headers: config.list("message_drop_headers")?.iter().map(|name| drop_name(name)).collect(),
            replace_stray_cr: config.bool("cleanup_replace_stray_cr_lf")?,
            strip_characters: characters(&config.string("message_strip_characters")?),
            reject_characters: characters(&config.string("message_reject_characters")?),
            delay_warning: (!delay_warning.is_zero()).then_some(delay_warning),
            original_recipient: config.bool("enable_original_recipient")?,
            duplicate_filter_limit: size("duplicate_filter_limit")?,
            attribute_count_limit: size("queue_file_attribute_count_limit")?,
            disable_verp: config.bool("disable_verp_bounces")?,
            detect_8bit_encoding: config.bool("detect_8bit_encoding_header")?,
            end_of_header: match config.string("non_empty_end_of_header_action")?.as_str() {
                "add_header" => EndOfHeaderAction::AddHeader,
                "reject" => EndOfHeaderAction::Reject,
                _ => EndOfHeaderAction::FixQuietly,
            },
            disable_mime: config.bool("disable_mime_input_processing")?,
            force_conversion: config.bool("force_mime_input_conversion")?,
            strict_headers: strict || config.bool("strict_7bit_headers")?,
            strict_body: strict || config.bool("strict_8bitmime_body")?,
            strict_encoding_domain: config.bool("strict_mime_encoding_domain")?,
            body_checks_size_limit: u64::try_from(config.int("body_checks_size_limit")?).unwrap_or(0),
            in_flow_delay: config.time("in_flow_delay")?,
            ipc_timeout: config.time("ipc_timeout")?,
            queue_service: config.string("queue_service_name")?,
            bounce_service: config.string("bounce_service_name")?,
            milter_places: !config.string("smtpd_milters")?.is_empty()
                || !config.string("non_smtpd_milters")?.is_empty(),
            delay_resolution: u32::try_from(config.int("delay_logging_resolution_limit")?).unwrap_or(2),
            detect_utf8_local: detects("sendmail"),
            detect_utf8_probe: detects("verify"),
            old_bounce_log: config.bool("backwards_bounce_logfile_compatibility")?,
        })
    }

    /// True when a header of this name is dropped.
    #[must_use]
    pub fn drops(&self, name: &[u8]) -> bool {
        self.drop_headers.iter().any(|drop| drop.as_bytes().eq_ignore_ascii_case(name))
    }
}

/// Names may be written with their colon.
fn drop_name(name: &str) -> String {
    name.trim_end_matches(':').to_ascii_lowercase()
}

/// Decodes the backslash sequences of C: `\a \b \f \n \r \t \v \nnn \\`.
fn characters(text: &str) -> Vec<u8> {
    let mut output = Vec::new();
    let mut bytes = text.bytes().peekable();
    while let Some(byte) = bytes.next() {
        if byte != b'\\' {
            output.push(byte);
            continue;
        }
        match bytes.next() {
            Some(b'a') => output.push(7),
            Some(b'b') => output.push(8),
            Some(b'f') => output.push(12),
            Some(b'n') => output.push(b'\n'),
            Some(b'r') => output.push(b'\r'),
            Some(b't') => output.push(b'\t'),
            Some(b'v') => output.push(11),
            Some(digit @ b'0'..=b'7') => {
                let mut value = u32::from(digit - b'0');
                for _ in 0..2 {
                    if let Some(next) = bytes.next_if(|next| (b'0'..=b'7').contains(next)) {
                        value = value * 8 + u32::from(next - b'0');
                    }
                }
                output.push(value as u8);
            }
            Some(other) => output.push(other),
            None => {}
        }
    }
    output
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_of_c() {
        assert_eq!(characters(r"\0\a\t\177x\\"), [0, 7, 9, 127, b'x', b'\\']);
        assert_eq!(characters(""), Vec::<u8>::new());
        assert_eq!(characters(r"\12\08"), [10, 0, b'8']);
    }

    #[test]
    fn dropped_headers() {
        let settings = Settings::default();
        assert!(settings.drops(b"Bcc") && settings.drops(b"RETURN-PATH") && !settings.drops(b"To"));
    }
}
