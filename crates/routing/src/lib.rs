//! posthouse-routing.
