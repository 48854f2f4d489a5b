//! The parameters of a server's TLS, and how they map to what rustls has.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use config::Config;
use ipc::tlsmgr::{KeySet, Role};
use rustls::SupportedCipherSuite;
use rustls::crypto::SupportedKxGroup;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::fingerprint::Digest;
use crate::key_set::{key_set, oddities};
use crate::level::Level;
use crate::log_level::LogLevel;
use crate::protocols::Protocols;
use crate::verify::Roots;
use crate::{ciphers, groups};

/// Certificates in a CA file or directory that are looked at.
const MOST_ROOTS: usize = 10_000;
/// Where the system keeps the authorities that it trusts (`tls_append_default_CA`).
const SYSTEM_ROOTS: &str = "/etc/ssl/certs/ca-certificates.crt";

/// Why a server's settings cannot be used at all.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// A value that cannot be read.
    #[error("{0}")]
    Config(#[from] config::Error),
    /// `smtpd_tls_security_level`
    #[error("Invalid TLS level \"{0}\"")]
    Level(String),
}

/// A server's settings.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "independent parameters")]
pub struct ServerSettings {
    /// `none`, `may` or `encrypt`; the wrapper mode means `encrypt`.
    pub level: Level,
    /// `smtpd_tls_wrappermode`
    pub wrapper: bool,
    /// `smtpd_tls_auth_only`, or TLS is required anyway: AUTH only under TLS.
    pub auth_only: bool,
    /// Clients are asked for certificates.
    pub ask: bool,
    /// Clients without a certificate that is trusted are turned away.
    pub require: bool,
    /// `smtpd_tls_received_header`
    pub received_header: bool,
    /// `smtpd_tls_loglevel`
    pub log: LogLevel,
    /// `smtpd_starttls_timeout`
    pub handshake_timeout: Duration,
    /// Which keys.
    pub keys: KeySet,
    /// What makes TLS impossible; clients hear that there is a local problem.
    pub unusable: Option<String>,
    /// For the log at the start.
    pub warnings: Vec<String>,
    /// For the log at the start, less urgent.
    pub notes: Vec<String>,
    pub(crate) protocols: Protocols,
    pub(crate) suites: Vec<SupportedCipherSuite>,
    pub(crate) groups: Vec<&'static dyn SupportedKxGroup>,
    pub(crate) own_order: bool,
    pub(crate) roots: Arc<Roots>,
    pub(crate) depth: usize,
    pub(crate) server_usage: bool,
    pub(crate) digest: Digest,
    /// Session tickets are used.
    pub(crate) tickets: bool,
}

impl ServerSettings {
    /// Reads the parameters of `smtpd_tls_*` and `tls_*`, and the files of authorities: to be called before the jail.
    ///
    /// # Errors
    /// Values that end the program. What only makes TLS impossible is in [`ServerSettings::unusable`].
    pub fn load(config: &Config) -> Result<ServerSettings, SettingsError> {
        let mut warnings = Vec::new();
        let wrapper = config.bool("smtpd_tls_wrappermode")?;
        let level = if wrapper { Level::Encrypt } else { level(config, &mut warnings)? };
        let mut settings = ServerSettings {
            level,
            wrapper,
            auth_only: config.bool("smtpd_tls_auth_only")? || level == Level::Encrypt,
            ask: false,
            require: false,
            received_header: config.bool("smtpd_tls_received_header")?,
            log: LogLevel::default(),
            handshake_timeout: config.time("smtpd_starttls_timeout")?,
            keys: KeySet::default(),
            unusable: None,
            warnings,
            notes: Vec::new(),
            protocols: Protocols { tls12: true, tls13: true, older: false },
            suites: Vec::new(),
            groups: Vec::new(),
            own_order: config.bool("tls_preempt_cipherlist")?,
            roots: Arc::default(),
            depth: usize::try_from(config.int("smtpd_tls_ccert_verifydepth")?).unwrap_or(0),
            server_usage: config.bool("tls_trust_server_ccerts")?,
            digest: Digest::Sha256,
            tickets: !config.string("tls_session_ticket_cipher")?.is_empty()
                && !config.time("smtpd_tls_session_cache_timeout")?.is_zero(),
        };
        if level == Level::None {
            return Ok(settings);
        }
        settings.load_log_level(config)?;
        settings.load_certificates(config)?;
        settings.load_protocols(config)?;
        settings.load_ciphers(config)?;
        settings.load_groups(config)?;
        Ok(settings)
    }

    fn disable(&mut self, why: String) {
        self.unusable.get_or_insert(why);
    }

