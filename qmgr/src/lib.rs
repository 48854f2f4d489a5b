//! posthouse-qmgr.
