//! The command line.

use core::{fmt, net::SocketAddr, str::FromStr};

use host_linux::Io;

pub(crate) const USAGE: &str = "\
Sends back to each TCP connection what it sends.

usage: echo [--listen ADDRESS:PORT] [--workers N] [--io auto|ring|poll]
       echo serve echo PORT [WORKERS]      on 127.0.0.1, says READY on stdout

  --listen   where to listen; 127.0.0.1:7007 unless given, port 0 takes a free one
  --workers  threads that run fibers; one a CPU unless given
  --io       the driver; HOST_LINUX_IO, else auto unless given
";

/// What the command line asks for.
pub(crate) struct Options {
    pub(crate) listen: SocketAddr,
    pub(crate) workers: Option<u16>,
    pub(crate) io: Option<Io>,
    /// Whether stdout tells when the server can be connected to.
    pub(crate) says_ready: bool,
}

impl Options {
    pub(crate) fn parse(arguments: &[&str]) -> Result<Self, String> {
        let mut options = Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 7007)),
            workers: None,
            io: None,
            says_ready: false,
        };
        match arguments {
            ["serve", "echo", port] => options.be_peer(port, "1")?,
            ["serve", "echo", port, workers] => options.be_peer(port, workers)?,
            ["serve", ..] => return Err("give `serve echo PORT [WORKERS]`".into()),
            flags => options.take_flags(flags)?,
        }
        Ok(options)
    }

    fn be_peer(&mut self, port: &str, workers: &str) -> Result<(), String> {
        self.listen.set_port(value("PORT", port)?);
        self.workers = Some(count(workers)?);
        self.says_ready = true;
        Ok(())
    }

    fn take_flags(&mut self, mut rest: &[&str]) -> Result<(), String> {
        while let [flag, text, after @ ..] = rest {
            match *flag {
                "--listen" => self.listen = value(flag, text)?,
                "--workers" => self.workers = Some(count(text)?),
                "--io" => self.io = Some(driver(text)?),
                _ => return Err(format!("`{flag}` is not a flag of this program")),
            }
            rest = after;
        }
        match rest {
            [] => Ok(()),
            [flag, ..] => Err(format!("`{flag}` is unknown, or lacks its value")),
        }
    }
}

fn value<T: FromStr<Err: fmt::Display>>(name: &str, text: &str) -> Result<T, String> {
    text.parse()
        .map_err(|error| format!("{name} `{text}`: {error}"))
}

fn count(text: &str) -> Result<u16, String> {
    match value("--workers", text)? {
        0 => Err("--workers: there must be at least one".into()),
        workers => Ok(workers),
    }
}

fn driver(text: &str) -> Result<Io, String> {
    match text {
        "auto" => Ok(Io::Auto),
        "ring" => Ok(Io::Ring),
        "poll" => Ok(Io::Poll),
        _ => Err(format!("--io `{text}`: give auto, ring or poll")),
    }
}
