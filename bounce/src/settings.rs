//! The settings of notices.

use std::time::Duration;

use bstr::BString;
use config::Config;
use config::bounce_templates::{self, Templates};
use dsn::notice::Kind;

/// What notices depend on.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `myhostname`
    pub myhostname: String,
    /// `mail_name`
    pub mail_name: String,
    /// `notify_classes`
    pub notify_classes: Vec<String>,
    /// `double_bounce_sender`, completed with `$myorigin`.
    pub double_bounce_sender: BString,
    /// `2bounce_notice_recipient`
    pub double_bounce_recipient: BString,
    /// `bounce_notice_recipient`
    pub bounce_recipient: BString,
    /// `delay_notice_recipient`
    pub delay_recipient: BString,
    /// `bounce_size_limit`, bytes; 0 for no limit.
    pub bounce_size_limit: u64,
    /// `maximal_queue_lifetime`, seconds.
    pub maximal_queue_lifetime: i64,
    /// `ipc_timeout`
    pub ipc_timeout: Duration,
    /// The socket of cleanup.
    pub cleanup: String,
    templates: Vec<(Kind, Template)>,
}

impl Settings {
    /// Reads the settings and the notice templates.
    ///
    /// # Errors
    /// The first parameter, or the template file, that is wrong.
    pub fn load(config: &Config) -> Result<Settings, config::Error> {
        let text = |name: &str| config.string(name).map(BString::from);
        let mut double_bounce_sender = config.string("double_bounce_sender")?;
        if !double_bounce_sender.contains('@') {
            double_bounce_sender = format!("{double_bounce_sender}@{}", config.string("myorigin")?);
        }
        let seconds = |name: &str| config.time(name).map(|time| time.as_secs());
        Ok(Settings {
            myhostname: config.string("myhostname")?,
            mail_name: config.string("mail_name")?,
            notify_classes: config.list("notify_classes")?,
            double_bounce_sender: double_bounce_sender.into(),
            double_bounce_recipient: text("2bounce_notice_recipient")?,
            bounce_recipient: text("bounce_notice_recipient")?,
            delay_recipient: text("delay_notice_recipient")?,
            bounce_size_limit: u64::try_from(config.int("bounce_size_limit")?).unwrap_or(0),
            maximal_queue_lifetime: i64::try_from(seconds("maximal_queue_lifetime")?).unwrap_or(i64::MAX / 2),
            ipc_timeout: config.time("ipc_timeout")?,
            cleanup: format!("public/{}", config.string("cleanup_service_name")?),
            templates: load_templates(config)?,
        })
    }

    /// Whether the postmaster wants to hear about a class of trouble.
    #[must_use]
    pub fn notifies(&self, class: &str) -> bool {
        self.notify_classes.iter().any(|have| have == class)
    }

    /// The template of a kind of notice.
    #[must_use]
    pub fn template(&self, kind: Kind) -> &Template {
        self.templates
            .iter()
            .find(|(have, _)| *have == kind)
            .map(|(_, template)| template)
            .expect("load_templates gives one for each of the four kinds")
    }
}

/// A template with its text expanded.
#[derive(Clone, Debug)]
pub struct Template {
    /// From header value.
    pub from: String,
    /// Subject header value.
    pub subject: String,
    /// Subject header value of a postmaster's copy.
    pub postmaster_subject: String,
    /// Character set of the text.
    pub charset: String,
    /// The text, lines ended by LF.
    pub text: BString,
}

fn load_templates(config: &Config) -> Result<Vec<(Kind, Template)>, config::Error> {
    let templates = Templates::load(config)?;
    for warning in &templates.warnings {
        log::warning!("{warning}");
    }
    templates
        .iter()
        .map(|template| {
            let kind = match template.kind {
                bounce_templates::Kind::Failure => Kind::Failure,
                bounce_templates::Kind::Delay => Kind::Delay,
                bounce_templates::Kind::Success => Kind::Success,
                bounce_templates::Kind::Verify => Kind::Verify,
            };
            let expanded = Template {
                from: template.from.clone(),
                subject: template.subject.clone(),
                postmaster_subject: template.postmaster_subject.clone().unwrap_or_else(|| template.subject.clone()),
                charset: template.charset.clone(),
                text: template.expanded(config)?.into(),
            };
            Ok((kind, expanded))
        })
        .collect()
}
