//! ESMTP parameters of MAIL and RCPT: SIZE (RFC 1870), BODY (RFC 6152), DSN (RFC 3461), AUTH (RFC 4954 5).

use bstr::{BString, ByteSlice};
use dsn::{Notify, Return};

use super::token::Token;
use crate::{Keywords, xtext};

pub use crate::client::command::Body;

/// Parameters of MAIL.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MailParameters {
    /// `SIZE=`, bytes.
    pub size: Option<u64>,
    /// `BODY=`
    pub body: Option<Body>,
    /// `RET=`
    pub ret: Option<Return>,
    /// `ENVID=`, decoded.
    pub envelope_id: Option<BString>,
}

/// Parameters of RCPT.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecipientParameters {
    /// `NOTIFY=`; unspecified when not given.
    pub notify: Notify,
    /// `ORCPT=`, decoded: `type;address`.
    pub original: Option<BString>,
}

/// The reply to a parameter that is not accepted.
pub(super) type Refusal = Vec<u8>;

fn split(word: &[u8]) -> (Vec<u8>, Option<&[u8]>) {
    match word.find_byte(b'=') {
        Some(at) => (word[..at].to_ascii_uppercase(), Some(&word[at + 1..])),
        None => (word.to_ascii_uppercase(), None),
    }
}

fn unsupported(word: &[u8]) -> Refusal {
    [b"555 5.5.4 Unsupported option: ", word].concat()
}

fn dsn_disabled() -> Refusal {
    b"501 5.7.1 DSN support is disabled".to_vec()
}

/// xtext whose content may be put into headers and reports: printable ASCII, and not empty.
fn printable_xtext(value: &[u8]) -> Option<BString> {
    let decoded = xtext::decode(value)?;
    decoded.iter().all(|b| (32..127).contains(b)).then_some(decoded)
}

impl MailParameters {
    /// Reads the words after the path. `discarded` are the keywords that this client is not offered.
    pub(super) fn parse<'a>(
        words: impl Iterator<Item = Token<'a>>,
        discarded: Keywords,
    ) -> Result<MailParameters, Refusal> {
        let mut found = MailParameters::default();
        for Token { text: word, .. } in words {
            let (name, value) = split(word);
            match (name.as_slice(), value) {
                (b"BODY", Some(value)) if value.eq_ignore_ascii_case(b"8BITMIME") => {
                    found.body = Some(Body::EightBitMime);
                }
                (b"BODY", Some(value)) if value.eq_ignore_ascii_case(b"7BIT") => found.body = Some(Body::SevenBit),
                (b"SIZE", Some(value)) => found.size = Some(size(value)?),
                // RFC 4954 5: where AUTH is not offered, the parameter is taken and not used.
                (b"AUTH", Some(_)) => {}
                (b"RET" | b"ENVID", Some(_)) if discarded.contains(Keywords::DSN) => return Err(dsn_disabled()),
                (b"RET", Some(value)) => {
                    let bad = || b"501 5.5.4 Bad RET parameter syntax".to_vec();
                    if found.ret.is_some() {
                        return Err(bad());
                    }
                    found.ret = Some(Return::parse(value).ok_or_else(bad)?);
                }
                (b"ENVID", Some(value)) => {
                    let bad = || b"501 5.5.4 Bad ENVID parameter syntax".to_vec();
                    let decoded = printable_xtext(value).filter(|id| !id.is_empty()).ok_or_else(bad)?;
                    if found.envelope_id.replace(decoded).is_some() {
                        return Err(bad());
                    }
                }
                _ => return Err(unsupported(word)),
            }
        }
        Ok(found)
    }
}

fn size(value: &[u8]) -> Result<u64, Refusal> {
    let digits = value.to_str().ok().filter(|text| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()));
    let digits = digits.ok_or_else(|| b"501 5.5.4 Bad message size syntax".to_vec())?;
    match digits.parse::<i64>() {
        Ok(size) => Ok(size as u64),
        Err(_) => Err(b"552 5.3.4 Message size exceeds file system imposed limit".to_vec()),
    }
}

impl RecipientParameters {
    /// Reads the words after the path.
    pub(super) fn parse<'a>(
        words: impl Iterator<Item = Token<'a>>,
        discarded: Keywords,
    ) -> Result<RecipientParameters, Refusal> {
        let mut found = RecipientParameters::default();
        for Token { text: word, .. } in words {
            let (name, value) = split(word);
            match (name.as_slice(), value) {
                (b"NOTIFY" | b"ORCPT", Some(_)) if discarded.contains(Keywords::DSN) => return Err(dsn_disabled()),
                (b"NOTIFY", Some(value)) => {
                    let bad = || b"501 5.5.4 Error: Bad NOTIFY parameter syntax".to_vec();
                    if !found.notify.is_unspecified() {
                        return Err(bad());
                    }
                    found.notify = Notify::parse(value).ok_or_else(bad)?;
                }
                (b"ORCPT", Some(value)) => {
                    let bad = || b"501 5.5.4 Error: Bad ORCPT parameter syntax".to_vec();
                    let decoded = original_recipient(value).ok_or_else(bad)?;
                    if found.original.replace(decoded).is_some() {
                        return Err(bad());
                    }
                }
                _ => return Err(unsupported(word)),
            }
        }
        Ok(found)
    }
}

/// `type;xtext` (RFC 3461 4.2), decoded.
fn original_recipient(value: &[u8]) -> Option<BString> {
    let at = value.find_byte(b';').filter(|at| *at > 0)?;
    let address = printable_xtext(&value[at + 1..])?;
    let mut decoded = BString::from(&value[..=at]);
    decoded.extend_from_slice(&address);
    Some(decoded)
}
