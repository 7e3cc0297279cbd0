//! What no client can do: make a session answer differently by how it sends, lose the command
//! behind a bad one, or hold more memory than it may.

use super::tests::Talk;
use super::{Limits, State};
use crate::{Cache, Config, Seconds, Server};

/// One conversation that comes through every state of a session.
fn script() -> Vec<u8> {
    let mut script = Vec::new();
    let mut say = |text: &str| script.extend_from_slice(text.as_bytes());
    say("set a 1 0 3\r\nabc\r\nget a b\r\ngets a\r\nadd a 0 0 1\r\nx\r\n\r\n\nnonsense\r\n");
    say("append a 0 0 2\r\nde\r\nprepend a 0 0 2 noreply\r\n00\r\nget a\r\nincr a 1\r\n");
    say("set n 0 0 2\r\n10\r\ndecr n 1\r\nget n\r\nset n x 0 1\r\n5\r\nset n 0 0 1\r\n55\r\n\r\n");
    say("touch n 10\r\ndelete n\r\nreplace n 0 0 1\r\n1\r\ncas a 0 0 1 1\r\nz\r\n");
    say(&format!(
        "set long 0 0 300\r\n{}\r\nget long\r\n",
        "v".repeat(300)
    ));
    say(&format!(
        "set large 0 0 9000\r\n{}\r\nget large a\r\n",
        "w".repeat(9000)
    ));
    say(&format!("set large 0 0 9000\r\n{}xx", "w".repeat(9000)));
    say(&format!(
        "set huge 0 0 10001\r\n{}\r\nget huge\r\n",
        "x".repeat(10_001)
    ));
    say(&format!("{}\r\nversion\r\n", "y".repeat(300)));
    say(&format!(
        "get {}\r\nget{}\r\n",
        "a ".repeat(140),
        " a".repeat(300)
    ));
    say("ms m 3 T100 F5 c\r\nabc\r\nmg m v f t k Oq\r\nmg none N30 t\r\nmd m I\r\nmg m v\r\n");
    say("ma c N0 J5 v\r\nma c v\r\nmg none2 q\r\nmn\r\nms m 2 z\r\nab\r\nms AP8= 1 b k\r\nx\r\n");
    say("gat 100 m a\r\ngats 0 a m c\r\nme none3\r\nms m 3 q\r\nabcd\r\nmd m q\r\n");
    say(&format!(
        "ms large 9000 k s Oo c MA\r\n{}\r\nmg large s\r\n",
        "u".repeat(900)
    ));
    say(&format!(
        "{}\r\nms huge 10001 k\r\n{}\r\n",
        "u".repeat(8098),
        "x".repeat(10_001)
    ));
    say("flush_all 0\r\nget a\r\nquit\r\nversion\r\n");
    script
}

fn small() -> Talk {
    let config = Config {
        value_bytes_max: 10_000,
        ..Config::default()
    };
    let limits = Limits {
        line_bytes: 100,
        keys_line_bytes: 500,
        out_bytes: 200,
    };
    Talk::with(config, limits)
}

#[test]
fn replies_do_not_depend_on_how_the_bytes_arrive() {
    let script = script();
    let whole = small().say(&script);
    for piece_bytes in [1, 2, 3, 7, 64, 1000, 4096] {
        let mut talk = small();
        talk.piece_bytes = piece_bytes;
        assert!(talk.say(&script) == whole, "pieces of {piece_bytes} bytes");
    }
    // Every place but those in the middle of filler, of which some are enough.
    let is_filler = |cut: usize| {
        let around = &script[cut.saturating_sub(3)..(cut + 3).min(script.len())];
        around.iter().all(|&byte| byte == around[0])
    };
    for cut in (0..script.len()).filter(|&cut| !is_filler(cut) || cut % 499 == 0) {
        let mut talk = small();
        let mut replies = talk.say(&script[..cut]);
        replies.extend(talk.say(&script[cut..]));
        assert!(replies == whole, "cut at byte {cut}");
    }
}

#[test]
fn a_value_that_is_too_large_is_dropped_and_the_next_command_is_not() {
    let mut talk = Talk::new();
    let refused = "SERVER_ERROR object too large for cache\r\n";
    let large = "x".repeat((1 << 20) + 1);
    talk.expect("set k 0 0 1\r\na\r\n", "STORED\r\n");
    talk.expect(
        format!("add k 0 0 1048577\r\n{large}\r\nget k\r\n"),
        format!("{refused}VALUE k 0 1\r\na\r\nEND\r\n"),
    );
    // A set that fails takes the old value with it.
    talk.expect(
        format!("set k 0 0 1048577\r\n{large}\r\nget k\r\n"),
        format!("{refused}END\r\n"),
    );
    talk.expect(
        format!("set k 0 0 1048577 noreply\r\n{large}\r\nget k\r\n"),
        "END\r\n",
    );
    assert!(
        talk.session.input.capacity() <= 16 << 10,
        "what is dropped is not held"
    );

    let largest = &large[1..];
    talk.expect(format!("set k 0 0 1048576\r\n{largest}\r\n"), "STORED\r\n");
    talk.expect("append k 0 0 1\r\nx\r\n", "NOT_STORED\r\n");
    talk.expect(
        "get k\r\n",
        format!("VALUE k 0 1048576\r\n{largest}\r\nEND\r\n"),
    );
}

