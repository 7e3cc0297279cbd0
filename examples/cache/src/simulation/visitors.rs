//! Clients who are slow, or leave in the middle of it.

use core::{net::SocketAddr, time::Duration};
use std::io::{Result, Write};

use fiber::io::TcpStream;

use super::{
    connection::Connection,
    model::{Dice, Value, World},
};

type Visit = fn(&World, &mut Dice);

/// Every kind of visitor.
pub(super) const ALL: [Visit; 3] = [trickle, sip, stall];

/// The bytes of a value that does not fit into a connection, in a spacious world and in a tight
/// one.
const LARGE: [usize; 2] = [40_000, 3_000];

/// Says everything byte by byte, for as long as there are faults.
fn trickle(world: &World, dice: &mut Dice) {
    let mut number = 0;
    while !world.is_whole() {
        number += 1;
        let _ = try_to_trickle(world, dice, number);
        fiber::sleep(Duration::from_micros(dice.below(50_000)));
    }
}

fn try_to_trickle(world: &World, dice: &mut Dice, number: u64) -> Result<()> {
    let mut connection = Connection::open(world)?;
    let value = Value::of(number, 10);
    let request = format!("set trickled 0 0 {}\r\n{value}\r\n", value.len());
    for byte in request.as_bytes() {
        connection.send(&[*byte])?;
        fiber::sleep(Duration::from_micros(dice.below(4_000)));
    }
    if !world.is_stored(&connection.line()?) {
        return Ok(());
    }
    connection.send(b"get trickled\r\n")?;
    let got = connection.value("trickled")?;
    world.check_alone("trickled", &connection, &value, got.as_deref());
    Ok(())
}

/// Takes large answers in small sips, for as long as there are faults.
fn sip(world: &World, dice: &mut Dice) {
    let mut number = 0;
    while !world.is_whole() {
        number += 1;
        let _ = try_to_sip(world, dice, number);
        fiber::sleep(Duration::from_micros(dice.below(50_000)));
    }
}

fn try_to_sip(world: &World, dice: &mut Dice, number: u64) -> Result<()> {
    let mut connection = Connection::open(world)?;
    let value = Value::of(number, LARGE[usize::from(world.kind.is_tight)]);
    connection.send(format!("set sipped 0 0 {}\r\n{value}\r\n", value.len()).as_bytes())?;
    if !world.is_stored(&connection.line()?) {
        return Ok(());
    }
    connection.send(b"get sipped\r\nget sipped\r\n")?;
    for _ in 0..2 {
        connection.sip(Duration::from_micros(dice.below(3_000)));
        let got = connection.value("sipped")?;
        world.check_alone("sipped", &connection, &value, got.as_deref());
    }
    Ok(())
}

/// Asks for more than the connection holds, and takes none of it. The server has to give up.
fn stall(world: &World, dice: &mut Dice) {
    while !world.is_whole() {
        let _ = try_to_stall(world, dice);
        fiber::sleep(Duration::from_micros(dice.below(300_000)));
    }
}

fn try_to_stall(world: &World, dice: &mut Dice) -> Result<()> {
    let mut connection = Connection::open(world)?;
    let value = Value::of(0, LARGE[1]);
    connection.send(format!("set stalled 0 0 {}\r\n{value}\r\n", value.len()).as_bytes())?;
    connection.line()?;
    connection.send("get stalled\r\n".repeat(20).as_bytes())?;
    fiber::sleep(Duration::from_micros(dice.below(1_000_000)));
    Ok(())
}

/// Says half of a request and leaves, again and again.
pub(super) fn be_rude(server: SocketAddr, until: Duration) {
    let mut dice = Dice::new();
    let until = fiber::Instant::ORIGIN + until;
    while fiber::time::now() < until {
        if let Ok(mut stream) = TcpStream::connect_timeout(&server, Duration::from_millis(100)) {
            let _ = stream.write_all(b"get rude\r\nset rude 0 0 1000\r\nhalf of it");
            fiber::sleep(Duration::from_micros(dice.below(20_000)));
        }
        fiber::sleep(Duration::from_micros(dice.below(100_000)));
    }
}
