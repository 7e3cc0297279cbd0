//! What is looked at inside of the server while it serves.

use core::time::Duration;

use super::model::Shared;
use crate::{Cache, server::now};

/// How often it is looked at.
const PERIOD: Duration = Duration::from_millis(3);

/// Looks at `cache` now and then, until the runtime ends; what is wrong is told to the clients.
pub(super) fn audit_for_ever(shared: &Shared, cache: &Cache) {
    loop {
        let (usage, _) = cache.store.totals(now());
        if usage.bytes > usage.bytes_max {
            shared.violated(format!(
                "{} bytes are in use, and {} may be",
                usage.bytes, usage.bytes_max
            ));
        }
        let server = cache.server();
        if server.connections() > super::CONNECTIONS_MAX {
            shared.violated(format!("{} connections are open", server.connections()));
        }
        fiber::sleep(PERIOD);
    }
}
