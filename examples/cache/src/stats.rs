//! What `stats` answers, under memcached's names.
//!
//! A name is answered if the number behind it is true here, so there is nothing about pages of
//! slabs, segments of the LRU or threads that do not exist. Items have blocks of their own size:
//! where a dashboard looks for slab classes it finds one, number 1, which holds everything.

use core::net::SocketAddr;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use core::time::Duration;

use crate::cache::Cache;
use crate::protocol::{Decimal, VERSION, reply};
use crate::store::{Counters, Usage};
use crate::time::Seconds;

/// Processor time that this process has used, in its own code and in the system's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_structs,
    reason = "the host that measures it makes one"
)]
pub struct ProcessorTime {
    /// In the program.
    pub user: Duration,
    /// In the system, on behalf of the program.
    pub system: Duration,
}

/// Facts about the server that no connection knows, and what all connections count.
#[derive(Debug, Default)]
pub struct Server {
    pid: u32,
    threads: u64,
    started: Seconds,
    connections_max: u64,
    address: Option<SocketAddr>,
    idle_timeout: Option<Duration>,
    processor_time: Option<fn() -> Option<ProcessorTime>>,
    refuses: AtomicBool,
    connections_now: AtomicU64,
    connections_ever: AtomicU64,
    connections_refused: AtomicU64,
    idle_kicks: AtomicU64,
    accept_pauses: AtomicU64,
    flushes: AtomicU64,
    bytes_read: AtomicU64,
    bytes_written: AtomicU64,
}

impl Server {
    /// A server that starts now, as process `pid`, with `threads` workers and room for
    /// `connections_max` connections at a time.
    #[must_use]
    pub fn new(pid: u32, threads: u64, connections_max: u64, now: Seconds) -> Self {
        Self {
            pid,
            threads,
            started: now,
            connections_max,
            ..Self::default()
        }
    }

    /// The address that it listens on.
    #[must_use]
    pub const fn with_address(mut self, address: SocketAddr) -> Self {
        self.address = Some(address);
        self
    }

    /// How long a connection may say nothing; without this, for ever.
    #[must_use]
    pub const fn with_idle_timeout(mut self, timeout: Duration) -> Self {
        self.idle_timeout = Some(timeout);
        self
    }

    /// Who to ask for the process's processor time; without this, nothing is said of it.
    #[must_use]
    pub const fn with_processor_time(mut self, ask: fn() -> Option<ProcessorTime>) -> Self {
        self.processor_time = Some(ask);
        self
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

    /// How many connections are open.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.connections_now.load(Ordering::Relaxed)
    }

