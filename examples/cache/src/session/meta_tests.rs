//! What the meta commands answer, exchange by exchange.

use super::tests::Talk;

/// Says each question and expects its answer; lines end with a bar in either.
#[track_caller]
fn exchange(talk: &mut Talk, dialogue: &[(&str, &str)]) {
    for (question, answer) in dialogue {
        let whole = |text: &str| text.replace('|', "\r\n");
        talk.expect(whole(question), whole(answer));
    }
}

#[track_caller]
fn check(dialogue: &[(&str, &str)]) {
    exchange(&mut Talk::new(), dialogue);
}

#[test]
fn every_flag_of_a_get_is_returned_in_the_order_of_the_question() {
    let mut talk = Talk::new();
    exchange(
        &mut talk,
        &[
            ("ms k 3 F5 T100 E77|abc|", "HD|"),
            ("mg k|", "HD|"),
            ("mg k v|", "VA 3|abc|"),
            (
                "mg k s v t f c k h l Oab Pp Ll|",
                "VA 3 s3 t100 f5 c77 kk h1 l0 Oab|abc|",
            ),
            ("mg k Oab k c|", "HD Oab kk c77|"),
            ("mg none v k Oab|", "EN knone Oab|"),
            ("mg none q|mg none k q|mn|", "MN|"),
            ("mg k q s|", "HD s3|"),
        ],
    );
}

#[test]
fn what_is_told_of_the_use_of_an_item_is_what_was_before() {
    let mut talk = Talk::new();
    exchange(&mut talk, &[("set k 0 0 1|a|", "STORED|")]);
    talk.pass(10);
    exchange(&mut talk, &[("mg k h l u|", "HD h0 l10|")]);
    talk.pass(5);
    exchange(
        &mut talk,
        &[
            ("mg k h l|", "HD h0 l15|"),
            ("mg k h l|", "HD h1 l0|"),
            ("set k 0 0 1|b|mg k h|", "STORED|HD h0|"),
            ("get k|mg k h|", "VALUE k 0 1|b|END|HD h1|"),
        ],
    );
    talk.pass(7);
    let expected = "ME k exp=-1 la=7 cas=# fetch=yes cls=1 size=96\r\n";
    talk.expect("me k\r\n", expected.replace('#', &second_unique_of_k()));
    talk.expect("me none\r\n", "EN\r\n");
}

/// The unique number that the second value of `k` gets: it depends on where the key is.
fn second_unique_of_k() -> String {
    let mut talk = Talk::new();
    talk.say(b"set k 0 0 1\r\na\r\n");
    let reply = talk.say(b"ms k 1 c\r\nb\r\n");
    let text = String::from_utf8(reply).unwrap();
    text.trim_end().strip_prefix("HD c").unwrap().to_owned()
}

#[test]
fn a_time_to_live_is_set_and_read_in_the_order_of_the_flags() {
    let mut talk = Talk::new();
    exchange(
        &mut talk,
        &[
            ("ms k 1 T30|a|", "HD|"),
            ("mg k t|", "HD t30|"),
            ("mg k t T90|", "HD t30|"),
            ("mg k T60 t|", "HD t60|"),
            ("mg k T0 t|", "HD t-1|"),
            ("mg k T-1|mg k|", "HD|EN|"),
        ],
    );
    talk.pass(61);
    exchange(&mut talk, &[("ms k 1 T2592001|a|mg k|", "HD|EN|")]);
}

#[test]
fn one_client_alone_wins_the_right_to_make_an_item() {
    let mut talk = Talk::new();
    exchange(
        &mut talk,
        &[
            ("mg k v N30 t|", "VA 0 t30 W||"),
            ("mg k v N30 t|", "VA 0 t30 Z||"),
            ("ms k 1 T90|a|", "HD|"),
            ("mg k v N30 t|", "VA 1 t90|a|"),
            ("mg other N0 E5 c|", "HD c5 W|"),
            ("mg none N30 q|", "HD W|"),
        ],
    );
}

#[test]
fn one_client_alone_wins_the_right_to_renew_what_soon_expires() {
    let mut talk = Talk::new();
    exchange(
        &mut talk,
        &[
            ("ms k 1 T60|a|", "HD|"),
            ("mg k R30|", "HD|"),
            ("mg k R60|", "HD|"),
            ("mg k R61|", "HD W|"),
            ("mg k R61|", "HD Z|"),
            ("ms k 1|a|", "HD|"),
            ("mg k R100|", "HD|"),
        ],
    );
}

