//! Which keys the installation has: those of main.cf, and those of master.cf's services with settings of their own.

use std::fs::{File, Metadata};
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use config::Config;
use config::MasterCf;
use ipc::tlsmgr::{KeySet, Role};
use server::StartError;

/// What the program reads of its configuration.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) sets: Vec<KeySet>,
    pub(crate) ticket_lifetime: Duration,
    pub(crate) log_level: tls::LogLevel,
    /// The files that this comes from.
    sources: Vec<(File, Stamp)>,
}

type Stamp = (i64, i64, u64, u64);

fn stamp(found: &Metadata) -> Stamp {
    (found.ctime(), found.ctime_nsec(), found.size(), found.nlink())
}

impl Settings {
    /// Reads main.cf's settings and, where there is one, master.cf.
    pub(crate) fn load(config: &Config) -> Result<Settings, StartError> {
        let mut sources = Vec::new();
        for name in ["main.cf", "master.cf"] {
            let opened = File::open(config.directory().join(name)).ok();
            sources.extend(opened.and_then(|file| file.metadata().ok().map(|found| (file, stamp(&found)))));
        }
        let mut sets = Vec::new();
        add(&mut sets, config, "smtpd")?;
        add(&mut sets, config, "smtp")?;
        add(&mut sets, config, "lmtp")?;
        if config.directory().join("master.cf").exists() {
            for service in MasterCf::load(config.directory())?.services {
                let program = service.command.rsplit('/').next().unwrap_or_default().to_owned();
                if service.overrides.is_empty() || !["smtpd", "smtp", "lmtp"].contains(&program.as_str()) {
                    continue;
                }
                let mut config = config.clone();
                config.set("service_name", service.name.as_str());
                config.set("process_name", program.as_str());
                for (name, value) in &service.overrides {
                    config.set(name.as_str(), value.as_str());
                }
                add(&mut sets, &config, &program)?;
            }
        }
        let text = config.string("smtpd_tls_loglevel")?;
        Ok(Settings {
            sets,
            ticket_lifetime: config.time("smtpd_tls_session_cache_timeout")?,
            log_level: tls::LogLevel::parse(&text).unwrap_or_default(),
            sources,
        })
    }

    /// Whether a process that starts now might find other settings.
    pub(crate) fn have_changed(&self) -> bool {
        self.sources.iter().any(|(file, before)| file.metadata().is_ok_and(|now| stamp(&now) != *before))
    }
}

fn add(sets: &mut Vec<KeySet>, config: &Config, prefix: &str) -> Result<(), StartError> {
    let role = if prefix == "smtpd" { Role::Server } else { Role::Client };
    let set = tls::key_set(config, prefix, role)?;
    if !set.is_empty() && !sets.contains(&set) {
        sets.push(set);
    }
    Ok(())
}
