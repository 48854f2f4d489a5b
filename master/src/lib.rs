//! The process that starts, supervises and stops all others.

pub mod limits;
pub mod programs;
pub mod supervisor;
