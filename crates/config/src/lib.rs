//! posthouse-config.
