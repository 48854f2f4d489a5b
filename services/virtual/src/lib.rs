//! posthouse-virtual.
