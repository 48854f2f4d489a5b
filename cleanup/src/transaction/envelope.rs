//! Envelope: attributes, sender, recipients.

use bstr::BString;
use dsn::Notify;
use ipc::cleanup::{Client, Encoding, Origin, Recipient, Refusal, Sender};

use super::{Phase, Transaction};
use crate::mapping::Class;

/// A recipient as the client gave it, for the extracted segment.
#[derive(Clone, Debug, Default)]
pub(super) struct Given {
    pub(super) address: BString,
    pub(super) original: Option<BString>,
    pub(super) before_rewriting: Option<BString>,
    pub(super) notify: Notify,
}

impl From<Recipient> for Given {
    fn from(recipient: Recipient) -> Given {
        let Recipient { address, original, before_rewriting, notify } = recipient;
        Given { address, original, before_rewriting, notify }
    }
}

impl Transaction {
    /// What comes before the sender.
    pub(super) fn write_beginning(&mut self) -> Result<(), Refusal> {
        let write = |transaction: &mut Transaction| -> Result<(), queue::Error> {
            let writer = &mut transaction.writer;
            writer.set_send_options(transaction.begin.send_options);
            writer.arrival(transaction.arrival)?;
            if let Some(filter) = &transaction.begin.content_filter {
                writer.filter(filter.as_bytes())?;
            }
            let created = transaction.new_file.created().as_secs().to_string();
            writer.attribute("create_time", created.as_bytes())?;
            let is_network = transaction.begin.origin == Origin::Smtp;
            match &transaction.begin.log_ident {
                Some(ident) => writer.attribute("log_ident", ident.as_bytes())?,
                None if is_network => writer.attribute("log_ident", transaction.id.as_bytes())?,
                None => false,
            };
            if is_network {
                writer.attribute("rewrite_context", context(transaction.begin.rewrite_local))?;
            }
            Ok(())
        };
        write(self).map_err(|error| self.write_error(&error))
    }

    /// A further named attribute.
    pub(crate) fn attribute(&mut self, name: &str, value: &[u8]) -> Result<(), Refusal> {
        if self.phase == Phase::Content {
            return Err(Refusal::Protocol);
        }
        self.attributes += 1;
        if self.attributes > self.service.settings.attribute_count_limit {
            log::warning!("{}: attribute count limit exceeded", self.id);
            return Err(Refusal::Protocol);
        }
        let fits = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if !fits || value.contains(&b'\n') {
            return Err(Refusal::Protocol);
        }
        match self.writer.attribute(name, value) {
            Ok(true) => Ok(()),
            Ok(false) => {
                log::warning!("{}: spurious null attribute value for \"{name}\" -- ignored", self.id);
                Ok(())
            }
            Err(error) => Err(self.write_error(&error)),
        }
    }

    /// The envelope sender.
    pub(crate) async fn sender(&mut self, sender: Sender) -> Result<(), Refusal> {
        if self.phase != Phase::Start {
            return Err(Refusal::Protocol);
        }
        self.phase = Phase::Recipients;
        let mut address = sender.address;
        if !address.is_empty() {
            // Unqualified envelope addresses are local ones, whoever sends them.
            address = self.service.mapping.complete(&address, true);
            if self.maps_addresses() {
                let service = std::rc::Rc::clone(&self.service);
                service.mapping.map(&mut address, Class::EnvelopeSender).await.map_err(|p| self.unmapped(&p))?;
            }
        }
        self.sender = address;
        self.write_sender(sender.envelope_id.as_ref().map(|id| id.as_ref()), sender.ret)
            .map_err(|error| self.write_error(&error))
    }

