//! What every command line means, and which error every bad one earns.

use super::command::{Command, Direction, Header, Reply, StoreVerb, ValueLine};
use super::meta::{Flags, MetaKey};
use super::parse::{Rejection, parse};
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
            exptime: None,
        },
    );
    means(
        " gets  a b",
        Command::Retrieve {
            keys_at: 5,
            line: ValueLine::WithUnique,
            exptime: None,
        },
    );
    // A key may be any bytes above the space, so also another alphabet.
    means(
        "get ключ",
        Command::Retrieve {
            keys_at: 3,
            line: ValueLine::Plain,
            exptime: None,
        },
    );
    for line in ["get", "get ", "gets", "GET a", "get\ta", "geta"] {
        rejected(line, reply::ERROR, LOUD);
    }
    rejected("get a\u{7f}", reply::BAD_FORMAT, LOUD);
}

#[test]
fn retrievals_that_touch_take_an_exptime_in_front_of_the_keys() {
    for (text, keys_at, line, exptime) in [
        ("gat 0 a", 5, ValueLine::Plain, 0),
        ("gats -1 a b", 7, ValueLine::WithUnique, -1),
        // Nothing to find is found, as memcached has it.
        ("gat 10", 6, ValueLine::Plain, 10),
    ] {
        let exptime = Some(exptime);
        means(
            text,
            Command::Retrieve {
                keys_at,
                line,
                exptime,
            },
        );
    }
    rejected("gat", reply::ERROR, LOUD);
    rejected("gat x a", reply::INVALID_EXPTIME, LOUD);
    rejected("gats 1x a", reply::INVALID_EXPTIME, LOUD);
    let key = "k".repeat(251);
    rejected(&format!("gat 0 a {key}"), reply::BAD_FORMAT, LOUD);
}

#[track_caller]
fn flags(line: &str) -> (Vec<u8>, Flags) {
    match parse(line.as_bytes()) {
        Ok(
            Command::MetaGet(meta)
            | Command::MetaSet(meta, _)
            | Command::MetaDelete(meta)
            | Command::MetaArithmetic(meta),
        ) => (meta.key.as_bytes().to_vec(), meta.flags),
        other => panic!("{line:?} gave {other:?}"),
    }
}

#[track_caller]
fn flag_means(flag: &str, change: impl FnOnce(&mut Flags)) {
    let mut expected = Flags::default();
    change(&mut expected);
    for line in [
        format!("mg k {flag}"),
        format!("ms k 3  {flag} "),
        format!("md k {flag}"),
        format!("ma k {flag}"),
    ] {
        assert_eq!(flags(&line), (b"k".to_vec(), expected), "{line:?}");
    }
}

#[test]
fn every_flag_of_a_meta_command_is_understood() {
    flag_means("v", |flags| flags.value = true);
    flag_means("u", |flags| flags.unseen = true);
    flag_means("q", |flags| flags.quiet = true);
    flag_means("I", |flags| flags.stale = true);
    flag_means("x", |flags| flags.empty = true);
    flag_means("C7", |flags| flags.compare = Some(7));
    flag_means("E8", |flags| flags.new_unique = Some(8));
    flag_means("T-9", |flags| flags.exptime = Some(-9));
    flag_means("N0", |flags| flags.creates = Some(0));
    flag_means("R30", |flags| flags.renew = Some(30));
    flag_means("F11", |flags| flags.client_flags = 11);
    flag_means("D12", |flags| flags.delta = Some(12));
    flag_means("J13", |flags| flags.initial = 13);
    for returned in [
        "c", "f", "h", "k", "l", "s", "t", "Oopaque", "O", "Ppath", "Lpath",
    ] {
        flag_means(returned, |_| {});
    }
    for (line, mode) in [("ms k 0 MA", b'A'), ("ma k MD", b'D'), ("ma k M+", b'+')] {
        assert_eq!(flags(line).1.mode, Some(mode));
    }
    assert_eq!(flags("mg AP8Q b").0, b"\0\xff\x10");
}

#[test]
fn bad_meta_lines_are_rejected_as_memcached_rejects_them() {
    for (rest, error) in [
        ("z", reply::BAD_FLAG_LETTER),
        ("\u{e9}", reply::DUPLICATE_FLAG),
        ("v v", reply::DUPLICATE_FLAG),
        ("T1 T2", reply::DUPLICATE_FLAG),
        ("Tx", reply::BAD_TOKEN),
        ("N", reply::BAD_TOKEN),
        ("R1x", reply::BAD_TOKEN),
        ("C-1", reply::BAD_TOKEN),
        ("E", reply::BAD_TOKEN),
        ("F4294967296", reply::BAD_FORMAT),
        ("M", reply::BAD_MODE_LENGTH),
        ("Jx", reply::BAD_INITIAL),
        ("Dx", reply::BAD_DELTA),
        ("b", reply::BAD_KEY),
        // The last error counts, but a flag that is none outdoes it.
        ("Jx Tx", reply::BAD_TOKEN),
        ("Tx Fx", reply::BAD_TOKEN),
        ("Tx z", reply::BAD_FLAG_LETTER),
        ("O12345678901234567890123456789012", reply::OPAQUE_TOO_LONG),
    ] {
        rejected(&format!("mg k {rest}"), error, LOUD);
        let set = parse(format!("ms k 3 {rest}").as_bytes().trim_ascii()).map(|_| ());
        let expected = Rejection {
            swallowed: 5,
            ..Rejection::loud(error)
        };
        assert_eq!(set, Err(expected), "ms k 3 {rest}");
        let error = if error == reply::OPAQUE_TOO_LONG {
            error
        } else {
            reply::BAD_FLAG
        };
        rejected(&format!("md k {rest}"), error, LOUD);
        rejected(&format!("ma k {rest}"), error, LOUD);
    }
    rejected("ma k MS", reply::BAD_ARITHMETIC_MODE, LOUD);
    for line in [
        "ms k",
        "ms k x",
        "ms k -1",
        "ms k 2147483646",
        "ms k S3",
        "me",
        "me k b",
    ] {
        rejected(line, reply::BAD_FORMAT, LOUD);
    }
    assert_eq!(
        parse(b"ms k 10 MI"),
        Err(Rejection {
            swallowed: 12,
            ..Rejection::loud(reply::BAD_SET_MODE)
        })
    );
    let many = " b c f h k l q s t u v x I O P L N1";
    assert!(parse(format!("mg AAAA{many}").as_bytes()).is_ok());
    rejected(
        &format!("mg AAAA{many} T1"),
        reply::GET_FLAGS_TOO_LONG,
        LOUD,
    );
    rejected(&format!("ms AAAA 1{many}"), reply::FLAGS_TOO_LONG, LOUD);
    let key = "k".repeat(251);
    for name in ["mg", "ms", "md", "ma", "me"] {
        rejected(&format!("{name} {key} 1"), reply::BAD_FORMAT, LOUD);
    }
}

#[test]
fn a_meta_noop_takes_anything_and_a_debug_takes_a_key() {
    means("mn", Command::MetaNoop);
    means("mn x", Command::MetaNoop);
    means("me k", Command::MetaDebug(MetaKey::Plain(b"k")));
    means("me k x y", Command::MetaDebug(MetaKey::Plain(b"k")));
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
        "mx k v",
        "MG k v",
        "mg",
        "ms",
        "gats",
    ] {
        rejected(line, reply::ERROR, LOUD);
    }
}
