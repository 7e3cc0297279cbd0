//! What a shard counts, under memcached's names.

/// Declares the counters once: the fields, their sum, and their names for `stats`.
macro_rules! counters {
    ($($name:ident),* $(,)?) => {
        /// Counts of what has happened since the start or the last `stats reset`.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub(crate) struct Counters {
            $(pub(crate) $name: u64,)*
        }

        impl Counters {
            pub(crate) const fn add(&mut self, other: &Self) {
                $(self.$name += other.$name;)*
            }

            /// Every counter with the name that `stats` shows.
            pub(crate) fn named(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$((stringify!($name), self.$name)),*].into_iter()
            }
        }
    };
}

counters! {
    cmd_get,
    cmd_set,
    cmd_touch,
    cmd_meta,
    get_hits,
    get_misses,
    get_expired,
    get_flushed,
    delete_misses,
    delete_hits,
    incr_misses,
    incr_hits,
    decr_misses,
    decr_hits,
    cas_misses,
    cas_hits,
    cas_badval,
    touch_hits,
    touch_misses,
    store_too_large,
    store_no_memory,
    total_items,
    evictions,
    evicted_nonzero,
    evicted_unfetched,
    reclaimed,
    expired_unfetched,
    crawler_reclaimed,
    crawler_items_checked,
}
