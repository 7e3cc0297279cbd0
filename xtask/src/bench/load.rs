//! Servers: starting one, and putting it under load.

use core::net::SocketAddr;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::pin::Pins;
use super::program::{MEMCACHED, Program, output};
use super::quiet::While;
use super::sample::Sample;
use crate::server::{free_address, wait_until_accepted};

/// How long a load is measured.
const MILLISECONDS: &str = "1500";

/// What is done to a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Load {
    /// So many are under way on each connection at any time.
    Requests {
        protocol: &'static str,
        connections: usize,
        depth: usize,
        client: Client,
    },
    /// Connections that have nothing to say: it is about their memory.
    Idle { connections: usize },
}

/// Where the load's client runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Client {
    OnItsOwn,
    /// So that no processor has to be woken.
    BesideTheServer,
}

/// A running server; dropping it ends the process.
struct Server {
    child: Child,
    address: SocketAddr,
}

impl Load {
    pub(super) const fn protocol(self) -> &'static str {
        match self {
            Self::Requests { protocol, .. } => protocol,
            Self::Idle { .. } => "echo",
        }
    }

    /// The server on the first processor, the client on the second, unless it is to be beside it.
    pub(super) fn run(
        self,
        program: &Program,
        client: &Path,
        pins: &Pins,
    ) -> Result<Sample, String> {
        let start = || Server::start(program, self.protocol());
        let server = pins.confined(0, 1, start)?;
        let (port, pid) = (server.address.port().to_string(), server.child.id());
        let pid_text = pid.to_string();
        let (place, arguments) = match self {
            Self::Requests {
                protocol,
                connections,
                depth,
                client,
            } => {
                let place = usize::from(client == Client::OnItsOwn);
                let (connections, depth) = (connections.to_string(), depth.to_string());
                let words = [
                    "run",
                    protocol,
                    &port,
                    &connections,
                    &depth,
                    MILLISECONDS,
                    &pid_text,
                ];
                (place, words.map(str::to_owned).to_vec())
            }
            Self::Idle { connections } => {
                let words = ["idle", &port, &connections.to_string(), &pid_text];
                (1, words.map(str::to_owned).to_vec())
            }
        };
        let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
        let time = While::begin(Some(pid));
        let said = pins.confined(place, 1, || output(client, &arguments))?;
        let foreign = time.end();
        let sample = Sample::parse(&said);
        let sample =
            sample.ok_or_else(|| format!("the load gives an unexpected answer: {said}"))?;
        Ok(sample.beside(foreign))
    }
}

impl Server {
    fn start(program: &Program, protocol: &str) -> Result<Self, String> {
        let address = free_address().map_err(|error| format!("no free port: {error}"))?;
        let port = address.port().to_string();
        let title = program.column.title;
        let mut command = Command::new(&program.path);
        if title == MEMCACHED {
            command.args(["-t", "1", "-l", "127.0.0.1", "-p", &port, "-u", "root"]);
            // Connections, and memory for all that is stored.
            command.args(["-c", "20000", "-m", "256"]);
        } else {
            command.args(["serve", protocol, &port]);
        }
        let child = command
            .envs(program.told)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| format!("cannot start {title}: {error}"))?;
        let mut server = Self { child, address };
        if title == MEMCACHED {
            wait_until_accepted(&mut server.child, address)
                .map_err(|reason| format!("{title} {reason}"))?;
            return Ok(server);
        }
        let mut line = String::new();
        if let Some(out) = server.child.stdout.take() {
            let read = BufReader::new(out).read_line(&mut line);
            read.map_err(|error| format!("{title} cannot be understood: {error}"))?;
        }
        if line == "READY\n" {
            Ok(server)
        } else {
            Err(format!("{title} is not ready to serve {protocol}: {line}"))
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail only if it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
