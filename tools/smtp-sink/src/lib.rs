//! posthouse-smtp-sink.
