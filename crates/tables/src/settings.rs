//! The parameters that tables depend on.

/// Read once per program; [`crate::Maps::open`] loads it from the configuration by itself.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `smtputf8_enable`: keys and values are checked to be UTF-8, and keys are folded by Unicode's rules.
    pub utf8: bool,
    /// `lmdb_map_size`, bytes: where an LMDB file's memory map starts; it grows by doubling.
    pub lmdb_map_size: usize,
    /// `daemon_table_open_error_is_fatal`: a table that cannot be opened is an error of `open` instead of every lookup.
    pub open_error_is_fatal: bool,
    /// `proxy_read_maps`, the `proxy:` names in it: what `proxy:` may open.
    pub proxy_read_maps: Vec<String>,
    /// `default_database_type`: what postmap and postalias assume.
    pub default_database_type: String,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            utf8: true,
            lmdb_map_size: 16_777_216,
            open_error_is_fatal: false,
            proxy_read_maps: Vec::new(),
            default_database_type: "lmdb".to_owned(),
        }
    }
}
