//! What every command line means, and which error every bad one earns.

use super::command::{Command, Direction, Header, Reply, StoreVerb, ValueLine};
use super::parse::parse;
use super::reply;

const QUIET: Reply = Reply::Suppressed;
const LOUD: Reply = Reply::Wanted;

#[track_caller]
fn rejected(line: &str, answer: &[u8], reply: Reply) {
    let rejection = parse(line.as_bytes()).expect_err(line);
    assert_eq!(
        rejection.line.escape_ascii().to_string(),
        answer.escape_ascii().to_string()
    );
    assert_eq!(rejection.reply, reply, "{line:?}");
}

#[track_caller]
fn means(line: &str, command: Command<'_>) {
    assert_eq!(parse(line.as_bytes()), Ok(command), "{line:?}");
}

const fn header(verb: StoreVerb, reply: Reply) -> Header<'static> {
    Header {
        verb,
        key: b"k",
        flags: 5,
        exptime: -6,
        value_bytes: 7,
        reply,
    }
}

#[test]
fn storage_commands_are_understood() {
    for (name, verb) in [
        ("set", StoreVerb::Set),
        ("add", StoreVerb::Add),
        ("replace", StoreVerb::Replace),
        ("append", StoreVerb::Append),
        ("prepend", StoreVerb::Prepend),
    ] {
        means(
            &format!("{name} k 5 -6 7"),
            Command::Store(header(verb, LOUD)),
        );
        means(
            &format!("  {name}   k +5 -6 07  noreply "),
            Command::Store(header(verb, QUIET)),
        );
        // Any other last word is passed over, as memcached does.
        means(
            &format!("{name} k 5 -6 7 x"),
            Command::Store(header(verb, LOUD)),
        );
    }
    means(
        "cas k 5 -6 7 8",
        Command::Store(header(StoreVerb::Cas(8), LOUD)),
    );
    let unique = StoreVerb::Cas(u64::MAX);
    means(
        "cas k 5 -6 7 18446744073709551615 noreply",
        Command::Store(header(unique, QUIET)),
    );
}

#[test]
fn bad_storage_lines_are_rejected() {
    for name in ["set", "add", "replace", "append", "prepend"] {
        for rest in [
            "",
            " k",
            " k 0 0",
            " k 0 0 1 noreply x",
            " k 1 2 3 4 5 6 7 8 9",
        ] {
            rejected(&format!("{name}{rest}"), reply::ERROR, LOUD);
        }
        for rest in [
            "k x 0 1",
            "k -1 0 1",
            "k 4294967296 0 1",
            "k 0 x 1",
            "k 0 9223372036854775808 1",
            "k 0 0 x",
            "k 0 0 -1",
            "k 0 0 1.",
            "k 0 0 2147483646",
            "k\t 0 0 1",
            "\u{1} 0 0 1",
        ] {
            rejected(&format!("{name} {rest}"), reply::BAD_FORMAT, LOUD);
            rejected(&format!("{name} {rest} noreply"), reply::BAD_FORMAT, QUIET);
        }
    }
    rejected("cas k 0 0 1", reply::ERROR, LOUD);
    rejected("cas k 0 0 1 2 noreply x", reply::ERROR, LOUD);
    rejected("cas k 0 0 1 x", reply::BAD_FORMAT, LOUD);
    rejected("cas k 0 0 1 -1 noreply", reply::BAD_FORMAT, QUIET);
}

#[test]
fn the_longest_key_and_flags_and_length_are_accepted() {
    let key = "k".repeat(250);
    let line = format!("set {key} 4294967295 0 2147483645");
    let expected = Header {
        verb: StoreVerb::Set,
        key: key.as_bytes(),
        flags: u32::MAX,
        exptime: 0,
        value_bytes: 2_147_483_645,
        reply: LOUD,
    };
    means(&line, Command::Store(expected));
}

#[test]
fn a_key_of_251_bytes_is_rejected_everywhere() {
    let key = "k".repeat(251);
    for line in [
        format!("get {key}"),
        format!("gets a {key} b"),
        format!("set {key} 0 0 1"),
        format!("cas {key} 0 0 1 1"),
        format!("delete {key}"),
        format!("incr {key} 1"),
        format!("decr {key} 1"),
        format!("touch {key} 1"),
    ] {
        rejected(&line, reply::BAD_FORMAT, LOUD);
    }
    rejected(&format!("delete {key} noreply"), reply::BAD_FORMAT, QUIET);
}

