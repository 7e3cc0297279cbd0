//! Load for the servers: connections that each have a fixed number of requests under way.
//!
//! ```text
//! bench-load run PROTOCOL PORT CONNECTIONS DEPTH MILLISECONDS [SERVER_PID]
//! bench-load idle PORT CONNECTIONS SERVER_PID
//! ```
//!
//! One thread, which waits for all connections at once; as soon as replies have come, as many
//! requests follow in one write. Before that each connection is greeted with one request, whose
//! reply is compared byte by byte; afterwards only lengths are counted. The result is a line of
//! JSON. With the server's process id it has the server's processor time per request, over the
//! measured time alone; `idle` has the memory of the server that a connection takes which has been
//! served once and has nothing to say.
#![expect(clippy::print_stdout, reason = "it answers on stdout")]

extern crate alloc;

mod client;
mod load;
mod process;
mod request;

use core::{net::SocketAddr, time::Duration};
use std::process::ExitCode;

use benches::Failure;

use crate::{load::Load, request::Requests};

const USAGE: &str = "usage: bench-load run PROTOCOL PORT CONNECTIONS DEPTH MILLISECONDS \
                     [SERVER_PID] | bench-load idle PORT CONNECTIONS SERVER_PID";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match run(&arguments) {
        Ok(line) => {
            println!("{line}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("bench-load: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[&str]) -> Result<String, Failure> {
    match arguments {
        [
            "run",
            protocol,
            port,
            connections,
            depth,
            milliseconds,
            server @ ..,
        ] => {
            let requests = Requests::of(protocol).ok_or_else(|| unknown(protocol))?;
            let load = Load {
                address: address(port)?,
                connections: connections.parse()?,
                depth: depth.parse()?,
                time: Duration::from_millis(milliseconds.parse()?),
                server: server.first().map(|pid| pid.parse()).transpose()?,
            };
            Ok(load.run(requests)?.to_string())
        }
        ["idle", port, connections, server] => {
            load::idle(address(port)?, connections.parse()?, server.parse()?)
        }
        _ => Err(USAGE.into()),
    }
}

fn unknown(protocol: &str) -> Failure {
    format!("`{protocol}` is no protocol: it is echo or mc").into()
}

fn address(port: &str) -> Result<SocketAddr, Failure> {
    Ok(SocketAddr::from(([127, 0, 0, 1], port.parse()?)))
}