    /// Counts a connection that is closed because it said nothing for too long.
    pub fn count_idle_kick(&self) {
        self.idle_kicks.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a time in which no connection could be accepted.
    pub fn count_accept_pause(&self) {
        self.accept_pauses.fetch_add(1, Ordering::Relaxed);
    }

    /// From now on, no connection is accepted any more.
    pub fn stop_accepting(&self) {
        self.refuses.store(true, Ordering::Relaxed);
    }

    pub(crate) fn count_flush(&self) {
        self.flushes.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_bytes_read(&self, bytes: usize) {
        self.bytes_read.fetch_add(wide(bytes), Ordering::Relaxed);
    }

    pub(crate) fn count_bytes_written(&self, bytes: usize) {
        self.bytes_written.fetch_add(wide(bytes), Ordering::Relaxed);
    }

    fn reset(&self) {
        for counter in [
            &self.connections_ever,
            &self.connections_refused,
            &self.idle_kicks,
            &self.accept_pauses,
            &self.flushes,
            &self.bytes_read,
            &self.bytes_written,
        ] {
            counter.store(0, Ordering::Relaxed);
        }
    }
}

/// Answers `stats` with `topic`.
// Its frame is large, and a connection that never asks is to touch one page of stack.
#[inline(never)]
pub(crate) fn answer(topic: Option<&[u8]>, cache: &Cache, now: Seconds, out: &mut Vec<u8>) {
    match topic {
        None => general(cache, now, out),
        Some(b"settings") => settings(cache, out),
        Some(b"items") => items(cache, now, out),
        Some(b"slabs") => slabs(cache, now, out),
        // Counting by size would cost every command something; memcached does not by default.
        Some(b"sizes") => text(out, "sizes_status", b"disabled"),
        Some(b"reset") => {
            cache.store.reset_counters();
            cache.server.reset();
            return out.extend_from_slice(reply::RESET);
        }
        Some(_) => return out.extend_from_slice(reply::ERROR),
    }
    out.extend_from_slice(reply::END);
}

fn general(cache: &Cache, now: Seconds, out: &mut Vec<u8>) {
    let server = &cache.server;
    let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let (usage, counters) = cache.store.totals(now);
    number(out, "pid", u64::from(server.pid));
    number(out, "uptime", now.since(server.started));
    number(out, "time", now.as_unix());
    text(out, "version", VERSION.as_bytes());
    number(out, "pointer_size", u64::from(usize::BITS));
    if let Some(time) = server.processor_time.and_then(|ask| ask()) {
        duration(out, "rusage_user", time.user);
        duration(out, "rusage_system", time.system);
    }
    let connections_now = load(&server.connections_now);
    for (name, count) in [
        ("max_connections", server.connections_max),
        ("curr_connections", connections_now),
        ("total_connections", load(&server.connections_ever)),
        ("rejected_connections", load(&server.connections_refused)),
        ("connection_structures", connections_now),
    ] {
        number(out, name, count);
    }
    for (name, count) in counters.named() {
        number(out, name, count);
    }
    let accepting = !server.refuses.load(Ordering::Relaxed);
    for (name, count) in [
        ("cmd_flush", load(&server.flushes)),
        ("idle_kicks", load(&server.idle_kicks)),
        ("bytes_read", load(&server.bytes_read)),
        ("bytes_written", load(&server.bytes_written)),
        ("limit_maxbytes", usage.bytes_max),
        ("accepting_conns", u64::from(accepting)),
        ("listen_disabled_num", load(&server.accept_pauses)),
        ("threads", server.threads),
        ("hash_bytes", usage.index_bytes),
        ("bytes", usage.bytes),
        ("curr_items", usage.items),
    ] {
        number(out, name, count);
    }
}

fn settings(cache: &Cache, out: &mut Vec<u8>) {
    let server = &cache.server;
    number(out, "maxbytes", wide(cache.config.memory_bytes));
    number(out, "maxconns", server.connections_max);
    if let Some(address) = server.address {
        number(out, "tcpport", u64::from(address.port()));
        text(out, "inter", address.ip().to_string().as_bytes());
    }
    number(out, "udpport", 0);
    text(out, "evictions", b"on");
    number(out, "num_threads", server.threads);
    text(out, "cas_enabled", b"yes");
    text(out, "auth_enabled_sasl", b"no");
    text(out, "auth_enabled_ascii", b"no");
    number(out, "item_size_max", wide(cache.store.value_bytes_max()));
    text(out, "maxconns_fast", b"yes");
    text(out, "flush_enabled", b"yes");
    text(out, "dump_enabled", b"no");
    text(out, "detail_enabled", b"no");
    text(out, "lru_segmented", b"no");
    number(
        out,
        "idle_timeout",
        server.idle_timeout.unwrap_or_default().as_secs(),
    );
    text(out, "track_sizes", b"no");
    text(out, "ssl_enabled", b"no");
}

/// As with memcached, an empty cache has no classes.
fn items(cache: &Cache, now: Seconds, out: &mut Vec<u8>) {
    let (usage, counters) = cache.store.totals(now);
    if usage.items == 0 {
        return;
    }
    let Counters {
        evictions,
        evicted_nonzero,
        evicted_unfetched,
        store_no_memory,
        reclaimed,
        expired_unfetched,
        crawler_reclaimed,
        crawler_items_checked,
        ..
    } = counters;
    for (name, count) in [
        ("items:1:number", usage.items),
        ("items:1:age", usage.oldest_idle),
        ("items:1:mem_requested", usage.payload_bytes),
        ("items:1:evicted", evictions),
        ("items:1:evicted_nonzero", evicted_nonzero),
        ("items:1:evicted_time", usage.evicted_idle),
        ("items:1:outofmemory", store_no_memory),
        ("items:1:reclaimed", reclaimed),
        ("items:1:expired_unfetched", expired_unfetched),
        ("items:1:evicted_unfetched", evicted_unfetched),
        ("items:1:crawler_reclaimed", crawler_reclaimed),
        ("items:1:crawler_items_checked", crawler_items_checked),
    ] {
        number(out, name, count);
    }
}

fn slabs(cache: &Cache, now: Seconds, out: &mut Vec<u8>) {
    let (
        Usage {
            items,
            bytes,
            payload_bytes,
            ..
        },
        counters,
    ) = cache.store.totals(now);
    if items > 0 {
        for (name, count) in [
            ("1:used_chunks", items),
            ("1:mem_requested", payload_bytes),
            ("1:get_hits", counters.get_hits),
            ("1:cmd_set", counters.cmd_set),
            ("1:delete_hits", counters.delete_hits),
            ("1:incr_hits", counters.incr_hits),
            ("1:decr_hits", counters.decr_hits),
            ("1:cas_hits", counters.cas_hits),
            ("1:cas_badval", counters.cas_badval),
            ("1:touch_hits", counters.touch_hits),
        ] {
            number(out, name, count);
        }
    }
    number(out, "active_slabs", u64::from(items > 0));
    number(out, "total_malloced", bytes);
}

fn duration(out: &mut Vec<u8>, name: &str, time: Duration) {
    let written = format!("{}.{:06}", time.as_secs(), time.subsec_micros());
    text(out, name, written.as_bytes());
}

fn wide(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
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

    #[test]
    fn what_the_host_knows_is_told_and_nothing_else_is() {
        let now = Seconds::from_unix(100);
        let text = |server: Server| {
            let cache = Cache::new(crate::Config::default(), server);
            let mut out = Vec::new();
            general(&cache, Seconds::from_unix(109), &mut out);
            settings(&cache, &mut out);
            String::from_utf8(out).expect("statistics are text")
        };
        let bare = text(Server::new(1, 1, 2, now));
        assert!(
            !bare.contains("rusage") && !bare.contains("tcpport"),
            "{bare}"
        );
        assert!(bare.contains("STAT idle_timeout 0\r\n"), "{bare}");
        let time = || {
            Some(ProcessorTime {
                user: Duration::from_micros(1_000_005),
                system: Duration::from_millis(20),
            })
        };
        let server = Server::new(1, 1, 2, now)
            .with_address("127.0.0.1:4711".parse().expect("an address"))
            .with_idle_timeout(Duration::from_secs(30))
            .with_processor_time(time);
        server.count_idle_kick();
        server.count_accept_pause();
        server.stop_accepting();
        let full = text(server);
        for line in [
            "uptime 9",
            "rusage_user 1.000005",
            "rusage_system 0.020000",
            "idle_kicks 1",
            "listen_disabled_num 1",
            "accepting_conns 0",
            "tcpport 4711",
            "inter 127.0.0.1",
            "idle_timeout 30",
        ] {
            assert!(full.contains(&format!("STAT {line}\r\n")), "{line}: {full}");
        }
    }
}