#[test]
fn announcing_a_large_value_costs_nothing_until_it_arrives() {
    let mut talk = Talk::new();
    talk.say(b"set k 0 0 1048576\r\n");
    talk.say(&[b'x'; 5000]);
    let State::Body(body) = &talk.session.state else {
        panic!("a body is being received");
    };
    assert!(body.capacity() <= 16 << 10);
    talk.say(&vec![b'x'; 500_000]);
    let State::Body(body) = &talk.session.state else {
        panic!("a body is being received");
    };
    assert!(body.capacity() < (1 << 20) + 1);
}

#[test]
fn a_line_without_end_is_answered_once_and_not_held() {
    let mut talk = Talk::new();
    talk.expect("x".repeat(2048), "");
    talk.expect("x", "CLIENT_ERROR line too long\r\n");
    for _ in 0..100 {
        talk.expect("set k 0 0 1".repeat(1000), "");
    }
    assert!(talk.session.input.capacity() <= 16 << 10);
    talk.expect("\r\nget k\r\n", "END\r\n");
    // The longest line that is allowed is a line.
    talk.expect(
        format!("{}\nget k\r\n", "x".repeat(2048)),
        "ERROR\r\nEND\r\n",
    );
}

#[test]
fn a_list_of_keys_may_be_longer_than_other_lines() {
    let mut talk = Talk::new();
    talk.say(b"set k 0 0 1\r\n1\r\n");
    let mut expected = "VALUE k 0 1\r\n1\r\n".repeat(32_000);
    expected.push_str("END\r\n");
    talk.expect(format!("get{}\r\n", " k".repeat(32_000)), expected);
    let too_long = "CLIENT_ERROR line too long\r\n";
    talk.expect(
        format!("get{}\r\nget x\r\n", " k".repeat(33_000)),
        format!("{too_long}END\r\n"),
    );
    talk.expect(" get x\r\n", "END\r\n");
    assert!(
        talk.session.input.capacity() <= 16 << 10,
        "the buffer has shrunk again"
    );
}

#[test]
fn replies_are_bounded_by_the_threshold_and_one_value() {
    let mut talk = Talk::new();
    let value = "x".repeat(1 << 20);
    talk.say(format!("set k 0 0 1048576\r\n{value}\r\n").as_bytes());
    let replies = talk.say(format!("get{}\r\n", " k".repeat(40)).as_bytes());
    assert_eq!(
        replies.len(),
        40 * ("VALUE k 0 1048576\r\n\r\n".len() + (1 << 20)) + 5
    );
    assert!(
        talk.out_bytes_max < (256 << 10) + (1 << 20) + 400,
        "{}",
        talk.out_bytes_max
    );
}

#[test]
fn a_bad_key_late_in_a_list_rejects_the_list_before_any_value() {
    let mut talk = Talk::new();
    talk.say(b"set k 0 0 1\r\n1\r\n");
    let line = format!("get k k {}\r\n", "k".repeat(251));
    talk.expect(line, "CLIENT_ERROR bad command line format\r\n");
}

#[test]
fn garbage_neither_panics_nor_grows() {
    let words: [&[u8]; 48] = [
        b"get ",
        b"gets ",
        b"set ",
        b"cas ",
        b"add ",
        b"append ",
        b"incr ",
        b"decr ",
        b"touch ",
        b"delete ",
        b"flush_all ",
        b"verbosity ",
        b"stats ",
        b"noreply",
        b"k ",
        b"0 ",
        b"1 ",
        b"20000 ",
        b"99999999 ",
        b"-1 ",
        b"\r\n",
        b"\n",
        b"\0\xff",
        b"  ",
        b"mg ",
        b"ms ",
        b"md ",
        b"ma ",
        b"me ",
        b"mn\r\n",
        b"gat ",
        b"gats ",
        b"AP8= ",
        b"b ",
        b"v k q ",
        b"t h l s ",
        b"N30 ",
        b"R30 ",
        b"T-1 ",
        b"MA ",
        b"MD ",
        b"I x ",
        b"C1 ",
        b"E18446744073709551615 ",
        b"J1 D2 ",
        b"Oopaque ",
        b"F1 ",
        b"3\r\nabc\r\n",
    ];
    for seed in 1..=200_u64 {
        let mut talk = small();
        let mut random = seed;
        for _ in 0..300 {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            let choice = usize::try_from(random >> 33).unwrap();
            talk.say(words[choice % words.len()]);
            let held = talk.session.input.capacity();
            assert!(held <= 32 << 10, "seed {seed}: {held} bytes are held");
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_answers_and_places() {
    let uniques = |seed| {
        let config = Config {
            seed,
            ..Config::default()
        };
        let mut talk = Talk::with(config, Limits::default());
        talk.cache = Cache::new(config, Server::new(1, 1, 1, Seconds::from_unix(0)));
        (0..50)
            .flat_map(|key| talk.say(format!("set {key} 0 0 0\r\n\r\ngets {key}\r\n").as_bytes()))
            .collect::<Vec<_>>()
    };
    assert_eq!(uniques(1), uniques(1));
    assert_ne!(
        uniques(1),
        uniques(2),
        "another seed places the keys otherwise"
    );
}
