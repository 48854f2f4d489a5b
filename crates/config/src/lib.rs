//! Configuration: `main.cf`, `master.cf`, the parameter table, lazy expansion and typed views.
//!
//! A program reads everything that it needs once, at its start, into a `Settings` struct of its own; [`Config`] is what
//! it reads from.

pub mod bounce_templates;
pub mod expansion;
pub mod getopt;
pub mod list;
pub mod logical_line;
pub mod main_cf;
pub mod parameters;
pub mod tool;
pub mod typed;

mod error;
mod host;
mod level;
mod master_cf;
mod settings;

pub use error::{Error, ExpansionError, Origin, Warning};
pub use host::{Host, Interface};
pub use level::Level;
pub use master_cf::{Disabled, MasterCf, Service, ServiceKind, Wakeup};
pub use settings::{Config, DEFAULT_CONFIG_DIRECTORY};
