//! One module per table type.

mod berkeley;
pub(crate) mod cdb;
pub(crate) mod cidr;
pub(crate) mod combined;
pub(crate) mod environ;
pub(crate) mod fail;
pub(crate) mod fixed_value;
pub(crate) mod hash;
pub(crate) mod inline;
pub(crate) mod internal;
pub(crate) mod lmdb;
mod pattern;
pub(crate) mod pcre;
pub(crate) mod proxy;
pub(crate) mod regexp;
pub(crate) mod remote;
mod rule_text;
pub(crate) mod text_hash;
pub(crate) mod unix;
