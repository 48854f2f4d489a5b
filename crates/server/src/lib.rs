//! posthouse-server.