    fn load_log_level(&mut self, config: &Config) -> Result<(), SettingsError> {
        let text = config.string("smtpd_tls_loglevel")?;
        match LogLevel::parse(&text) {
            Some(log) => self.log = log,
            None => self.warnings.push(format!("smtpd_tls_loglevel: bad value \"{text}\" is taken as 0")),
        }
        Ok(())
    }

    fn load_certificates(&mut self, config: &Config) -> Result<(), SettingsError> {
        let required = self.level == Level::Encrypt;
        let (ask, require) = (config.bool("smtpd_tls_ask_ccert")?, config.bool("smtpd_tls_req_ccert")?);
        if require && !required {
            self.warnings.push("Can't require client certs unless TLS is required".to_owned());
        }
        self.require = require && required;
        self.ask = ask || self.require;
        self.log.untrusted |= self.require;
        self.keys = key_set(config, "smtpd", Role::Server)?;
        self.warnings.extend(oddities(config, "smtpd")?);
        if self.keys.is_empty() {
            if self.ask {
                self.warnings.push("Need a server cert to request client certs".to_owned());
            }
            self.disable("No server certs available. TLS won't be enabled".to_owned());
        }
        let name = config.string("smtpd_tls_fingerprint_digest")?;
        match Digest::parse(&name) {
            Some(digest) => self.digest = digest,
            None => self.disable(format!("Digest algorithm \"{name}\" not found: disabling TLS support")),
        }
        self.load_roots(config)
    }

    fn load_roots(&mut self, config: &Config) -> Result<(), SettingsError> {
        let (file, directory) = (config.string("smtpd_tls_CAfile")?, config.string("smtpd_tls_CApath")?);
        let mut roots = Roots::default();
        if !file.is_empty()
            && let Err(error) = add_file(&mut roots, Path::new(&file))
        {
            self.disable(format!(
                "cannot load Certification Authority data, CAfile=\"{file}\": {error}: disabling TLS support"
            ));
        }
        if self.ask && !directory.is_empty() {
            for entry in std::fs::read_dir(&directory).into_iter().flatten().flatten().take(MOST_ROOTS) {
                // What is no certificate is none of our business there.
                let _ = add_file(&mut roots, &entry.path());
            }
            if roots.is_empty() {
                self.warnings.push(format!("smtpd_tls_CApath: no certificates in {directory}"));
            }
        }
        if self.ask && config.bool("tls_append_default_CA")? {
            let _ = add_file(&mut roots, Path::new(SYSTEM_ROOTS));
        }
        self.roots = Arc::new(roots);
        Ok(())
    }

    fn load_protocols(&mut self, config: &Config) -> Result<(), SettingsError> {
        let name = if self.level == Level::Encrypt { "smtpd_tls_mandatory_protocols" } else { "smtpd_tls_protocols" };
        let text = config.string(name)?;
        match Protocols::parse(&text) {
            Some(protocols) if protocols.is_empty() => {
                self.disable(format!("{name} = {text} leaves no version that can be spoken: disabling TLS support"));
            }
            Some(protocols) => {
                self.protocols = protocols;
                if protocols.older && config.is_set(name) {
                    self.notes.push(format!("{name} = {text}: TLS versions before 1.2 are not spoken"));
                }
            }
            None => self.disable(format!("Invalid TLS protocol list \"{text}\": disabling TLS support")),
        }
        Ok(())
    }

    fn load_ciphers(&mut self, config: &Config) -> Result<(), SettingsError> {
        let mandatory = self.level == Level::Encrypt;
        let name = if mandatory { "smtpd_tls_mandatory_ciphers" } else { "smtpd_tls_ciphers" };
        let grade = config.string(name)?;
        let list = match grade.to_ascii_lowercase().as_str() {
            "high" => "tls_high_cipherlist",
            "medium" | "low" | "export" => "tls_medium_cipherlist",
            "null" => "tls_null_cipherlist",
            _ => {
                self.disable(format!("invalid cipher grade: \"{grade}\""));
                return Ok(());
            }
        };
        let mut excluded = config.string("smtpd_tls_exclude_ciphers")?;
        if mandatory {
            excluded = format!("{excluded} {}", config.string("smtpd_tls_mandatory_exclude_ciphers")?);
        }
        let choice = ciphers::choose(&config.string(list)?, &excluded);
        if !choice.unknown.is_empty() && config.is_set(list) {
            let unknown = choice.unknown.join(" ");
            self.warnings.push(format!("{list}: ciphers that this TLS library does not have are left out: {unknown}"));
        }
        let tls13 = choice.suites.iter().filter(|suite| suite.tls13().is_some()).count();
        if self.protocols.tls12 && choice.suites.len() == tls13 {
            self.warnings.push(format!("{name} = {grade} leaves no cipher for TLS 1.2, which is not spoken then"));
            self.protocols.tls12 = false;
            if !self.protocols.tls13 {
                self.disable(format!("{name} = {grade} leaves no cipher: disabling TLS support"));
            }
        }
        self.suites = choice.suites;
        Ok(())
    }

