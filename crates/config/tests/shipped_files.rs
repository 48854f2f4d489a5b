//! The files that are installed as `/etc/postfix/main.cf` and `/etc/postfix/master.cf`.

use posthouse_config::{Config, MasterCf, ServiceKind, parameters};

#[test]
fn shipped_files_are_right() {
    let directory = std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../packaging/conf"));
    let config = Config::load(directory).unwrap();
    assert!(config.warnings().is_empty());
    for name in config.names() {
        assert!(parameters::find(name).is_some(), "{name}");
    }
    assert_eq!(config.compatibility_level().unwrap(), "3.11".parse().unwrap());
    let master = MasterCf::load(directory).unwrap();
    assert!(master.warnings.is_empty());
    let services: Vec<String> = master.services.iter().map(|s| format!("{}/{}", s.name, s.kind)).collect();
    for name in [
        "pickup",
        "cleanup",
        "qmgr",
        "tlsmgr",
        "rewrite",
        "bounce",
        "defer",
        "trace",
        "verify",
        "flush",
        "proxymap",
        "proxywrite",
        "smtp",
        "relay",
        "showq",
        "error",
        "retry",
        "discard",
        "local",
        "virtual",
        "lmtp",
        "anvil",
        "scache",
    ] {
        assert!(services.contains(&format!("{name}/unix")), "{name}");
    }
    assert!(master.find("smtp", ServiceKind::Inet).is_some());
    assert!(master.find("postlog", ServiceKind::UnixDgram).is_some());
    assert_eq!(services.len(), 25);
}
