//! posthouse-master.