    fn load_groups(&mut self, config: &Config) -> Result<(), SettingsError> {
        let grade = config.string("smtpd_tls_eecdh_grade")?;
        let name = match grade.as_str() {
            "auto" => "tls_eecdh_auto_curves",
            "strong" => "tls_eecdh_strong_curve",
            "ultra" => "tls_eecdh_ultra_curve",
            "none" => {
                self.warnings.push("smtpd_tls_eecdh_grade = none: there is no key exchange without curves".to_owned());
                "tls_eecdh_auto_curves"
            }
            _ => {
                self.warnings.push(format!("Invalid TLS eecdh grade \"{grade}\": auto is used"));
                "tls_eecdh_auto_curves"
            }
        };
        let text = config.string(name)?;
        let (mut chosen, unknown) = groups::choose(&text);
        for word in unknown {
            self.warnings.push(format!("{name}: unknown curve \"{word}\" is ignored"));
        }
        if !config.is_set(name) && name == "tls_eecdh_auto_curves" {
            // Clients that want a key exchange which quantum computers do not break can have it, without being asked to.
            chosen.insert(0, rustls::crypto::aws_lc_rs::kx_group::X25519MLKEM768);
        }
        if chosen.is_empty() {
            self.disable(format!("{name} = {text} leaves no curve: disabling TLS support"));
        }
        self.groups = chosen;
        let parameters = config.string("smtpd_tls_dh1024_param_file")?;
        if !["", "auto", "none"].contains(&parameters.as_str()) {
            self.notes.push("smtpd_tls_dh1024_param_file is not used: key exchange is by elliptic curves".to_owned());
        }
        Ok(())
    }
}

/// `smtpd_tls_security_level`, or the older switches.
fn level(config: &Config, warnings: &mut Vec<String>) -> Result<Level, SettingsError> {
    let text = config.string("smtpd_tls_security_level")?;
    if text.is_empty() {
        return Ok(if config.bool("smtpd_enforce_tls")? {
            Level::Encrypt
        } else if config.bool("smtpd_use_tls")? {
            Level::May
        } else {
            Level::None
        });
    }
    match Level::parse(&text) {
        None => Err(SettingsError::Level(text)),
        Some(level) if level > Level::Encrypt => {
            let name = level.name();
            warnings.push(format!("smtpd_tls_security_level: unsupported TLS level \"{name}\", using \"encrypt\""));
            Ok(Level::Encrypt)
        }
        Some(level) => Ok(level),
    }
}

