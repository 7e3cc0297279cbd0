//! What `stats` answers, under memcached's names.

use core::sync::atomic::{AtomicU64, Ordering};

use crate::cache::Cache;
use crate::protocol::{Decimal, VERSION, reply};
use crate::time::Seconds;

/// Facts about the server that no connection knows, and the count of connections.
#[derive(Debug, Default)]
pub struct Server {
    pid: u32,
    threads: u64,
    started: Seconds,
    connections_max: u64,
    connections_now: AtomicU64,
    connections_ever: AtomicU64,
    connections_refused: AtomicU64,
}

impl Server {
    /// A server that starts now, as process `pid`, with `threads` workers and room for
    /// `connections_max` connections at a time.
    #[must_use]
    pub const fn new(pid: u32, threads: u64, connections_max: u64, now: Seconds) -> Self {
        Self {
            pid,
            threads,
            started: now,
            connections_max,
            connections_now: AtomicU64::new(0),
            connections_ever: AtomicU64::new(0),
            connections_refused: AtomicU64::new(0),
        }
    }

    /// Counts a new connection, unless there are as many as there may be: then it is counted as
    /// refused, and the answer is false.
    #[must_use]
    pub fn try_open_connection(&self) -> bool {
        let one_more = |now: u64| (now < self.connections_max).then_some(now + 1);
        let relaxed = Ordering::Relaxed;
        let opened = self
            .connections_now
            .fetch_update(relaxed, relaxed, one_more)
            .is_ok();
        let counter = if opened {
            &self.connections_ever
        } else {
            &self.connections_refused
        };
        counter.fetch_add(1, relaxed);
        opened
    }

    /// Counts the end of a connection that was opened.
    pub fn close_connection(&self) {
        let before = self.connections_now.fetch_sub(1, Ordering::Relaxed);
        debug_assert!(
            before > 0,
            "a connection is closed once, after it was opened"
        );
    }
}

/// Answers `stats` with `topic`.
pub(crate) fn answer(topic: Option<&[u8]>, cache: &Cache, now: Seconds, out: &mut Vec<u8>) {
    match topic {
        None => general(cache, now, out),
        Some(b"settings") => settings(cache, out),
        Some(b"reset") => {
            cache.store.reset_counters();
            out.extend_from_slice(reply::RESET);
        }
        Some(_) => out.extend_from_slice(reply::ERROR),
    }
}

fn general(cache: &Cache, now: Seconds, out: &mut Vec<u8>) {
    let server = &cache.server;
    let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let (usage, counters) = cache.store.totals();
    number(out, "pid", u64::from(server.pid));
    number(
        out,
        "uptime",
        now.as_unix().saturating_sub(server.started.as_unix()),
    );
    number(out, "time", now.as_unix());
    text(out, "version", VERSION.as_bytes());
    number(out, "pointer_size", u64::from(usize::BITS));
    number(out, "max_connections", server.connections_max);
    number(out, "curr_connections", load(&server.connections_now));
    number(out, "total_connections", load(&server.connections_ever));
    number(
        out,
        "rejected_connections",
        load(&server.connections_refused),
    );
    for (name, count) in counters.named() {
        number(out, name, count);
    }
    number(out, "limit_maxbytes", usage.bytes_max);
    number(out, "threads", server.threads);
    number(out, "bytes", usage.bytes);
    number(out, "curr_items", usage.items);
    // Nothing alive is ever thrown away to make room.
    number(out, "evictions", 0);
    out.extend_from_slice(reply::END);
}

fn settings(cache: &Cache, out: &mut Vec<u8>) {
    let wide = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
    number(out, "maxbytes", wide(cache.config.memory_bytes));
    number(out, "maxconns", cache.server.connections_max);
    text(out, "evictions", b"off");
    number(out, "num_threads", cache.server.threads);
    text(out, "cas_enabled", b"yes");
    number(out, "item_size_max", wide(cache.config.value_bytes_max));
    text(out, "flush_enabled", b"yes");
    out.extend_from_slice(reply::END);
}

fn number(out: &mut Vec<u8>, name: &str, value: u64) {
    text(out, name, Decimal::new(value).as_bytes());
}

fn text(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    for part in [b"STAT ", name.as_bytes(), b" ", value, b"\r\n"] {
        out.extend_from_slice(part);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_counted_up_to_the_limit() {
        let server = Server::new(1, 1, 2, Seconds::from_unix(0));
        assert!(server.try_open_connection());
        assert!(server.try_open_connection());
        assert!(!server.try_open_connection());
        server.close_connection();
        assert!(server.try_open_connection());
        let counts = [
            &server.connections_now,
            &server.connections_ever,
            &server.connections_refused,
        ];
        assert_eq!(counts.map(|count| count.load(Ordering::Relaxed)), [2, 3, 1]);
    }
}
