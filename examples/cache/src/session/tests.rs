//! What a session answers, however its bytes arrive.

use super::{Limits, Progress, Session, recycle};
use crate::{Cache, Config, Seconds, Server};

const NOW: Seconds = Seconds::from_unix(1_700_000_000);

/// A cache, a client of it and a clock.
pub(super) struct Talk {
    pub(super) cache: Cache,
    pub(super) session: Session,
    pub(super) now: Seconds,
    /// How many bytes arrive at a time.
    pub(super) piece_bytes: usize,
    pub(super) closed: bool,
    /// The most replies that ever waited to be sent.
    pub(super) out_bytes_max: usize,
}

impl Talk {
    pub(super) fn new() -> Self {
        Self::with(Config::default(), Limits::default())
    }

    pub(super) fn with(config: Config, limits: Limits) -> Self {
        Self {
            cache: Cache::new(config, Server::new(7, 1, 10, NOW)),
            session: Session::new(limits),
            now: NOW,
            piece_bytes: usize::MAX,
            closed: false,
            out_bytes_max: 0,
        }
    }

    /// Sends `input` in pieces and returns all replies.
    pub(super) fn say(&mut self, mut input: &[u8]) -> Vec<u8> {
        let mut replies = Vec::new();
        let mut out = Vec::new();
        while !input.is_empty() && !self.closed {
            let space = self.session.space();
            let bytes = input.len().min(space.len()).min(self.piece_bytes);
            assert!(bytes > 0, "a session always has space for more");
            space[..bytes].copy_from_slice(&input[..bytes]);
            input = &input[bytes..];
            self.session.filled(bytes);
            loop {
                let progress = self.session.process(&self.cache, self.now, &mut out);
                self.out_bytes_max = self.out_bytes_max.max(out.len());
                replies.extend_from_slice(&out);
                recycle(&mut out);
                match progress {
                    Progress::Flush => {}
                    Progress::Read => break,
                    Progress::Close => {
                        self.closed = true;
                        break;
                    }
                }
            }
        }
        replies
    }

    #[track_caller]
    pub(super) fn expect(&mut self, input: impl AsRef<[u8]>, replies: impl AsRef<[u8]>) {
        let got = self.say(input.as_ref()).escape_ascii().to_string();
        assert_eq!(got, replies.as_ref().escape_ascii().to_string());
    }

    pub(super) fn pass(&mut self, seconds: u64) {
        self.now = Seconds::from_unix(self.now.as_unix() + seconds);
    }
}

#[test]
fn a_value_is_stored_and_found() {
    let mut talk = Talk::new();
    talk.expect("set k 7 0 3\r\nabc\r\n", "STORED\r\n");
    talk.expect(
        "get k absent k\r\n",
        "VALUE k 7 3\r\nabc\r\nVALUE k 7 3\r\nabc\r\nEND\r\n",
    );
    talk.expect("get absent\r\n", "END\r\n");
    // A line may end in a bare line feed, a data block may not.
    talk.expect(
        "set k 0 0 0\n\r\nget k\n",
        "STORED\r\nVALUE k 0 0\r\n\r\nEND\r\n",
    );
}

#[test]
fn each_verb_stores_when_it_should() {
    let mut talk = Talk::new();
    for name in ["replace", "append", "prepend"] {
        talk.expect(format!("{name} k 0 0 1\r\nx\r\n"), "NOT_STORED\r\n");
    }
    talk.expect("cas k 0 0 1 1\r\nx\r\n", "NOT_FOUND\r\n");
    talk.expect(
        "add k 1 0 1\r\na\r\nadd k 2 0 1\r\nb\r\n",
        "STORED\r\nNOT_STORED\r\n",
    );
    talk.expect("get k\r\n", "VALUE k 1 1\r\na\r\nEND\r\n");
    talk.expect("replace k 3 0 2\r\nbb\r\n", "STORED\r\n");
    talk.expect(
        "append k 9 0 2\r\ncc\r\nprepend k 9 0 2\r\naa\r\n",
        "STORED\r\nSTORED\r\n",
    );
    talk.expect("get k\r\n", "VALUE k 3 6\r\naabbcc\r\nEND\r\n");
    talk.expect(
        "delete k\r\ndelete k\r\nget k\r\n",
        "DELETED\r\nNOT_FOUND\r\nEND\r\n",
    );
}

