//! An operator lists the server's processes, and kills some.

use core::net::SocketAddr;
use core::time::Duration;
use std::io::{BufRead, BufReader, Result, Write};
use std::net::TcpStream;
use std::time::Instant;

use rustix::process::Signal;

use crate::{PATIENCE, Server, ask, for_each_driver, number, rest};

/// As many as are served at a time, see `cache --help`.
const OPERATORS_MAX: usize = 8;

/// A part of the server is started again so many times within that time.
const RESTARTS_MAX: usize = 5;
const PERIOD: Duration = Duration::from_secs(10);

/// A server, and where operators are served.
fn start(driver: &str, arguments: &str) -> (Server, SocketAddr) {
    let mut server = Server::start(driver, &format!("--admin 127.0.0.1:0 {arguments}"));
    let line = server.says("admin=");
    let (_, address) = line.split_once("admin=").expect("it was found");
    (server, address.trim().parse().expect("it logs its address"))
}

struct Operator(BufReader<TcpStream>);

/// What is told of a process.
#[derive(Debug)]
struct Told {
    id: u64,
    parent: u64,
    state: String,
    ids: usize,
    name: String,
}

impl Operator {
    fn connect(at: SocketAddr) -> Self {
        Self::try_connect(at).expect("operators are served")
    }

    fn try_connect(at: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(at)?;
        let set = stream.set_read_timeout(Some(PATIENCE));
        set.expect("it is some time");
        Ok(Self(BufReader::new(stream)))
    }

    fn say(&mut self, command: &str) {
        self.try_say(command).expect("it is taken");
    }

    fn try_say(&self, command: &str) -> Result<()> {
        let mut stream = self.0.get_ref();
        stream.write_all(format!("{command}\r\n").as_bytes())
    }

    fn line(&mut self) -> String {
        self.try_line().expect("it is answered")
    }

    fn try_line(&mut self) -> Result<String> {
        let mut line = String::new();
        self.0.read_line(&mut line)?;
        match line.strip_suffix("\r\n") {
            Some(line) => Ok(line.to_owned()),
            None => Err(std::io::Error::other(format!("it ended behind {line:?}"))),
        }
    }

    fn ask(&mut self, command: &str) -> String {
        self.say(command);
        self.line()
    }

    fn processes(&mut self) -> Vec<Told> {
        self.try_processes().expect("it is answered")
    }

    fn try_processes(&mut self) -> Result<Vec<Told>> {
        self.try_say("processes")?;
        let mut told = Vec::new();
        loop {
            let line = self.try_line()?;
            if line == "END" {
                return Ok(told);
            }
            let words: Vec<_> = line.splitn(9, ' ').collect();
            assert_eq!(words[0], "PROCESS", "{line}");
            let number = |index: usize| words[index].parse().expect("a number");
            told.push(Told {
                id: number(1),
                parent: number(2),
                state: words[3].to_owned(),
                ids: usize::try_from(number(5)).expect("a count"),
                name: words[8].to_owned(),
            });
        }
    }

    fn find(&mut self, name: &str) -> Option<Told> {
        self.try_find(name).expect("it is answered")
    }

    fn try_find(&mut self, name: &str) -> Result<Option<Told>> {
        let mut processes = self.try_processes()?.into_iter();
        Ok(processes.find(|process| process.name == name && process.state == "running"))
    }

    /// Waits until the death of a process is complete.
    fn see_off(&mut self, process: &Told) {
        while self.processes().iter().any(|it| it.id == process.id) {}
    }

    /// The process that serves `client`.
    fn serving(&mut self, client: &TcpStream) -> Told {
        let name = format!("conn {}", client.local_addr().expect("it is connected"));
        self.find(&name).unwrap_or_else(|| panic!("no {name}"))
    }

    fn kill(&mut self, process: &Told) {
        assert_eq!(self.ask(&format!("kill {}", process.id)), "OK");
    }
}

fn be_served(client: &TcpStream) {
    ask(client, "delete nothing\r\n", "NOT_FOUND\r\n");
}

#[test]
fn a_killed_connection_is_closed_and_everybody_else_goes_on() {
    for_each_driver(|driver| {
        let (server, admin) = start(driver, "");
        let (victim, other) = (server.connect(), server.connect());
        ask(&victim, "set k 0 0 1\r\nv\r\n", "STORED\r\n");
        be_served(&other);
        let mut operator = Operator::connect(admin);
        let serving = operator.serving(&victim);
        assert_eq!((serving.parent, serving.ids), (0, 1), "{serving:?}");
        operator.kill(&serving);
        assert_eq!(rest(&victim), b"");
        ask(&other, "get k\r\n", "VALUE k 0 1\r\nv\r\nEND\r\n");
        while number(&other, "curr_connections") != 1 {}
        be_served(&server.connect());
        // Its id names nothing any more, once its death is complete.
        operator.see_off(&serving);
        let answer = operator.ask(&format!("kill {}", serving.id));
        assert!(answer.starts_with("CLIENT_ERROR "), "{answer}");
    });
}

