//! posthouse-smtp-source.