#[test]
fn cas_stores_only_over_what_was_seen() {
    let mut talk = Talk::new();
    talk.expect("set k 0 0 1\r\na\r\n", "STORED\r\n");
    let unique = |talk: &mut Talk| {
        let reply = String::from_utf8(talk.say(b"gets k\r\n")).unwrap();
        let line = reply.lines().next().unwrap().to_owned();
        line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()
    };
    let first = unique(&mut talk);
    talk.expect("touch k 100\r\n", "TOUCHED\r\n");
    assert_eq!(unique(&mut talk), first, "touching changes no value");
    talk.expect(format!("cas k 0 0 1 {first}\r\nb\r\n"), "STORED\r\n");
    talk.expect(format!("cas k 0 0 1 {first}\r\nc\r\n"), "EXISTS\r\n");
    talk.expect("get k\r\n", "VALUE k 0 1\r\nb\r\nEND\r\n");
    let second = unique(&mut talk);
    assert_ne!(first, second);
    talk.expect("append k 0 0 1\r\n!\r\n", "STORED\r\n");
    talk.expect(format!("cas k 0 0 1 {second}\r\nd\r\n"), "EXISTS\r\n");
    talk.expect("set n 0 0 1\r\n1\r\nincr n 1\r\n", "STORED\r\n2\r\n");
}

#[test]
fn counting_wraps_up_stops_at_zero_and_pads_with_spaces() {
    let mut talk = Talk::new();
    talk.expect("incr n 1\r\ndecr n 1\r\n", "NOT_FOUND\r\nNOT_FOUND\r\n");
    talk.expect("set n 7 0 3\r\n100\r\ndecr n 1\r\n", "STORED\r\n99\r\n");
    talk.expect("get n\r\n", "VALUE n 7 3\r\n99 \r\nEND\r\n");
    talk.expect("decr n 95\r\ndecr n 50\r\n", "4\r\n0\r\n");
    talk.expect("get n\r\n", "VALUE n 7 3\r\n0  \r\nEND\r\n");
    talk.expect(
        "incr n 1000\r\nget n\r\n",
        "1000\r\nVALUE n 7 4\r\n1000\r\nEND\r\n",
    );
    talk.expect(
        "set n 0 0 20\r\n18446744073709551615\r\nincr n 2\r\n",
        "STORED\r\n1\r\n",
    );
    talk.expect(
        "get n\r\n",
        format!("VALUE n 0 20\r\n1{}\r\nEND\r\n", " ".repeat(19)),
    );
    let not_a_number = "CLIENT_ERROR cannot increment or decrement non-numeric value\r\n";
    talk.expect(
        "set n 0 0 2\r\nx1\r\nincr n 1\r\n",
        format!("STORED\r\n{not_a_number}"),
    );
    talk.expect(
        "set n 0 0 0\r\n\r\ndecr n 1\r\n",
        format!("STORED\r\n{not_a_number}"),
    );
}

#[test]
fn items_expire_relatively_by_date_and_at_once() {
    let mut talk = Talk::new();
    let date = NOW.as_unix() + 50;
    talk.expect(
        "set relative 0 10 1\r\na\r\nset month 0 2592000 1\r\nb\r\n",
        "STORED\r\nSTORED\r\n",
    );
    talk.expect(format!("set date 0 {date} 1\r\nc\r\n"), "STORED\r\n");
    talk.expect(
        "set past 0 2592001 1\r\nd\r\nget past\r\n",
        "STORED\r\nEND\r\n",
    );
    talk.expect("set now 0 -1 1\r\ne\r\nget now\r\n", "STORED\r\nEND\r\n");
    talk.pass(9);
    talk.expect("get relative\r\n", "VALUE relative 0 1\r\na\r\nEND\r\n");
    talk.pass(1);
    talk.expect(
        "get relative\r\nadd relative 0 0 1\r\nz\r\n",
        "END\r\nSTORED\r\n",
    );
    talk.pass(39);
    talk.expect("get date\r\n", "VALUE date 0 1\r\nc\r\nEND\r\n");
    talk.pass(1);
    talk.expect(
        "get date\r\ntouch date 9\r\nincr date 1\r\n",
        "END\r\nNOT_FOUND\r\nNOT_FOUND\r\n",
    );
    talk.expect("touch month 0\r\n", "TOUCHED\r\n");
    talk.pass(3_000_000);
    talk.expect("get month\r\n", "VALUE month 0 1\r\nb\r\nEND\r\n");
    talk.expect("touch month -1\r\nget month\r\n", "TOUCHED\r\nEND\r\n");
}