#[test]
fn any_number_that_is_offered_as_an_id_is_answered() {
    let (server, admin) = start("auto", "");
    let client = server.connect();
    be_served(&client);
    let mut operator = Operator::connect(admin);
    let known = operator.serving(&client).id;
    let mut offered = vec![
        "-1".to_owned(),
        "x".to_owned(),
        "18446744073709551616".to_owned(),
    ];
    for bit in 0..64 {
        offered.push((1_u64 << bit).to_string());
        offered.push((u64::MAX >> bit).to_string());
    }
    // Its neighbours; with another namespace, or of another time.
    offered.extend((0..32).map(|bit| (known ^ 1 << bit).to_string()));
    for id in offered {
        let answer = operator.ask(&format!("kill {id}"));
        assert!(answer.starts_with("CLIENT_ERROR "), "{id}: {answer}");
    }
    assert_eq!(operator.ask("kill"), "ERROR");
    assert_eq!(operator.ask(""), "ERROR");
    be_served(&client);
}

#[test]
fn a_killed_acceptor_is_started_again_and_no_connection_notices() {
    for_each_driver(|driver| {
        let (mut server, admin) = start(driver, "");
        let client = server.connect();
        be_served(&client);
        let mut operator = Operator::connect(admin);
        let first = operator.find("acceptor").expect("it accepts");
        operator.kill(&first);
        be_served(&client);
        // One whom it still accepts as it dies may be hung up on.
        operator.see_off(&first);
        // Whoever comes meanwhile is in the backlog.
        be_served(&server.connect());
        let second = operator.find("acceptor").expect("it accepts again");
        assert_ne!(first.id, second.id);
        be_served(&client);
        server.signal(Signal::TERM);
        assert_eq!(server.exit_code(), Some(0));
    });
}

#[test]
fn what_serves_operators_is_started_again_too() {
    let (server, admin) = start("auto", "");
    let client = server.connect();
    be_served(&client);
    let mut operator = Operator::connect(admin);
    let first = operator.find("admin").expect("it serves");
    // It may die before it has answered.
    operator.say(&format!("kill {}", first.id));
    assert!(rest(operator.0.get_ref()).len() <= b"OK\r\n".len());
    // Whoever is accepted by one that dies is hung up on, and the second may not have begun.
    let second = loop {
        let told = Operator::try_connect(admin).and_then(|mut it| it.try_find("admin"));
        if let Ok(Some(second)) = told {
            break second;
        }
    };
    assert_ne!(first.id, second.id);
    be_served(&client);
}

#[test]
fn an_acceptor_that_is_killed_again_and_again_ends_the_server_with_an_error() {
    let (mut server, admin) = start("auto", "");
    let mut operator = Operator::connect(admin);
    let (begun, mut kills) = (Instant::now(), 0);
    // Until the server has ended, and the operator's connection with it.
    while let Ok(found) = operator.try_find("acceptor") {
        // One that is about to be started is not listed yet.
        let Some(acceptor) = found else { continue };
        kills += 1;
        let said = operator.try_say(&format!("kill {}", acceptor.id));
        // The last answer may be lost with the server.
        if said.and_then(|()| operator.try_line()).is_err() {
            break;
        }
    }
    // On a machine that is so slow more of them are met.
    assert!(
        kills == RESTARTS_MAX + 1 || begun.elapsed() >= PERIOD,
        "{kills} kills"
    );
    assert_eq!(server.exit_code(), Some(1));
    assert_eq!(server.count_in_the_rest("has ended for good"), 1);
}

#[test]
fn an_operator_too_many_is_told_the_limit_and_the_others_go_on() {
    for_each_driver(|driver| {
        let (_server, admin) = start(driver, "");
        let mut operators: Vec<_> = (0..OPERATORS_MAX)
            .map(|_| Operator::connect(admin))
            .collect();
        // They are served once they are answered.
        for operator in &mut operators {
            assert_eq!(operator.ask("help"), "ERROR");
        }
        let answer = Operator::connect(admin).line();
        assert!(answer.starts_with("SERVER_ERROR "), "{answer}");
        assert!(answer.contains("limit of 9 fibers"), "{answer}");
        for operator in &mut operators {
            assert!(operator.find("acceptor").is_some());
        }
    });
}

#[test]
fn a_drain_does_not_wait_for_operators() {
    let (mut server, admin) = start("auto", "");
    let mut operator = Operator::connect(admin);
    assert_eq!(operator.ask("help"), "ERROR");
    server.signal(Signal::TERM);
    assert_eq!(server.exit_code(), Some(0));
}
