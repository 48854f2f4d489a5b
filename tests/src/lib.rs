//! posthouse-tests.
