//! Listing: from showq, or straight from disk while the mail system is down.

use std::io::{self, BufWriter, Write};
use std::time::{SystemTime, UNIX_EPOCH};

use config::Config;
use ipc::blocking::Connection;
use ipc::showq::Listed;
use queue::Spool;
use queue::listing::{Entry, Listing};
use sys::privileges;

use crate::caller::Caller;
use crate::error::Error;
use crate::json::Json;
use crate::text::Text;

/// How the listing is shown.
enum Form {
    Text(Text),
    Json(Json),
}

impl Form {
    fn entry(&mut self, entry: &Entry, out: &mut dyn Write) -> Result<(), Error> {
        match self {
            Form::Text(text) => text.entry(entry, out),
            Form::Json(json) => json.entry(entry, out),
        }
        .map_err(Error::Output)
    }

    fn end(&self, out: &mut dyn Write) -> Result<(), Error> {
        match self {
            Form::Text(text) => text.end(out).map_err(Error::Output),
            Form::Json(_) => Ok(()),
        }
    }
}

/// Lists the queue on standard output.
pub(crate) fn run(json: bool, config: &Config, caller: &Caller) -> Result<(), Error> {
    // The zone is wanted for each message; it is read now.
    sys::clock::load_time_zone();
    let long_ids = config.bool("enable_long_queue_ids")?;
    let mut form = if json { Form::Json(Json::default()) } else { Form::Text(Text::new(long_ids)) };
    let mut out = BufWriter::with_capacity(64 << 10, io::stdout().lock());
    let service = config.string("showq_service_name")?;
    let path = crate::socket(config, "showq_service_name")?;
    let listed = match Connection::connect(&path, Some(config.time("ipc_timeout")?)) {
        Ok(connection) => from_showq(connection, &mut form, &mut out),
        Err(error) if !crate::is_down(&error) => Err(Error::Connect { service, error }),
        Err(_) if !caller.is_privileged => Err(Error::NoReport),
        Err(error) => {
            log::warning!(
                "Mail system is down -- accessing queue directly (Connect to the Postfix {service} service: {})",
                sys::reason(&error)
            );
            from_disk(config, &mut form, &mut out)
        }
    };
    // What came before an error is shown.
    let flushed = out.flush().map_err(Error::Output);
    listed.and(flushed)
}

fn from_showq(mut connection: Connection, form: &mut Form, out: &mut dyn Write) -> Result<(), Error> {
    loop {
        match connection.expect().map_err(Error::Response)? {
            Listed::Entry(entry) => form.entry(&entry, out)?,
            Listed::End => return form.end(out),
        }
    }
}

fn from_disk(config: &Config, form: &mut Form, out: &mut dyn Write) -> Result<(), Error> {
    let spool = Spool::open(config)?;
    let empty_address = config.string("empty_address_recipient")?;
    if privileges::is_root() {
        // Nothing in the queue may lead root elsewhere.
        if let Some(owner) = privileges::look_up(&config.string("mail_owner")?)? {
            privileges::drop_privileges(&owner, None)?;
        }
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs() as i64);
    let mut listing = Listing::new(spool, &empty_address, now);
    let scan = |error| Error::Queue("queue scan".to_owned(), error);
    while let Some(entry) = listing.next_entry(&mut |problem| log::warning!("{problem}")).map_err(scan)? {
        form.entry(&entry, out)?;
    }
    form.end(out)
}
