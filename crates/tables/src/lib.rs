//! posthouse-tables.
