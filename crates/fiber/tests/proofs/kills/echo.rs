//! An echo server, a process of its own with one for each connection: whoever is killed, the others
//! are served, and the port is free again.

use core::{net::SocketAddr, time::Duration};
use std::io::{Read, Write};

use fiber::{
    Process, defer,
    io::{TcpListener, TcpStream},
    scope, sleep, spawn,
};

use super::{Cast, GRACE, kill_everywhere};

const PORT: u16 = 700;
const CLIENTS: u8 = 2;

fn address() -> SocketAddr {
    ([127, 0, 0, 1], PORT).into()
}

fn serve_one(mut stream: TcpStream) {
    // Says good-bye in whatever way it ends.
    let mut last_words = stream.try_clone().expect("there is room for one more");
    defer(move || drop(last_words.write_all(b".")));
    let mut buffer = [0; 4];
    loop {
        match stream.read(&mut buffer) {
            Ok(read @ 1..) if stream.write_all(&buffer[..read]).is_ok() => {}
            _ => return,
        }
    }
}

fn serve() {
    let listener = TcpListener::bind(address()).expect("nobody else is there");
    for _ in 0..CLIENTS {
        let Ok((stream, _)) = listener.accept() else {
            return;
        };
        let builder = Process::builder().grace(GRACE);
        drop(builder.spawn(move || serve_one(stream)));
    }
    // The connections are its children, and end with it.
    sleep(Duration::from_millis(1));
}

/// Asks and compares, as long as there is somebody who answers.
fn ask(client: u8) {
    let limit = Duration::from_millis(2);
    let Ok(mut stream) = TcpStream::connect_timeout(&address(), limit) else {
        // The server is not there any more.
        return;
    };
    stream
        .set_read_timeout(Some(Duration::from_millis(20)))
        .unwrap();
    for round in 0..2 {
        let word = [client, round, 7];
        if stream.write_all(&word).is_err() {
            return;
        }
        let mut answer = [0; 3];
        match stream.read_exact(&mut answer) {
            // What comes before the last words is the right answer, as far as it goes.
            Ok(()) => {
                let end = answer.iter().position(|byte| *byte == b'.').unwrap_or(3);
                assert_eq!(answer[..end], word[..end]);
                if end < 3 {
                    return;
                }
            }
            Err(_) => return,
        }
    }
}

fn echo(cast: &mut Cast) {
    cast.process(Process::builder().grace(GRACE), serve);
    for client in 0..CLIENTS {
        cast.other(move || {
            sleep(Duration::from_micros(50));
            ask(client);
        });
    }
    cast.check(|| {
        let listener = TcpListener::bind(address()).expect("the port is free again");
        scope(|scope| {
            scope.spawn(|| TcpStream::connect(address()).map(drop));
            listener.accept().unwrap();
        });
        drop(spawn(|| ()));
    });
}

#[test]
fn a_kill_at_any_moment_of_an_echo_server_hurts_nobody_else() {
    kill_everywhere("an echo server", echo);
}
