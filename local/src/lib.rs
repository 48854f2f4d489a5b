//! posthouse-local.
