//! posthouse-postfix.