    fn write_sender(&mut self, envelope_id: Option<&[u8]>, ret: Option<dsn::Return>) -> Result<(), queue::Error> {
        let writer = &mut self.writer;
        if let Some(envelope_id) = envelope_id {
            writer.attribute("envelope_id", envelope_id)?;
        }
        if let Some(ret) = ret {
            writer.attribute("ret_flags", ret.bits().to_string().as_bytes())?;
        }
        if self.begin.origin != Origin::Smtp {
            writer.attribute("rewrite_context", context(self.begin.rewrite_local))?;
        }
        if self.begin.origin == Origin::Notice {
            writer.attribute("log_message_origin", b"local")?;
        }
        if let Some(name) = &self.begin.full_name {
            writer.full_name(name)?;
        }
        writer.sender(&self.sender)?;
        match self.begin.encoding {
            Some(Encoding::SevenBit) => writer.attribute("encoding", b"7bit")?,
            Some(Encoding::EightBit) => writer.attribute("encoding", b"8bit")?,
            None => false,
        };
        if self.begin.trace_flags != 0 {
            writer.attribute("trace_flags", self.begin.trace_flags.to_string().as_bytes())?;
        }
        if matches!(self.begin.origin, Origin::Smtp | Origin::Forward) {
            write_client(writer, &self.begin.client)?;
        }
        Ok(())
    }

    /// One recipient.
    pub(crate) async fn recipient(&mut self, recipient: Recipient) -> Result<(), Refusal> {
        match self.phase {
            Phase::Start => Err(Refusal::Protocol),
            Phase::Recipients => {
                self.client_recipients += 1;
                self.first_recipient.get_or_insert_with(|| recipient.address.clone());
                self.begin_recipients().await?;
                self.write_given(&recipient.into()).await
            }
            Phase::Content => {
                self.first_recipient.get_or_insert_with(|| recipient.address.clone());
                self.later_recipients.push(recipient.into());
                Ok(())
            }
        }
    }

    /// What stands between the attributes and the recipients.
    pub(super) async fn begin_recipients(&mut self) -> Result<(), Refusal> {
        if std::mem::replace(&mut self.envelope_over, true) {
            return Ok(());
        }
        let write = |transaction: &mut Transaction| -> Result<(), queue::Error> {
            if let Some(delay) = transaction.service.settings.delay_warning
                && !transaction.sender.is_empty()
            {
                let delay = i64::try_from(delay.as_secs()).unwrap_or(i64::MAX);
                transaction.writer.warning_time(transaction.arrival.0.saturating_add(delay))?;
            }
            if let Some(verp) = transaction.begin.verp
                && !transaction.service.settings.disable_verp
            {
                transaction.writer.verp(verp)?;
            }
            Ok(())
        };
        write(self).map_err(|error| self.write_error(&error))?;
        if self.begin.options.automatic_bcc && !self.sender.is_empty() {
            let service = std::rc::Rc::clone(&self.service);
            let bcc = service.mapping.sender_bcc(&self.sender).await.map_err(|problem| self.unmapped(&problem))?;
            if let Some(bcc) = bcc {
                self.write_bcc(&bcc).await?;
            }
        }
        Ok(())
    }
}

/// The value of `rewrite_context`.
fn context(local: bool) -> &'static [u8] {
    if local { b"local" } else { b"remote" }
}

/// The client attributes, in the order that queue files have them.
fn write_client(writer: &mut queue::message::Writer, client: &Client) -> Result<(), queue::Error> {
    let logged = client.forwarded.as_deref().unwrap_or(client);
    let origin = if logged.address.is_empty() { String::new() } else { format!("{}[{}]", logged.name, logged.address) };
    let family = if client.address.contains(':') { "10" } else { "2" };
    let known = !client.address.is_empty();
    let attributes: [(&str, &[u8]); 15] = [
        ("log_client_name", logged.name.as_bytes()),
        ("log_client_address", logged.address.as_bytes()),
        ("log_client_port", logged.port.as_bytes()),
        ("log_message_origin", origin.as_bytes()),
        ("log_helo_name", &logged.helo),
        ("log_protocol_name", logged.protocol.as_bytes()),
        ("client_name", client.name.as_bytes()),
        ("reverse_client_name", client.reverse_name.as_bytes()),
        ("client_address", client.address.as_bytes()),
        ("client_port", client.port.as_bytes()),
        ("server_address", client.server_address.as_bytes()),
        ("server_port", client.server_port.as_bytes()),
        ("helo_name", &client.helo),
        ("protocol_name", client.protocol.as_bytes()),
        ("client_address_type", if known { family.as_bytes() } else { b"" }),
    ];
    for (name, value) in attributes {
        writer.attribute(name, value)?;
    }
    Ok(())
}