#[test]
fn a_stale_item_is_served_and_one_client_renews_it() {
    let mut talk = Talk::new();
    exchange(
        &mut talk,
        &[
            ("ms k 1 E10|a|", "HD|"),
            ("md k I T30 E20|", "HD|"),
            ("mg k v t c|", "VA 1 t30 c20 X W|a|"),
            ("mg k v|", "VA 1 Z X|a|"),
            // Who began with what was there before may still bring it, as stale.
            ("ms k 1 C15 I|b|", "HD|"),
            ("mg k v t|", "VA 1 t30 Z X|b|"),
            ("ms k 1 C5|c|", "EX|"),
            ("ms k 1|c|mg k v t|", "HD|VA 1 t-1|c|"),
            ("md none I|", "NF|"),
        ],
    );
}

#[test]
fn a_set_has_modes() {
    check(&[
        ("ms k 1 MR|a|", "NS|"),
        ("ms k 1 MA|a|", "NS|"),
        ("ms k 1 MP|a|", "NS|"),
        ("ms k 1 ME F3|b|", "HD|"),
        ("ms k 1 ME|c|", "NS|"),
        ("ms k 2 MA s|cd|", "HD s3|"),
        ("ms k 1 MP F9|a|", "HD|"),
        ("mg k v f|", "VA 4 f3|abcd|"),
        ("ms k 1 MR F4|z|mg k v f|", "HD|VA 1 f4|z|"),
        ("ms k 1 MS|y|mg k v f|", "HD|VA 1 f0|y|"),
        ("ms new 1 MA N30|a|mg new v t|", "HD|VA 1 t30|a|"),
        ("ms new2 1 MP N0|a|mg new2 v t|", "HD|VA 1 t-1|a|"),
    ]);
}

#[test]
fn a_set_compares_and_returns_unique_numbers() {
    check(&[
        ("ms k 1 C5|a|", "NF|"),
        ("ms k 1 E5 c|a|", "HD c5|"),
        ("ms k 1 C4 c k Oq|b|", "EX c0 kk Oq|"),
        ("ms k 1 C5 E6|b|", "HD|"),
        ("gets k|", "VALUE k 0 1 6|b|END|"),
        ("ms k 1 MA C5|c|", "EX|"),
        ("ms k 1 MA C6 E7|c|", "HD|"),
        ("ms k 1 MR C6|d|ms k 1 MR C7 E8|d|", "EX|HD|"),
        ("ms k 1 C0|e|ms k 1 MA C0 E9|e|", "EX|HD|"),
        ("mg k v c C9|", "HD c9|"),
        ("mg k v c C8|", "VA 2 c9|de|"),
    ]);
}

#[test]
fn a_quiet_client_hears_of_what_it_did_not_expect() {
    check(&[
        ("ms k 1 q|a|", ""),
        ("ms k 1 ME q k|a|", "NS kk|"),
        ("ms k 1 C1 q|a|", "EX|"),
        ("ms none 1 C1 q|a|", "NF|"),
        ("md k q|md k q Ox|", "NF Ox|"),
        ("ma k N0 q|ma k q|ma k v|", "VA 1|2|"),
        ("ma none q|", "NF|"),
        ("mg none q|", ""),
        ("ms k 1 q|ab|", "CLIENT_ERROR bad data chunk|ERROR|"),
        ("ms k 1 q z|a|", "CLIENT_ERROR invalid flag|"),
        ("mn|", "MN|"),
    ]);
}

#[test]
fn a_delete_deletes_or_marks_or_empties() {
    check(&[
        ("md k|", "NF|"),
        ("ms k 1 E5 F3 T90|a|", "HD|"),
        ("md k C4 k Oo|", "EX kk Oo|"),
        ("md k x|", "HD|"),
        ("mg k v f c t|", "VA 0 f0 c5 t-1||"),
        ("ms k 1 E5 F3|a|md k x I T30 F7 E9|", "HD|HD|"),
        ("mg k v f c t|", "VA 0 f7 c9 t30 X W||"),
        ("md k C9|mg k|", "HD|EN|"),
    ]);
}

