//! posthouse-sendmail.
