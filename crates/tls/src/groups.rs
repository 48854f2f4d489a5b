//! `tls_eecdh_auto_curves`: groups of the key exchange.

use rustls::crypto::SupportedKxGroup;
use rustls::crypto::aws_lc_rs::kx_group;

/// Names, and the groups that rustls has; a name without a group is known and left out.
const GROUPS: [(&str, Option<&'static dyn SupportedKxGroup>); 13] = [
    ("X25519MLKEM768", Some(kx_group::X25519MLKEM768)),
    ("SecP256r1MLKEM768", Some(kx_group::SECP256R1MLKEM768)),
    ("MLKEM768", Some(kx_group::MLKEM768)),
    ("MLKEM1024", Some(kx_group::MLKEM1024)),
    ("X25519", Some(kx_group::X25519)),
    ("prime256v1", Some(kx_group::SECP256R1)),
    ("P-256", Some(kx_group::SECP256R1)),
    ("secp256r1", Some(kx_group::SECP256R1)),
    ("secp384r1", Some(kx_group::SECP384R1)),
    ("P-384", Some(kx_group::SECP384R1)),
    ("X448", None),
    ("secp521r1", None),
    ("P-521", None),
];

/// The groups of a list, and the names in it that are nothing.
#[must_use]
pub fn choose(list: &str) -> (Vec<&'static dyn SupportedKxGroup>, Vec<String>) {
    let (mut groups, mut unknown): (Vec<&'static dyn SupportedKxGroup>, Vec<String>) = (Vec::new(), Vec::new());
    for word in list.split([' ', ',', ':', '\t', '\r', '\n']).filter(|word| !word.is_empty()) {
        match GROUPS.iter().find(|(name, _)| name.eq_ignore_ascii_case(word)) {
            Some((_, Some(group))) => {
                if !groups.iter().any(|have| have.name() == group.name()) {
                    groups.push(*group);
                }
            }
            Some((_, None)) => {}
            None => unknown.push(word.to_owned()),
        }
    }
    (groups, unknown)
}

/// How a group is logged: the kind of exchange and, where the kind does not say it, the curve.
#[must_use]
pub fn log_name(group: rustls::NamedGroup) -> (&'static str, Option<&'static str>) {
    use rustls::NamedGroup;
    match group {
        NamedGroup::X25519 => ("X25519", None),
        NamedGroup::secp256r1 => ("ECDHE", Some("prime256v1")),
        NamedGroup::secp384r1 => ("ECDHE", Some("secp384r1")),
        NamedGroup::secp521r1 => ("ECDHE", Some("secp521r1")),
        NamedGroup::X25519MLKEM768 => ("X25519MLKEM768", None),
        NamedGroup::secp256r1MLKEM768 => ("SecP256r1MLKEM768", None),
        NamedGroup::MLKEM768 => ("MLKEM768", None),
        NamedGroup::MLKEM1024 => ("MLKEM1024", None),
        _ => ("other", None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::NamedGroup;

    #[test]
    fn lists() {
        let names = |list: &str| {
            let (groups, unknown) = choose(list);
            (groups.iter().map(|group| group.name()).collect::<Vec<_>>(), unknown)
        };
        let (groups, unknown) = names("X25519 X448 prime256v1 secp384r1 secp521r1");
        assert_eq!(groups, [NamedGroup::X25519, NamedGroup::secp256r1, NamedGroup::secp384r1]);
        assert!(unknown.is_empty());
        assert_eq!(
            names("P-256:secp256r1, x25519mlkem768 foo"),
            (vec![NamedGroup::secp256r1, NamedGroup::X25519MLKEM768], vec!["foo".to_owned()])
        );
    }
}