#[test]
fn retrievals_need_a_key_and_know_where_it_is() {
    means(
        "get a",
        Command::Retrieve {
            keys_at: 3,
            line: ValueLine::Plain,
        },
    );
    means(
        " gets  a b",
        Command::Retrieve {
            keys_at: 5,
            line: ValueLine::WithUnique,
        },
    );
    // A key may be any bytes above the space, so also another alphabet.
    means(
        "get ключ",
        Command::Retrieve {
            keys_at: 3,
            line: ValueLine::Plain,
        },
    );
    for line in ["get", "get ", "gets", "GET a", "get\ta", "geta"] {
        rejected(line, reply::ERROR, LOUD);
    }
    rejected("get a\u{7f}", reply::BAD_FORMAT, LOUD);
}

#[test]
fn deletions_take_an_old_zero() {
    for (line, reply) in [
        ("delete k", LOUD),
        ("delete k 0", LOUD),
        ("delete k noreply", QUIET),
        ("delete k 0 noreply", QUIET),
    ] {
        means(line, Command::Delete { key: b"k", reply });
    }
    rejected("delete", reply::ERROR, LOUD);
    rejected("delete k 0 noreply x", reply::ERROR, LOUD);
    rejected("delete k 5", reply::BAD_DELETE, LOUD);
    rejected("delete k 0 x", reply::BAD_DELETE, LOUD);
    rejected("delete k 5 noreply", reply::BAD_DELETE, QUIET);
}

#[test]
fn counting_takes_an_unsigned_delta() {
    for (name, direction) in [("incr", Direction::Up), ("decr", Direction::Down)] {
        let command = |delta, reply| Command::Arithmetic {
            direction,
            key: b"k",
            delta,
            reply,
        };
        means(&format!("{name} k 1"), command(1, LOUD));
        means(
            &format!("{name} k 18446744073709551615 noreply"),
            command(u64::MAX, QUIET),
        );
        rejected(&format!("{name} k"), reply::ERROR, LOUD);
        rejected(&format!("{name} k 1 noreply x"), reply::ERROR, LOUD);
        for delta in ["x", "-1", "18446744073709551616", "1x"] {
            rejected(&format!("{name} k {delta}"), reply::INVALID_DELTA, LOUD);
            rejected(
                &format!("{name} k {delta} noreply"),
                reply::INVALID_DELTA,
                QUIET,
            );
        }
    }
}

#[test]
fn touching_takes_an_exptime() {
    means(
        "touch k -1",
        Command::Touch {
            key: b"k",
            exptime: -1,
            reply: LOUD,
        },
    );
    means(
        "touch k 9 noreply",
        Command::Touch {
            key: b"k",
            exptime: 9,
            reply: QUIET,
        },
    );
    rejected("touch k", reply::ERROR, LOUD);
    rejected("touch k x", reply::INVALID_EXPTIME, LOUD);
    rejected("touch k x noreply", reply::INVALID_EXPTIME, QUIET);
}

#[test]
fn flushing_takes_a_delay_or_none() {
    for (line, delay, reply) in [
        ("flush_all", 0, LOUD),
        ("flush_all noreply", 0, QUIET),
        ("flush_all 10", 10, LOUD),
        ("flush_all -1", -1, LOUD),
        ("flush_all 10 noreply", 10, QUIET),
    ] {
        means(line, Command::FlushAll { delay, reply });
    }
    rejected("flush_all 1 2 3", reply::ERROR, LOUD);
    rejected("flush_all x", reply::INVALID_EXPTIME, LOUD);
    rejected("flush_all x noreply", reply::INVALID_EXPTIME, QUIET);
}

#[test]
fn the_other_commands_are_understood() {
    means("stats", Command::Stats { topic: None });
    means(
        "stats reset x",
        Command::Stats {
            topic: Some(b"reset"),
        },
    );
    means("version", Command::Version);
    means("version noreply", Command::Version);
    means("quit", Command::Quit);
    means("verbosity 1", Command::Verbosity { reply: LOUD });
    means("verbosity 1 noreply", Command::Verbosity { reply: QUIET });
    rejected("verbosity", reply::ERROR, LOUD);
    rejected("verbosity x", reply::BAD_FORMAT, LOUD);
    rejected("verbosity noreply", reply::BAD_FORMAT, QUIET);
}

#[test]
fn anything_else_is_an_error() {
    for line in [
        "",
        " ",
        "x",
        "\r",
        "\0",
        "sets k 0 0 1",
        "VERSION",
        "mg k v",
        "gat 0 k",
    ] {
        rejected(line, reply::ERROR, LOUD);
    }
}