fn add_file(roots: &mut Roots, path: &Path) -> Result<(), String> {
    let text = std::fs::read(path).map_err(|error| error.to_string())?;
    let before = roots.len();
    for certificate in CertificateDer::pem_slice_iter(&text).flatten() {
        if roots.len() < MOST_ROOTS {
            roots.add(certificate);
        }
    }
    if roots.len() > before { Ok(()) } else { Err("no certificate in it".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str) -> ServerSettings {
        let config = Config::from_text(&format!("compatibility_level = 3.12\n{text}")).expect("configuration");
        ServerSettings::load(&config).expect("settings")
    }

    #[test]
    fn levels() {
        for (text, level, auth_only) in [
            ("", Level::None, false),
            ("smtpd_use_tls = yes", Level::May, false),
            ("smtpd_enforce_tls = yes", Level::Encrypt, true),
            ("smtpd_tls_security_level = may\nsmtpd_enforce_tls = yes", Level::May, false),
            ("smtpd_tls_security_level = none\nsmtpd_use_tls = yes", Level::None, false),
            ("smtpd_tls_security_level = ENCRYPT", Level::Encrypt, true),
            ("smtpd_tls_security_level = verify", Level::Encrypt, true),
            ("smtpd_tls_security_level = may\nsmtpd_tls_auth_only = yes", Level::May, true),
            ("smtpd_tls_security_level = none\nsmtpd_tls_wrappermode = yes", Level::Encrypt, true),
        ] {
            let settings = load(text);
            assert_eq!((settings.level, settings.auth_only), (level, auth_only), "{text}");
        }
        let config = Config::from_text("smtpd_tls_security_level = bogus\n").expect("configuration");
        let error = ServerSettings::load(&config).expect_err("no settings");
        assert_eq!(error.to_string(), "Invalid TLS level \"bogus\"");
    }

    #[test]
    fn what_makes_tls_impossible() {
        for (text, wanted) in [
            ("", None),
            ("smtpd_tls_protocols = bogus", Some("Invalid TLS protocol list \"bogus\": disabling TLS support")),
            ("smtpd_tls_mandatory_protocols = bogus", None),
            (
                "smtpd_tls_protocols = <=TLSv1.1",
                Some("smtpd_tls_protocols = <=TLSv1.1 leaves no version that can be spoken: disabling TLS support"),
            ),
            ("smtpd_tls_ciphers = bogus", Some("invalid cipher grade: \"bogus\"")),
            ("smtpd_tls_cert_file =", Some("No server certs available. TLS won't be enabled")),
            ("smtpd_tls_cert_file = none", Some("No server certs available. TLS won't be enabled")),
            (
                "smtpd_tls_fingerprint_digest = bogus",
                Some("Digest algorithm \"bogus\" not found: disabling TLS support"),
            ),
            (
                "smtpd_tls_ciphers = null\nsmtpd_tls_protocols = TLSv1.2",
                Some("smtpd_tls_ciphers = null leaves no cipher: disabling TLS support"),
            ),
            (
                "tls_eecdh_auto_curves = X448",
                Some("tls_eecdh_auto_curves = X448 leaves no curve: disabling TLS support"),
            ),
        ] {
            let settings = load(&format!("smtpd_tls_cert_file = /c\nsmtpd_tls_security_level = may\n{text}\n"));
            assert_eq!(settings.unusable.as_deref(), wanted, "{text}");
        }
        let settings =
            load("smtpd_tls_cert_file = /c\nsmtpd_tls_security_level = may\nsmtpd_tls_CAfile = /nonexistent\n");
        let why = settings.unusable.expect("unusable");
        assert!(why.starts_with("cannot load Certification Authority data, CAfile=\"/nonexistent\": "), "{why}");
    }

    #[test]
    fn client_certificates() {
        for (text, wanted) in [
            ("smtpd_tls_security_level = may", (false, false)),
            ("smtpd_tls_security_level = may\nsmtpd_tls_ask_ccert = yes", (true, false)),
            ("smtpd_tls_security_level = may\nsmtpd_tls_req_ccert = yes", (false, false)),
            ("smtpd_tls_security_level = encrypt\nsmtpd_tls_req_ccert = yes", (true, true)),
            ("smtpd_tls_wrappermode = yes\nsmtpd_tls_req_ccert = yes", (true, true)),
        ] {
            let settings = load(&format!("smtpd_tls_cert_file = /c\n{text}\n"));
            assert_eq!((settings.ask, settings.require), wanted, "{text}");
        }
    }

    /// What rustls does not have is said once, and the rest is used.
    #[test]
    fn mapping() {
        let with = |text: &str| load(&format!("smtpd_tls_cert_file = /c\nsmtpd_tls_security_level = may\n{text}\n"));
        let settings = with("");
        assert!(settings.warnings.is_empty() && settings.notes.is_empty(), "{settings:?}");
        assert_eq!((settings.suites.len(), settings.groups.len()), (9, 4));
        assert!(settings.tickets);
        assert!(!with("tls_session_ticket_cipher =").tickets);
        assert!(!with("smtpd_tls_session_cache_timeout = 0").tickets);
        let settings = with("smtpd_tls_protocols = !SSLv2, !SSLv3");
        assert_eq!(settings.notes, ["smtpd_tls_protocols = !SSLv2, !SSLv3: TLS versions before 1.2 are not spoken"]);
        let settings = with(
            "smtpd_tls_dcert_file = /d\ntls_medium_cipherlist = AES128-SHA:HIGH\nsmtpd_tls_exclude_ciphers = aRSA",
        );
        assert_eq!(
            settings.warnings,
            [
                "smtpd_tls_dcert_file: DSA certificates are not supported; the file is ignored",
                "tls_medium_cipherlist: ciphers that this TLS library does not have are left out: AES128-SHA",
            ]
        );
        assert_eq!(settings.suites.len(), 6);
        let settings = with("smtpd_tls_eecdh_grade = ultra");
        assert_eq!(settings.groups.len(), 1);
        let settings = with("tls_eecdh_auto_curves = prime256v1 nonsense");
        assert_eq!((settings.groups.len(), settings.warnings.len()), (1, 1));
    }
}
