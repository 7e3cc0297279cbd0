//! The limit of open files: one for each connection, and some for everything else.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Files that are no connection: the listener, rings, the log, and connections that are refused.
pub(crate) const SPARE: u32 = 128;

/// Raises the soft limit of open files to the hard one if so many connections need it.
pub(crate) fn allow(connections: usize) {
    let needed = u64::try_from(connections)
        .unwrap_or(u64::MAX)
        .saturating_add(SPARE.into());
    let limit = getrlimit(Resource::Nofile);
    // No limit is `None`.
    let (soft, hard) = (limit.current, limit.maximum);
    if soft.is_none_or(|soft| soft >= needed) {
        return;
    }
    let raised = Rlimit {
        current: hard,
        maximum: hard,
    };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => tracing::info!(from = ?soft, to = ?hard, "raised the limit of open files"),
        Err(error) => tracing::warn!(%error, "cannot raise the limit of open files"),
    }
    if hard.is_some_and(|hard| hard < needed) {
        tracing::warn!(
            connections,
            needed,
            ?hard,
            "fewer connections than asked for fit into the limit of open files: raise the hard \
             limit (LimitNOFILE in the unit, ulimit -Hn)"
        );
    }
}
