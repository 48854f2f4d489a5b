//! cleanup, tools → qmgr (`public/qmgr`). Besides these messages qmgr takes triggers (`W` `D` `I` `F` `A`).

use queue::QueueId;
use serde::{Deserialize, Serialize};

/// To qmgr.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToQmgr {
    /// A message is complete in `incoming`.
    Ready(QueueId),
    /// Try this deferred message now (`postqueue -i`, by way of flush).
    Retry(QueueId),
}

/// From qmgr, unasked, on connections that said [`ToQmgr::Ready`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromQmgr {
    /// New mail comes in faster than it is taken into the active queue: intake slows down (`in_flow_delay`), or no longer.
    Behind(bool),
}
