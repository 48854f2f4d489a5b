//! The configuration that is in effect, and how its services are offered.

use std::collections::BTreeMap;
use std::path::PathBuf;

use config::{Config, MasterCf};

use crate::definition::{self, Definition};
use crate::listener::{self, Listener};
use crate::options::Options;
use crate::settings::Settings;
use crate::shell::Offered;
use crate::supervisor::{Policy, ServiceId, Supervisor};
use crate::{Error, lines};

pub(crate) struct Instance {
    pub(crate) options: Options,
    pub(crate) settings: Settings,
    directory: PathBuf,
    definitions: Vec<Definition>,
}

impl Instance {
    pub(crate) fn new(options: Options, config: &Config, settings: Settings) -> Result<Instance, Error> {
        let directory = config.directory().to_path_buf();
        let definitions = read_services(config, &settings, &options)?;
        Ok(Instance { options, settings, directory, definitions })
    }

    /// Reads both files again. On an error nothing has changed.
    pub(crate) fn read_again(&mut self) -> Result<(), Error> {
        let config = Config::load(&self.directory)?;
        for warning in config.warnings() {
            log::warning!("{warning}");
        }
        let newer = Settings::load(&config)?;
        for (name, old, new) in self.settings.ignored_changes(&newer) {
            log::warning!("ignoring {name} parameter value change");
            log::warning!("old value: \"{old}\", new value: \"{new}\"");
            log::warning!("to change {name}, stop and start Postfix");
        }
        let newer = newer.keeping_fixed(&self.settings);
        self.definitions = read_services(&config, &newer, &self.options)?;
        self.settings = newer;
        Ok(())
    }

    pub(crate) fn announce_start(&self) {
        lines::started(&self.settings.mail_version, &self.directory.display().to_string());
        if let Some(lacking) = sys::confine::lacking() {
            lines::unconfined(lacking);
        }
    }

    pub(crate) fn announce_reload(&self) {
        lines::reloaded(&self.settings.mail_version, &self.directory.display().to_string());
    }

    /// Opens the listeners of all services; those that are open stay open, so that no waiting client is lost.
    ///
    /// At the first start every failure is an error. On a reload a service whose listener cannot be opened is left out,
    /// with a line in the log.
    pub(crate) fn offer(
        &self,
        supervisor: &mut Supervisor,
        offered: &mut BTreeMap<ServiceId, Offered>,
        reload: bool,
    ) -> Result<Vec<(ServiceId, Policy)>, Error> {
        let mut policies = Vec::new();
        for definition in &self.definitions {
            let id = supervisor.number(&definition.policy.key);
            let open = offered.remove(&id).map(|service| service.listeners).unwrap_or_default();
            match self.open(definition, open, reload)? {
                listeners if listeners.is_empty() => {
                    log::warning!("service \"{}\" listens nowhere -- not offered", definition.policy.name);
                }
                listeners => {
                    let mut program = definition.program.clone();
                    definition::set_listener_count(&mut program, listeners.len());
                    let path = definition.policy.path.clone();
                    offered.insert(id, Offered::new(path, program, listeners));
                    policies.push((id, definition.policy.clone()));
                }
            }
        }
        Ok(policies)
    }

    fn open(&self, definition: &Definition, mut open: Vec<Listener>, reload: bool) -> Result<Vec<Listener>, Error> {
        let mut listeners = Vec::new();
        for endpoint in &definition.endpoints {
            if let Some(at) = open.iter().position(|listener| listener.endpoint == *endpoint) {
                listeners.push(open.swap_remove(at));
                continue;
            }
            match listener::open(endpoint, self.settings.owner) {
                Ok(Some(listener)) => listeners.push(listener),
                Ok(None) => log::debug!("no such protocol on this machine: {endpoint}"),
                Err(error) if reload => log::error!("{error}"),
                Err(error) => return Err(error),
            }
        }
        Ok(listeners)
    }
}

fn read_services(config: &Config, settings: &Settings, options: &Options) -> Result<Vec<Definition>, Error> {
    let master_cf = MasterCf::load(config.directory())?;
    for warning in &master_cf.warnings {
        log::warning!("{warning}");
    }
    let mut extra: Vec<String> = Vec::new();
    if options.debugger {
        extra.push("-D".to_owned());
    }
    extra.extend((0..options.verbose).map(|_| "-v".to_owned()));
    definition::all(config, &master_cf, settings, &extra)
}
