//! `local_header_rewrite_clients`: whose mail has its incomplete header addresses completed with our own domain.

use config::Config;
use tables::{Flags, Maps};

use crate::restrictions::{ClientCertificates, Lookup, TableFailure};
use crate::world::World;

enum Rule {
    InetInterfaces,
    Mynetworks,
    /// SASL: nobody.
    Nobody,
    /// `permit_tls_clientcerts`, `permit_tls_all_clientcerts`
    Certificate(ClientCertificates),
    Table(Maps),
    Unknown(String),
}

/// The list.
pub(crate) struct RewriteClients {
    rules: Vec<Rule>,
}

impl RewriteClients {
    pub(crate) fn load(config: &Config) -> Result<RewriteClients, server::StartError> {
        let title = "local_header_rewrite_clients";
        let mut rules = Vec::new();
        let mut words = config.list(title)?.into_iter();
        while let Some(word) = words.next() {
            rules.push(match word.to_ascii_lowercase().as_str() {
                "permit_inet_interfaces" => Rule::InetInterfaces,
                "permit_mynetworks" => Rule::Mynetworks,
                "permit_sasl_authenticated" => Rule::Nobody,
                "permit_tls_clientcerts" => Rule::Certificate(ClientCertificates::Listed),
                "permit_tls_all_clientcerts" => Rule::Certificate(ClientCertificates::Trusted),
                "check_address_map" => table(config, title, &words.next().unwrap_or_default())?,
                _ if word.contains(':') => table(config, title, &word)?,
                _ => Rule::Unknown(word),
            });
        }
        Ok(RewriteClients { rules })
    }

    pub(crate) fn changed(&self) -> Option<String> {
        self.rules.iter().find_map(|rule| match rule {
            Rule::Table(maps) => maps.changed_table(),
            _ => None,
        })
    }

    /// True when the client's mail is completed as our own.
    pub(crate) async fn contain(
        &self,
        name: &str,
        address: &str,
        tls: Option<&tls::TlsFacts>,
        world: &World,
    ) -> Result<bool, TableFailure> {
        for rule in &self.rules {
            let found = match rule {
                Rule::InetInterfaces => world.is_own_address(address),
                Rule::Mynetworks => world.in_mynetworks(name, address).await?,
                Rule::Nobody => false,
                Rule::Certificate(which) => which.include(tls, world).await?,
                Rule::Table(maps) => maps.lookup(address.as_bytes()).await.map_err(|_| TableFailure)?.is_some(),
                Rule::Unknown(word) => {
                    log::warning!("unknown local_header_rewrite_clients element: {word}");
                    return Err(TableFailure);
                }
            };
            if found {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

fn table(config: &Config, title: &'static str, spec: &str) -> Result<Rule, server::StartError> {
    Maps::open(spec, config, title, Flags::DEFAULT).map(Rule::Table).map_err(server::StartError::service)
}
