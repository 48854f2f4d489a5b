//! The program: one worker of the `smtp`, `relay` or `lmtp` service.

use std::rc::Rc;

use delivery::{Agent, Job};
use server::{Account, StartError, Startup};

use crate::deliver::Smtp;
use crate::settings::Settings;

/// The agent; called `lmtp`, it speaks LMTP.
#[derive(Debug)]
pub struct SmtpAgent {
    smtp: Smtp,
}

impl Agent for SmtpAgent {
    const PROGRAM: &'static str = "smtp";
    const ACCOUNT: Account = Account::MailOut;

    fn prepare(start: &Startup) -> Result<Self, StartError> {
        let settings = Settings::load(&start.config, start.program == "lmtp")?;
        Ok(SmtpAgent { smtp: Smtp::new(settings) })
    }

    async fn deliver(self: Rc<Self>, job: Job) {
        self.smtp.deliver(job).await;
    }
}
