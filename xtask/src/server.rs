//! A cache server in another OS process, ended with its handle.

use alloc::sync::Arc;
use core::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use core::time::Duration;
use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Instant;

/// Any free port of the loopback.
const ANY_PORT: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0));
const START_LIMIT: Duration = Duration::from_secs(60);
const POLL_TIME: Duration = Duration::from_millis(20);

/// A running server; dropping it ends the process.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    pub(crate) address: SocketAddr,
    stderr: Arc<Mutex<Vec<String>>>,
}

impl Server {
    /// Starts `program` on a free port of the loopback and waits until it says that it serves.
    pub(crate) fn start(program: &Path, environment: &[(&str, &str)]) -> Result<Self, String> {
        Self::start_with(program, &[], environment)
    }

    /// [`Server::start`] with more arguments.
    pub(crate) fn start_with(
        program: &Path,
        arguments: &[&str],
        environment: &[(&str, &str)],
    ) -> Result<Self, String> {
        let mut child = Command::new(program)
            .args(["--listen", &ANY_PORT.to_string(), "--log", "info"])
            .args(arguments)
            .env("NO_COLOR", "1")
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("cannot start {}: {error}", program.display()))?;
        let stderr = Arc::new(Mutex::new(Vec::new()));
        if let Some(pipe) = child.stderr.take() {
            let stderr = Arc::clone(&stderr);
            // Ends when the server closes its end.
            thread::spawn(move || {
                for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                    stderr
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .push(line);
                }
            });
        }
        let mut server = Self {
            child,
            address: ANY_PORT,
            stderr,
        };
        server.address = server
            .wait_until_it_serves()
            .map_err(|reason| format!("the server {reason}\n{}", server.said()))?;
        Ok(server)
    }

    /// Where it does.
    fn wait_until_it_serves(&mut self) -> Result<SocketAddr, String> {
        let start = Instant::now();
        while start.elapsed() < START_LIMIT {
            if let Some(address) = self.told("listen=") {
                let parsed = address.parse();
                return parsed.map_err(|_| format!("listens at {address}, which is no address"));
            }
            if let Ok(Some(status)) = self.child.try_wait() {
                // Let whoever reads what it says see the rest.
                thread::sleep(POLL_TIME);
                return Err(format!("ended by itself: {status}"));
            }
            thread::sleep(POLL_TIME);
        }
        Err(format!("does not serve within {START_LIMIT:?}"))
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// What the server has said on stderr so far.
    pub(crate) fn stderr(&self) -> Vec<String> {
        self.stderr
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// How the server says that it does its input and output, such as `ring`.
    pub(crate) fn driver(&self) -> Option<String> {
        self.told("driver=")
    }

    /// The word that the server has said behind `label`.
    fn told(&self, label: &str) -> Option<String> {
        self.stderr().iter().find_map(|line| {
            let (_, word) = line.split_once(label)?;
            let word = word.trim_start_matches('"').split(['"', ' ']).next()?;
            Some(word.to_owned())
        })
    }

    /// Ends the server; an error if it had ended by itself.
    pub(crate) fn stop(mut self) -> Result<(), String> {
        match self.child.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => Err(self.died(status)),
            Err(error) => Err(format!("the server cannot be asked: {error}")),
        }
    }

    /// Asks the server to end, as an operator does, and waits until it has.
    pub(crate) fn terminate(mut self, limit: Duration) -> Result<ExitStatus, String> {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args(["-TERM", &pid]).status();
        if !sent.is_ok_and(|status| status.success()) {
            return Err(format!("cannot send a signal to process {pid}"));
        }
        wait(&mut self.child, limit).map_err(|error| format!("{error}\n{}", self.said()))
    }

    fn died(&self, status: ExitStatus) -> String {
        format!("the server ended by itself: {status}\n{}", self.said())
    }

    fn said(&self) -> String {
        self.stderr().join("\n")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail only if the process is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An address that was free a moment ago.
pub(crate) fn free_address() -> Result<SocketAddr, std::io::Error> {
    TcpListener::bind(("127.0.0.1", 0))?.local_addr()
}

/// Waits until `child` accepts a connection at `address`; an error says what it does instead.
pub(crate) fn wait_until_accepted(child: &mut Child, address: SocketAddr) -> Result<(), String> {
    let start = Instant::now();
    while start.elapsed() < START_LIMIT {
        if let Ok(Some(status)) = child.try_wait() {
            // Let whoever reads what it says see the rest.
            thread::sleep(POLL_TIME);
            return Err(format!("ended by itself: {status}"));
        }
        if TcpStream::connect(address).is_ok() {
            return Ok(());
        }
        thread::sleep(POLL_TIME);
    }
    Err(format!("does not accept within {START_LIMIT:?}"))
}

/// Waits for a child, and ends it when the limit has passed.
pub(crate) fn wait(child: &mut Child, limit: Duration) -> Result<ExitStatus, String> {
    let start = Instant::now();
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Ok(status),
            Ok(None) if start.elapsed() < limit => thread::sleep(POLL_TIME),
            Ok(None) => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(format!("not done within {limit:?}"));
            }
            Err(error) => return Err(format!("the child cannot be waited for: {error}")),
        }
    }
}
