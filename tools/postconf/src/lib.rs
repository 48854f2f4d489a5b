//! posthouse-postconf.