#[test]
fn a_flush_takes_what_was_stored_before_its_moment() {
    let mut talk = Talk::new();
    talk.expect(
        "set a 0 0 1\r\na\r\nflush_all\r\nget a\r\n",
        "STORED\r\nOK\r\nEND\r\n",
    );
    talk.expect(
        "set a 0 0 1\r\na\r\nflush_all 10\r\nget a\r\n",
        "STORED\r\nOK\r\nVALUE a 0 1\r\na\r\nEND\r\n",
    );
    talk.pass(9);
    talk.expect(
        "set b 0 0 1\r\nb\r\nget a\r\n",
        "STORED\r\nVALUE a 0 1\r\na\r\nEND\r\n",
    );
    talk.pass(1);
    talk.expect(
        "set c 0 0 1\r\nc\r\nget a b c\r\n",
        "STORED\r\nVALUE c 0 1\r\nc\r\nEND\r\n",
    );
    // A new flush replaces one that is still to come.
    talk.expect("flush_all 10\r\nflush_all 1000 noreply\r\n", "OK\r\n");
    talk.pass(20);
    talk.expect("get c\r\n", "VALUE c 0 1\r\nc\r\nEND\r\n");
}

#[test]
fn no_reply_is_no_reply_even_to_an_error() {
    let mut talk = Talk::new();
    let quiet = "set k 0 0 1 noreply\r\n1\r\nadd k 0 0 1 noreply\r\n2\r\nincr k 1 noreply\r\n\
                 incr k x noreply\r\ntouch k 0 noreply\r\ntouch k x noreply\r\n\
                 verbosity 1 noreply\r\nset k 0 0 1 noreply\r\nabcset k 0 0 3 noreply\r\n\
                 abc\r\ndelete k noreply\r\nflush_all noreply\r\n";
    talk.expect(quiet, "");
    talk.expect(
        "version noreply\r\n",
        format!("VERSION {}\r\n", crate::protocol::VERSION),
    );
}

#[test]
fn a_bad_data_block_is_skipped_by_its_announced_length() {
    let mut talk = Talk::new();
    let bad = "CLIENT_ERROR bad data chunk\r\n";
    talk.expect("set k 0 0 2\r\nabcdget k\r\n", format!("{bad}END\r\n"));
    talk.expect(
        "set k 0 0 2\r\nabcd\r\nget k\r\n",
        format!("{bad}ERROR\r\nEND\r\n"),
    );
    let long = "x".repeat(20_000);
    talk.expect(
        format!("set k 0 0 20000\r\n{long}abget k\r\n"),
        format!("{bad}END\r\n"),
    );
    // A header that is wrong announces nothing: its data block is read as a command.
    talk.expect(
        "set k x 0 1\r\na\r\n",
        "CLIENT_ERROR bad command line format\r\nERROR\r\n",
    );
}

#[test]
fn quitting_ends_the_session_behind_the_replies_so_far() {
    let mut talk = Talk::new();
    talk.expect("get a\r\nquit\r\nget b\r\n", "END\r\n");
    assert!(talk.closed);
}

#[test]
fn statistics_count_what_happened() {
    let mut talk = Talk::new();
    talk.say(b"set k 0 0 5\r\nhello\r\nget k absent\r\ndelete absent\r\n");
    let stats = String::from_utf8(talk.say(b"stats\r\n")).unwrap();
    for line in [
        "STAT pid 7",
        "STAT uptime 0",
        "STAT curr_items 1",
        "STAT total_items 1",
        "STAT cmd_get 2",
        "STAT cmd_set 1",
        "STAT get_hits 1",
        "STAT get_misses 1",
        "STAT delete_misses 1",
        "STAT threads 1",
        "STAT limit_maxbytes 67108864",
        "STAT cmd_touch 0",
        "STAT cmd_flush 0",
        "STAT cmd_meta 0",
        "STAT evictions 0",
        "STAT reclaimed 0",
        "STAT bytes_read 56",
        "STAT bytes_written 44",
        "STAT accepting_conns 1",
        "STAT listen_disabled_num 0",
        "STAT pointer_size 64",
        "STAT idle_kicks 0",
    ] {
        assert!(
            stats.contains(&format!("{line}\r\n")),
            "{line} is not in {stats}"
        );
    }
    assert!(stats.ends_with("END\r\n"));
    talk.expect("stats reset\r\nstats nonsense\r\n", "RESET\r\nERROR\r\n");
    let stats = String::from_utf8(talk.say(b"stats\r\nstats settings\r\n")).unwrap();
    assert!(stats.contains("STAT cmd_get 0\r\n") && stats.contains("STAT curr_items 1\r\n"));
    assert!(stats.contains("STAT item_size_max 1048576\r\n"));
}

