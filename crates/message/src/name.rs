//! The headers that a mail system treats specially.

/// A known header. The text of a header's name is compared without regard to case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "each variant is the header of that name")]
pub enum Name {
    ApparentlyTo,
    Bcc,
    Cc,
    ContentDescription,
    ContentDisposition,
    ContentId,
    ContentLength,
    ContentTransferEncoding,
    ContentType,
    Date,
    DeliveredTo,
    DispositionNotificationTo,
    ErrorsTo,
    From,
    MailFollowupTo,
    MessageId,
    MimeVersion,
    Received,
    ReplyTo,
    RequireTlsEsmtp,
    ResentBcc,
    ResentCc,
    ResentDate,
    ResentFrom,
    ResentMessageId,
    ResentReplyTo,
    ResentSender,
    ResentTo,
    ReturnPath,
    ReturnReceiptTo,
    Sender,
    TlsRequired,
    To,
}

const NAMES: &[(Name, &str)] = &[
    (Name::ApparentlyTo, "Apparently-To"),
    (Name::Bcc, "Bcc"),
    (Name::Cc, "Cc"),
    (Name::ContentDescription, "Content-Description"),
    (Name::ContentDisposition, "Content-Disposition"),
    (Name::ContentId, "Content-Id"),
    (Name::ContentLength, "Content-Length"),
    (Name::ContentTransferEncoding, "Content-Transfer-Encoding"),
    (Name::ContentType, "Content-Type"),
    (Name::Date, "Date"),
    (Name::DeliveredTo, "Delivered-To"),
    (Name::DispositionNotificationTo, "Disposition-Notification-To"),
    (Name::ErrorsTo, "Errors-To"),
    (Name::From, "From"),
    (Name::MailFollowupTo, "Mail-Followup-To"),
    (Name::MessageId, "Message-Id"),
    (Name::MimeVersion, "MIME-Version"),
    (Name::Received, "Received"),
    (Name::ReplyTo, "Reply-To"),
    (Name::RequireTlsEsmtp, "Require-TLS-ESMTP"),
    (Name::ResentBcc, "Resent-Bcc"),
    (Name::ResentCc, "Resent-Cc"),
    (Name::ResentDate, "Resent-Date"),
    (Name::ResentFrom, "Resent-From"),
    (Name::ResentMessageId, "Resent-Message-Id"),
    (Name::ResentReplyTo, "Resent-Reply-To"),
    (Name::ResentSender, "Resent-Sender"),
    (Name::ResentTo, "Resent-To"),
    (Name::ReturnPath, "Return-Path"),
    (Name::ReturnReceiptTo, "Return-Receipt-To"),
    (Name::Sender, "Sender"),
    (Name::TlsRequired, "TLS-Required"),
    (Name::To, "To"),
];

impl Name {
    /// The known header of a name (without colon).
    #[must_use]
    pub fn of(name: &[u8]) -> Option<Name> {
        NAMES
            .iter()
            .find(|(_, text)| text.len() == name.len() && text.as_bytes().eq_ignore_ascii_case(name))
            .map(|(name, _)| *name)
    }

    /// The name as it is usually written.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        NAMES.iter().find(|(name, _)| *name == self).map_or("", |(_, text)| text)
    }

    /// Holds addresses of who sent the message, or who gets answers.
    #[must_use]
    pub fn is_sender(self) -> bool {
        matches!(
            self,
            Name::DispositionNotificationTo
                | Name::ErrorsTo
                | Name::From
                | Name::MailFollowupTo
                | Name::ReplyTo
                | Name::ResentFrom
                | Name::ResentSender
                | Name::ReturnPath
                | Name::ReturnReceiptTo
                | Name::Sender
        )
    }

    /// Holds addresses of recipients.
    #[must_use]
    pub fn is_recipient(self) -> bool {
        matches!(
            self,
            Name::ApparentlyTo
                | Name::Bcc
                | Name::Cc
                | Name::ResentBcc
                | Name::ResentCc
                | Name::ResentReplyTo
                | Name::ResentTo
                | Name::To
        )
    }

    /// Recipients are taken from here when the submitter asks for it (`sendmail -t`).
    #[must_use]
    pub fn is_extracted(self) -> bool {
        matches!(self, Name::To | Name::Cc | Name::Bcc | Name::ResentTo | Name::ResentCc | Name::ResentBcc)
    }

    /// One of the `Resent-` family (RFC 5322 3.6.6).
    #[must_use]
    pub fn is_resent(self) -> bool {
        matches!(
            self,
            Name::ResentBcc
                | Name::ResentCc
                | Name::ResentDate
                | Name::ResentFrom
                | Name::ResentMessageId
                | Name::ResentReplyTo
                | Name::ResentSender
                | Name::ResentTo
        )
    }

    /// Describes the MIME structure or content.
    #[must_use]
    pub fn is_mime(self) -> bool {
        matches!(
            self,
            Name::ContentDescription
                | Name::ContentDisposition
                | Name::ContentId
                | Name::ContentTransferEncoding
                | Name::ContentType
                | Name::MimeVersion
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_in_any_case() {
        for (name, text) in NAMES {
            assert_eq!(Name::of(text.to_uppercase().as_bytes()), Some(*name));
            assert_eq!(name.as_str(), *text);
        }
        assert_eq!(Name::of(b"Subject"), None);
        assert_eq!(Name::of(b"T"), None);
    }
}
