//! The workloads, and what one op of each is.

/// One yield; 2 tasks share the ops.
pub const YIELD_2: &str = "yield_2";
/// One yield; 1000 tasks share the ops.
pub const YIELD_1000: &str = "yield_1000";
/// [`YIELD_2`], in the shortest form that a poll-based runtime has: to wake oneself and return.
pub const YIELDW_2: &str = "yieldw_2";
/// [`YIELD_1000`] in that form.
pub const YIELDW_1000: &str = "yieldw_1000";
/// Spawning an empty task and joining it.
pub const SPAWN_SEQ: &str = "spawn_seq";
/// The same; 1000 are spawned, then 1000 joined.
pub const SPAWN_BATCH: &str = "spawn_batch";
/// A round trip, 2 messages, between 2 tasks over 2 rendezvous channels; where the tasks run is the
/// runtime's choice. Peers without a rendezvous have a buffer of one, which lets a sender go on.
pub const PINGPONG: &str = "pingpong";
/// The same with each task on a thread of its own.
pub const PINGPONG_CROSS: &str = "pingpong_cross";
/// One message through a channel whose buffer holds [`CHANNEL_CAPACITY`], from 1 producer to 1
/// consumer.
pub const CHAN_1P1C: &str = "chan_1p1c";
/// The same with 4 producers.
pub const CHAN_4P1C: &str = "chan_4p1c";
/// Locking a free mutex, adding, unlocking.
pub const MUTEX_UNCONTENDED: &str = "mutex_uncontended";
/// The same by 8 tasks at once.
pub const MUTEX_CONTENDED8: &str = "mutex_contended8";
/// Locking, yielding, unlocking by 8 tasks: every lock waits, so this is the hand-over.
pub const MUTEX_YIELD8: &str = "mutex_yield8";
/// One message received by a choice of 2 rendezvous channels with a producer each.
pub const SELECT_2: &str = "select_2";
/// Arming a limit of 10 s and disarming it.
pub const TIMER_CANCEL: &str = "timer_cancel";
/// [`PINGPONG`] whose asking side waits 10 s at the most for each answer.
pub const TIMEOUT_WAIT: &str = "timeout_wait";
/// A task that sleeps for 1 to 1000 ms, from its spawn to its join; all of them at once.
pub const TIMER_SLEEP: &str = "timer_sleep";
/// The same with tasks that have no stack while they sleep.
pub const TIMER_SLEEP_WHEN: &str = "timer_sleep_when";
/// A task that is spawned and waits at one gate with all others, on a stack of 64 KiB where a
/// runtime lets one choose. The time is that until all wait; also measured are the memory that each
/// has, and what ending them takes.
pub const MEM: &str = "mem";
/// The same with tasks that have no stack while they wait.
pub const MEM_WHEN: &str = "mem_when";
/// One task of a tree: each spawns 10 and adds up what they return; ops are the leaves asked for,
/// costs are per task.
pub const SKYNET: &str = "skynet";
/// One piece of work, of which 1000 tasks have shares after Zipf's law.
pub const ZIPF: &str = "zipf";

/// A process that does nothing, from its spawn to the end of its death.
pub const PROCESS: &str = "process";
/// A process with one fiber, from its spawn over its kill to the end of its death.
pub const KILL_1: &str = "kill_1";
/// The same with 1000 fibers: one op is one of them.
pub const KILL_1000: &str = "kill_1000";
/// Waiting for a process's end, and giving up at once.
pub const MONITOR: &str = "monitor";
/// Asking on its own worker whether an id is live.
pub const ID_LOOKUP: &str = "id_lookup";
/// Entering on its own worker what an id names, and leaving it.
pub const ID_ENTER: &str = "id_enter";
/// Duplicating a connection, and closing the copy.
pub const ID_DUP: &str = "id_dup";

/// How many values a bounded channel holds.
pub const CHANNEL_CAPACITY: usize = 100;
/// How many tasks are spawned before they are joined.
pub const BATCH: u64 = 1000;
