//! Parameters that hold for every delivery agent.

use config::Config;

use crate::StatusFilter;

/// `info_log_address_format`: how addresses appear in log lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AddressFormat {
    /// Quoted as in headers and SMTP commands.
    #[default]
    External,
    /// As stored.
    Internal,
}

/// Read once at start.
#[derive(Debug)]
pub struct Settings {
    /// soft_bounce: what would be returned is tried again.
    pub soft_bounce: bool,
    /// delay_logging_resolution_limit.
    pub decimals: u32,
    /// info_log_address_format.
    pub address_format: AddressFormat,
    /// `<program>_delivery_status_filter`, or else default_delivery_status_filter.
    pub filter: StatusFilter,
}

impl Settings {
    /// The settings of an agent program (`smtp`, `local`, ...).
    ///
    /// # Errors
    /// Those of the configuration.
    pub fn load(config: &Config, program: &str) -> Result<Settings, config::Error> {
        let address_format = match config.string("info_log_address_format")?.as_str() {
            "internal" => AddressFormat::Internal,
            _ => AddressFormat::External,
        };
        Ok(Settings {
            soft_bounce: config.bool("soft_bounce")?,
            decimals: u32::try_from(config.int("delay_logging_resolution_limit")?).unwrap_or(2),
            address_format,
            filter: StatusFilter::load(config, program)?,
        })
    }

    /// An address as log lines have it.
    #[must_use]
    pub fn shown<'a>(&self, address: &'a [u8]) -> std::borrow::Cow<'a, [u8]> {
        match self.address_format {
            AddressFormat::Internal => address.into(),
            AddressFormat::External if address.iter().all(|b| b.is_ascii_alphanumeric() || b"@.-_+=".contains(b)) => {
                address.into()
            }
            AddressFormat::External => Vec::from(address::external(address)).into(),
        }
    }
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            soft_bounce: false,
            decimals: 2,
            address_format: AddressFormat::External,
            filter: StatusFilter::none(),
        }
    }
}
