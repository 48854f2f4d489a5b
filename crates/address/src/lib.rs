//! posthouse-address.
