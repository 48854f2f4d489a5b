//! `newaliases`: the tables of `alias_database` from their sources.

use config::Config;

use super::compile::{CompileOptions, Syntax, compile};
use super::target::Target;
use crate::error::Error;
use crate::list;
use crate::settings::Settings;

/// Rebuilds every table that `alias_database` names, or `file` instead when one is given (`sendmail -oA`).
///
/// # Errors
/// The first table that cannot be built; those before it are done.
pub fn rebuild_alias_database(config: &Config, file: Option<&str>) -> Result<(), Error> {
    let settings = Settings::load(config)?;
    let database = match file {
        Some(file) => file.to_owned(),
        None => config.string("alias_database")?,
    };
    for name in list::split(&database) {
        let target = Target::parse(name, &settings.default_database_type)?;
        compile(&target, &settings, &CompileOptions::new(Syntax::Alias, &settings))?;
    }
    Ok(())
}
