//! posthouse-smtp-proto.
