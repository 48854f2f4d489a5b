//! From what the client or a header says to recipient records.

use std::rc::Rc;

use bstr::BString;
use dsn::{Notify, Status};
use ipc::cleanup::Refusal;
use queue::log_file::Entry;

use super::Transaction;
use super::envelope::Given;
use crate::mapping::Class;

/// Trace entries that one message may collect; a bound on memory, far above what senders ask for.
const MAX_EXPANDED: usize = 10_000;

impl Transaction {
    /// A recipient that the client or a header gave: standard form, canonical tables, bcc tables, virtual aliases.
    pub(super) async fn write_given(&mut self, given: &Given) -> Result<(), Refusal> {
        let service = Rc::clone(&self.service);
        let before = given.before_rewriting.as_ref().unwrap_or(&given.address).clone();
        let address = self.standard_form(&given.address).await?;
        let dsn_original = match &given.original {
            Some(original) => original.clone(),
            // The sender did not say: what it was given for notices is the address itself (RFC 3461 5.2.1).
            None => {
                let mut text = BString::from("rfc822;");
                text.extend_from_slice(&address);
                text
            }
        };
        self.write_expanded(&address, &before, Some(&dsn_original), given.notify).await?;
        if self.begin.options.automatic_bcc
            && let Some(bcc) = service.mapping.recipient_bcc(&address).await.map_err(|p| self.unmapped(&p))?
        {
            self.write_bcc(&bcc).await?;
        }
        Ok(())
    }

    /// A blind copy: its failures are reported to nobody.
    pub(super) async fn write_bcc(&mut self, address: &[u8]) -> Result<(), Refusal> {
        let address = self.standard_form(address).await?;
        self.write_expanded(&address, &address, None, Notify::NEVER).await
    }

    async fn standard_form(&self, address: &[u8]) -> Result<BString, Refusal> {
        let mapping = &self.service.mapping;
        let given = if address.is_empty() { &self.service.settings.empty_address_recipient } else { address };
        let mut address = mapping.complete(given, true);
        if self.maps_addresses() {
            mapping.map(&mut address, Class::EnvelopeRecipient).await.map_err(|p| self.unmapped(&p))?;
        }
        Ok(address)
    }

    async fn write_expanded(
        &mut self,
        address: &BString,
        before: &[u8],
        dsn_original: Option<&BString>,
        mut notify: Notify,
    ) -> Result<(), Refusal> {
        let service = Rc::clone(&self.service);
        let results = if self.maps_addresses() {
            service.mapping.expand(address).await.map_err(|p| self.unmapped(&p))?
        } else {
            vec![address.clone()]
        };
        let expanded = results.len() > 1 || results.first() != Some(address);
        if expanded && notify.contains(Notify::SUCCESS) {
            // The alias was this recipient's delivery (RFC 3461 5.2.7.3): the notice says so, and the members owe none.
            self.note_expanded(address, before, dsn_original, notify);
            notify = without_success(notify);
        }
        for result in &results {
            let original = dsn_original.map(|text| text.as_slice()).unwrap_or_default();
            let repeated = if service.settings.original_recipient {
                self.duplicates.is_repeated(&[original, &[notify.bits()], before, result])
            } else {
                self.duplicates.is_repeated(&[result])
            };
            if !repeated {
                let written = self.writer.recipient(result, before, dsn_original.map(|text| text.as_slice()), notify);
                written.map_err(|error| self.write_error(&error))?;
            }
        }
        self.check_size()
    }

    fn note_expanded(&mut self, address: &[u8], before: &[u8], dsn_original: Option<&BString>, notify: Notify) {
        if self.expanded.len() >= MAX_EXPANDED {
            return;
        }
        self.writer.note_notify(Notify::SUCCESS);
        self.expanded.push(Entry {
            recipient: address::external(address),
            original_recipient: Some(address::external(before))
                .filter(|original| *original != address::external(address)),
            offset: None,
            dsn_original: dsn_original.cloned(),
            notify,
            status: Status::success(0, 0),
            action: dsn::Action::Expanded,
            diagnostic: None,
            remote_mta: None,
            reason: "alias expanded".into(),
        });
    }
}

/// What is left of NOTIFY for the members of an alias: never nothing, which would mean failures and delays.
fn without_success(notify: Notify) -> Notify {
    Notify::from_bits(notify.bits() & !Notify::SUCCESS.bits())
        .filter(|rest| !rest.is_unspecified())
        .unwrap_or(Notify::NEVER)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_owe_no_success_notice() {
        assert_eq!(without_success(Notify::SUCCESS), Notify::NEVER);
        assert_eq!(without_success(Notify::SUCCESS.union(Notify::FAILURE)), Notify::FAILURE);
    }
}
