//! posthouse-message.
