//! What must be so when the world is whole again and the clients have left.

use core::time::Duration;

use super::{IDLE_TIMEOUT, WRITE_TIMEOUT, connection::Connection, model::World};

/// How late a simulated world may be: stalls and packets that take a while.
const SLACK: Duration = Duration::from_millis(150);
/// How often one speaks who is not to be closed, and for how long.
const PAUSES: (u32, Duration) = (9, Duration::from_millis(170));

pub(super) fn check(world: &World) {
    speak_now_and_then(world);
    be_silent(world);
    wait_until_nobody_is_counted(world);
}

/// Who speaks before the time is over is never closed, however old the connection is.
fn speak_now_and_then(world: &World) {
    let mut connection = open(world);
    for _ in 0..PAUSES.0 {
        ask(&mut connection, "a connection in use was closed");
        fiber::sleep(PAUSES.1);
    }
}

/// Who is silent is closed when the time is over, and not before.
fn be_silent(world: &World) {
    let mut connection = open(world);
    ask(&mut connection, "a new connection was closed");
    let silent_since = fiber::time::now();
    connection.be_patient(IDLE_TIMEOUT + SLACK);
    let end = connection.line().expect_err("nothing was asked");
    let waited = fiber::time::now().saturating_since(silent_since);
    assert!(
        connection.has_ended() && waited < IDLE_TIMEOUT + SLACK,
        "an idle connection was not closed after {waited:?}: {end}"
    );
    assert!(
        waited + SLACK > IDLE_TIMEOUT,
        "an idle connection was closed after {waited:?} already"
    );
}

fn wait_until_nobody_is_counted(world: &World) {
    let over = fiber::time::now() + IDLE_TIMEOUT + WRITE_TIMEOUT + SLACK;
    loop {
        let open = world.shared.cache().server().connections();
        if open == 0 {
            return;
        }
        assert!(
            fiber::time::now() < over,
            "{open} connections are counted, and everybody has left"
        );
        fiber::sleep(Duration::from_millis(10));
    }
}

fn open(world: &World) -> Connection {
    Connection::open(world).expect("the world is whole: the server accepts")
}

fn ask(connection: &mut Connection, complaint: &str) {
    let answer = connection
        .send(b"delete nothing\r\n")
        .and_then(|()| connection.line());
    match answer {
        Ok(line) => assert_eq!(line, "NOT_FOUND"),
        Err(error) => panic!("{complaint}: {error}"),
    }
}
