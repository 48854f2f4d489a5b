//! What is signed: handshakes and nothing else.
//!
//! A process that strangers talk to may be taken over. It still must not be able to have anything signed that means something
//! outside of a handshake of its own kind.

use ipc::tlsmgr::{LONGEST_CLIENT_MESSAGE, LONGEST_SERVER_MESSAGE, Role};

/// RFC 8446 4.4.3.
const PADDING: [u8; 64] = [b' '; 64];
const SERVER_CONTEXT: &[u8] = b"TLS 1.3, server CertificateVerify\0";
const CLIENT_CONTEXT: &[u8] = b"TLS 1.3, client CertificateVerify\0";

/// True when `message` is what a handshake's server or client signs.
#[must_use]
pub fn is_handshake(role: Role, message: &[u8]) -> bool {
    match role {
        Role::Server => {
            message.len() <= LONGEST_SERVER_MESSAGE
                && (is_certificate_verify(message, SERVER_CONTEXT) || is_key_exchange(message))
        }
        Role::Client => {
            message.len() <= LONGEST_CLIENT_MESSAGE
                && (is_certificate_verify(message, CLIENT_CONTEXT) || is_transcript(message))
        }
    }
}

/// TLS 1.3: 64 blanks, the context, the hash of the handshake so far (SHA-256 or SHA-384).
fn is_certificate_verify(message: &[u8], context: &[u8]) -> bool {
    let rest = message.strip_prefix(&PADDING).and_then(|rest| rest.strip_prefix(context));
    rest.is_some_and(|hash| matches!(hash.len(), 32 | 48))
}

/// TLS 1.2, server: both randoms, then the parameters of ServerKeyExchange (RFC 8422 5.4): a named curve and a point.
fn is_key_exchange(message: &[u8]) -> bool {
    let Some((_randoms, parameters)) = message.split_at_checked(64) else { return false };
    let [3, high, low, length, point @ ..] = parameters else { return false };
    let wanted: &[usize] = match u16::from_be_bytes([*high, *low]) {
        // secp256r1, secp384r1, secp521r1: uncompressed points
        23 => &[65],
        24 => &[97],
        25 => &[133],
        // x25519, x448
        29 => &[32],
        30 => &[56],
        _ => &[],
    };
    point.len() == usize::from(*length) && wanted.contains(&point.len())
}

/// TLS 1.2, client: the handshake so far, whole messages from ClientHello on (RFC 5246 7.4.8).
fn is_transcript(message: &[u8]) -> bool {
    const CLIENT_HELLO: u8 = 1;
    const SERVER_HELLO: u8 = 2;
    let (mut rest, mut kinds) = (message, Vec::new());
    while let [kind, a, b, c, tail @ ..] = rest {
        let length = usize::from(*a) << 16 | usize::from(*b) << 8 | usize::from(*c);
        let Some(tail) = tail.get(length..) else { return false };
        kinds.push(*kind);
        rest = tail;
    }
    rest.is_empty() && kinds.len() >= 4 && kinds.starts_with(&[CLIENT_HELLO, SERVER_HELLO])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verify(context: &[u8], hash: usize) -> Vec<u8> {
        [&PADDING[..], context, &vec![7; hash]].concat()
    }

    fn exchange(curve: u8, length: u8, point: usize) -> Vec<u8> {
        [&[9; 64][..], &[3, 0, curve, length], &vec![4; point]].concat()
    }

    #[test]
    fn only_handshakes_are_signed() {
        let transcript = [&[1, 0, 0, 2, 0, 0][..], &[2, 0, 0, 1, 0], &[11, 0, 0, 0], &[16, 0, 0, 0]].concat();
        for (message, server, client) in [
            (verify(SERVER_CONTEXT, 32), true, false),
            (verify(SERVER_CONTEXT, 48), true, false),
            (verify(CLIENT_CONTEXT, 32), false, true),
            (verify(SERVER_CONTEXT, 31), false, false),
            (verify(SERVER_CONTEXT, 64), false, false),
            (verify(b"TLS 1.3, server CertificateVerify ", 32), false, false),
            (verify(SERVER_CONTEXT, 32)[1..].to_vec(), false, false),
            (exchange(29, 32, 32), true, false),
            (exchange(23, 65, 65), true, false),
            (exchange(24, 97, 97), true, false),
            (exchange(29, 32, 33), false, false),
            (exchange(23, 32, 32), false, false),
            (exchange(99, 32, 32), false, false),
            (transcript.clone(), false, true),
            (transcript[1..].to_vec(), false, false),
            (transcript[..transcript.len() - 1].to_vec(), false, false),
            (b"tbsCertificate of somebody else".to_vec(), false, false),
            (Vec::new(), false, false),
            (vec![0; LONGEST_SERVER_MESSAGE + 1], false, false),
        ] {
            assert_eq!(is_handshake(Role::Server, &message), server, "{message:?}");
            assert_eq!(is_handshake(Role::Client, &message), client, "{message:?}");
        }
    }
}
