//! The message on its way to the wire: read from the queue file, converted where the server needs it, dots doubled.

use delivery::Job;
use smtp_proto::Keywords;
use smtp_proto::client::{Capabilities, DotStuffer};

use crate::settings::Settings;

/// What one write hands to the network at most.
const CHUNK: usize = 64 << 10;