#[test]
fn a_retrieval_that_touches_sets_when_its_items_expire() {
    let mut talk = Talk::new();
    talk.expect(
        "set a 1 10 1\r\na\r\nset b 2 10 1\r\nb\r\n",
        "STORED\r\nSTORED\r\n",
    );
    talk.expect(
        "gat 100 a none b\r\n",
        "VALUE a 1 1\r\na\r\nVALUE b 2 1\r\nb\r\nEND\r\n",
    );
    talk.pass(99);
    talk.expect("gat 0 a\r\n", "VALUE a 1 1\r\na\r\nEND\r\n");
    talk.pass(1);
    talk.expect("get a b\r\n", "VALUE a 1 1\r\na\r\nEND\r\n");
    let unique = |reply: Vec<u8>| {
        let text = String::from_utf8(reply).unwrap();
        text.lines().next().unwrap().to_owned()
    };
    let before = unique(talk.say(b"gets a\r\n"));
    assert_eq!(
        unique(talk.say(b"gats 5 a\r\n")),
        before,
        "touching changes no value"
    );
    talk.expect(
        "gat -1 a\r\nget a\r\n",
        "VALUE a 1 1\r\na\r\nEND\r\nEND\r\n",
    );
    talk.expect(
        "gat 10\r\ngat x a\r\n",
        "END\r\nCLIENT_ERROR invalid exptime argument\r\n",
    );
    let stats = String::from_utf8(talk.say(b"stats\r\n")).unwrap();
    for line in ["cmd_touch 6", "touch_hits 5", "touch_misses 1", "cmd_get 4"] {
        assert!(
            stats.contains(&format!("STAT {line}\r\n")),
            "{line} is not in {stats}"
        );
    }
}

#[test]
fn one_class_of_items_holds_everything() {
    let mut talk = Talk::new();
    talk.expect("stats items\r\n", "END\r\n");
    talk.expect(
        "stats slabs\r\n",
        "STAT active_slabs 0\r\nSTAT total_malloced 0\r\nEND\r\n",
    );
    talk.say(b"set abc 0 0 5\r\nhello\r\nget abc\r\n");
    talk.pass(7);
    let text = |reply: Vec<u8>| String::from_utf8(reply).unwrap();
    let items = text(talk.say(b"stats items\r\n"));
    for line in [
        "number 1",
        "age 7",
        "mem_requested 8",
        "evicted 0",
        "outofmemory 0",
    ] {
        assert!(
            items.contains(&format!("STAT items:1:{line}\r\n")),
            "{line}: {items}"
        );
    }
    let slabs = text(talk.say(b"stats slabs\r\n"));
    for line in [
        "1:used_chunks 1",
        "1:get_hits 1",
        "1:cmd_set 1",
        "active_slabs 1",
    ] {
        assert!(
            slabs.contains(&format!("STAT {line}\r\n")),
            "{line}: {slabs}"
        );
    }
    talk.expect("stats sizes\r\n", "STAT sizes_status disabled\r\nEND\r\n");
    talk.expect("stats conns\r\n", "ERROR\r\n");
}

#[test]
fn a_full_cache_says_whom_it_threw_out() {
    let config = Config {
        memory_bytes: 64 << 10,
        ..Config::default()
    };
    let mut talk = Talk::with(config, Limits::default());
    for number in 0..1_000 {
        let exptime = number % 2 * 100;
        talk.expect(
            format!(
                "set key-{number} 0 {exptime} 100\r\n{}\r\n",
                "v".repeat(100)
            ),
            "STORED\r\n",
        );
        if number % 4 == 0 {
            talk.say(format!("get key-{number}\r\n").as_bytes());
        }
    }
    talk.expect("get key-0\r\n", "END\r\n");
    let stats = String::from_utf8(talk.say(b"stats\r\nstats settings\r\n")).unwrap();
    let number = |name: &str| -> u64 {
        let line = stats
            .lines()
            .find_map(|line| line.strip_prefix(&format!("STAT {name} ")));
        line.unwrap_or_else(|| panic!("no {name} in {stats}"))
            .parse()
            .unwrap()
    };
    let evictions = number("evictions");
    assert_eq!(evictions + number("curr_items"), 1_000);
    assert!(evictions > 500 && number("bytes") <= 64 << 10, "{stats}");
    let near = |count: u64, share: u64| count.abs_diff(share) < 10;
    assert!(near(number("evicted_nonzero"), evictions / 2), "{stats}");
    assert!(
        near(number("evicted_unfetched"), evictions * 3 / 4),
        "{stats}"
    );
    assert_eq!(number("item_size_max"), 32 << 10);
    assert!(stats.contains("STAT evictions on\r\n"));
}

#[test]
fn the_planted_mistake_answers_before_it_stores() {
    let mut talk = Talk::new();
    talk.session = Session::with_planted_mistake(Limits::default());
    talk.expect("set k 0 0 1\r\na\r\nget k\r\n", "STORED\r\nEND\r\n");
    talk.session.apply_late_updates(&talk.cache, talk.now);
    talk.expect("get k\r\n", "VALUE k 0 1\r\na\r\nEND\r\n");
}
