//! One client: it writes, reads, deletes and counts, and checks every answer.

use alloc::sync::Arc;
use core::time::Duration;
use std::io::Result;

use super::{
    connection::Connection,
    model::{Dice, Key, Value, World},
};

/// Batches that a client sends while things go wrong.
const BATCHES: u64 = 60;
/// How often it tries to be served once the world is whole.
const LAST_TRIES: u32 = 20;
const KEYS: usize = 4;

pub(super) struct Client {
    world: Arc<World>,
    dice: Dice,
    connections: [Option<Connection>; 2],
    keys: Vec<Key>,
}

/// One request of a batch, on a key of which the batch holds no other.
#[derive(Clone, Copy)]
enum Request {
    Set { key: usize, value: Value },
    Get { key: usize },
    Delete { key: usize },
    Count,
}

impl Client {
    pub(super) fn new(number: u64, world: Arc<World>) -> Self {
        Self {
            world,
            dice: Dice::new(),
            connections: [None, None],
            keys: (0..KEYS).map(|index| Key::new(number, index)).collect(),
        }
    }

    /// Sends batches through the time of faults, then asks to be served once more.
    pub(super) fn live(mut self) {
        for _ in 0..BATCHES {
            let _ = self.try_batch();
            self.world.shared.expect_no_violation();
            // Now and then at once, while the server may still be busy with what it has answered.
            if self.dice.below(2) == 0 {
                fiber::sleep(Duration::from_micros(self.dice.below(100_000)));
            }
        }
        while !self.world.is_whole() {
            fiber::sleep(Duration::from_millis(100));
        }
        for _ in 0..LAST_TRIES {
            if self.try_batch().is_ok() {
                return;
            }
            fiber::sleep(Duration::from_millis(100));
        }
        panic!("the world is whole again, and the server still does not answer");
    }

    /// Sends one batch; what is not answered is given up, and so is its connection.
    fn try_batch(&mut self) -> Result<()> {
        let batch = self.draw_batch();
        let which = usize::from(self.dice.below(2) == 1);
        let mut answered = 0;
        let result = self.connection(which).and_then(|mut connection| {
            connection.send(&self.text_of(&batch))?;
            for request in &batch {
                if let Err(error) = self.check(&mut connection, *request) {
                    self.world.check_end(&connection);
                    return Err(error);
                }
                answered += 1;
            }
            Ok(connection)
        });
        for request in &batch[answered..] {
            if let Request::Set { key, .. } | Request::Delete { key } = request {
                self.keys[*key].give_up();
            }
        }
        self.connections[which] = Some(result?);
        Ok(())
    }

    fn connection(&mut self, which: usize) -> Result<Connection> {
        match self.connections[which].take() {
            Some(connection) => Ok(connection),
            None => Connection::open(&self.world),
        }
    }

    fn draw_batch(&mut self) -> Vec<Request> {
        let first = usize::try_from(self.dice.below(KEYS as u64)).expect("a few keys");
        let length = usize::try_from(1 + self.dice.below(KEYS as u64)).expect("a few keys");
        (first..first + length)
            .map(|key| key % KEYS)
            .map(|key| match self.dice.below(8) {
                0..=2 => Request::Set {
                    key,
                    value: self.keys[key].next_value(),
                },
                3..=5 => Request::Get { key },
                6 => Request::Delete { key },
                _ => Request::Count,
            })
            .collect()
    }

    fn text_of(&self, batch: &[Request]) -> Vec<u8> {
        let mut text = String::new();
        for request in batch {
            text += &match *request {
                Request::Set { key, value } => {
                    let name = self.keys[key].name();
                    format!("set {name} 0 0 {}\r\n{value}\r\n", value.len())
                }
                Request::Get { key } => format!("get {}\r\n", self.keys[key].name()),
                Request::Delete { key } => format!("delete {}\r\n", self.keys[key].name()),
                // The counter is made by whoever comes first in a life of the server.
                Request::Count => "add counter 0 0 1\r\n0\r\nincr counter 1\r\n".to_owned(),
            };
        }
        text.into_bytes()
    }

    /// Reads the answer to `request` and holds it against what is known.
    fn check(&mut self, connection: &mut Connection, request: Request) -> Result<()> {
        let boot = connection.boot;
        let world = Arc::clone(&self.world);
        match request {
            Request::Set { key, value } => {
                if world.is_stored(&connection.line()?) {
                    self.keys[key].stored(boot, value);
                } else {
                    // Whether the old one is still there is the server's choice.
                    self.keys[key].give_up();
                }
            }
            Request::Get { key } => {
                let value = connection.value(&self.keys[key].name())?;
                self.keys[key].read(boot, value.as_deref(), &world);
            }
            Request::Delete { key } => {
                let line = connection.line()?;
                assert!(line == "DELETED" || line == "NOT_FOUND", "delete: {line}");
                self.keys[key].deleted(boot, line == "DELETED", &world);
            }
            Request::Count => {
                let line = connection.line()?;
                let is_there = line == "NOT_STORED" || world.is_stored(&line);
                let number = connection.line()?;
                let is_gone = number == "NOT_FOUND" && (world.may_evict() || !is_there);
                if !is_gone {
                    let number = number.parse().expect("a counter counts");
                    world.counted(boot, number);
                }
            }
        }
        Ok(())
    }
}
