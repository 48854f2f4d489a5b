//! posthouse-smtpd.
