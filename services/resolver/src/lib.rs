//! posthouse-resolver.