#[test]
fn arithmetic_counts_either_way_and_makes_what_is_not_there() {
    check(&[
        ("ma n|", "NF|"),
        ("ma n N30 J13 v t E4 c|", "VA 2 t30 c4|13|"),
        ("ma n v|", "VA 2|14|"),
        ("ma n D10 v MI|ma n D4 v M+|", "VA 2|24|VA 2|28|"),
        ("ma n MD v|ma n M- D20 v|", "VA 2|27|VA 1|7|"),
        ("ma n MD D100 v|", "VA 1|0|"),
        ("mg n v|", "VA 2|0 |"),
        ("ma n T90 t k Oo|", "HD t90 kn Oo|"),
        ("ma n E50 c|ma n C49|ma n C50 v|", "HD c50|EX|VA 1|3|"),
        (
            "set n 0 0 20|18446744073709551615|ma n v|",
            "STORED|VA 1|0|",
        ),
        (
            "set n 0 0 1|x|ma n|",
            "STORED|CLIENT_ERROR cannot increment or decrement non-numeric value|",
        ),
        ("ma fresh N0|get fresh|", "HD|VALUE fresh 0 1|0|END|"),
    ]);
}

#[test]
fn a_key_of_any_bytes_goes_and_comes_in_base64() {
    check(&[
        ("ms AP8= 1 b k|a|", "HD kAP8= b|"),
        ("mg AP8= b v k|", "VA 1 kAP8= b|a|"),
        ("mg AP8= v|", "EN|"),
        // In base64 or not, it is the same key.
        ("set abc 0 0 1|x|mg YWJj b v k|", "STORED|VA 1 kabc|x|"),
        ("mg AAAA b k|", "EN kAAAA b|"),
        ("mg AAAA b k N0|ma AAAC b N0 k|", "HD kAAAA b W|HD kAAAC b|"),
        ("ma AAAC b k v|md AAAC b k|", "VA 1 kAAAC b|1|HD kAAAC b|"),
        ("mg !!!! b|", "CLIENT_ERROR error decoding key|"),
    ]);
    let mut talk = Talk::new();
    talk.say(b"ms AP8= 1 b\r\na\r\n");
    assert!(
        talk.say(b"me AP8= b\r\n")
            .starts_with(b"ME AP8= exp=-1 la=0 cas=")
    );
}

#[test]
fn a_set_that_fails_takes_its_value_with_it() {
    check(&[
        ("ms k 3 z|abc|mn|", "CLIENT_ERROR invalid flag|MN|"),
        (
            "ms k 3 MZ|abc|mn|",
            "CLIENT_ERROR invalid mode for ms M token|MN|",
        ),
        // Without a length, nobody knows what to take.
        (
            "ms k S3|abc|",
            "CLIENT_ERROR bad command line format|ERROR|",
        ),
        ("ms k -1|mn|", "CLIENT_ERROR bad command line format|MN|"),
    ]);
    let mut talk = Talk::new();
    let large = "x".repeat((1 << 20) + 1);
    let refused = "SERVER_ERROR object too large for cache\r\n";
    // Whatever the mode, the old value goes: it is out of date in any case.
    talk.expect("set k 0 0 1\r\na\r\n", "STORED\r\n");
    talk.expect(
        format!("ms k 1048577 MA q\r\n{large}\r\nmg k\r\n"),
        format!("{refused}EN\r\n"),
    );
    let bad = "z".repeat(100_000);
    talk.expect(
        format!("ms k 100000 z\r\n{bad}\r\nmn\r\n"),
        "CLIENT_ERROR invalid flag\r\nMN\r\n",
    );
}

#[test]
fn a_long_value_keeps_its_flags_until_it_has_come() {
    let mut talk = Talk::new();
    talk.piece_bytes = 1_000;
    let value = "v".repeat(50_000);
    talk.expect(
        format!("ms AP8= 50000 b k s E5 c Oab F7 T90\r\n{value}\r\n"),
        "HD kAP8= b s50000 c5 Oab\r\n",
    );
    talk.expect("mg AP8= b f t s\r\n", "HD f7 t90 s50000\r\n");
    talk.expect(format!("ms AP8= 50000 b MA C5 s q\r\n{value}\r\n"), "");
    talk.expect(
        "mg AP8= b v s\r\n",
        format!("VA 100000 s100000\r\n{value}{value}\r\n"),
    );
    talk.expect(
        format!("ms AP8= 50000 b q\r\n{value}xx"),
        "CLIENT_ERROR bad data chunk\r\n",
    );
}
