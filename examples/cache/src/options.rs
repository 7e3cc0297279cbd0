//! What the server's command line can say.
//!
//! [`parse`] only reads: it prints nothing and ends nothing. `main` prints [`HELP`] or
//! [`version`] to standard output, or the [`UsageError`] to standard error, and then leaves with
//! code 0, or [`USAGE_EXIT_CODE`].

use core::fmt;
use core::net::SocketAddr;
use core::num::{NonZeroU16, NonZeroUsize};
use core::str::FromStr;

/// The exit code after a command line that says nothing sensible.
pub const USAGE_EXIT_CODE: u8 = 2;

/// The answer to `--help`.
pub const HELP: &str = "\
A memcached-compatible cache server that runs one fiber per connection.

Usage: cache [OPTIONS]

Options:
  --listen ADDRESS      address and port to serve [default: 127.0.0.1:11211]
  --workers COUNT       worker threads [default: one per core]
  --connections COUNT   connections served at a time [default: 10000]
  --memory BYTES        bytes that items may take, with K, M or G behind the
                        number for units of 1024 [default: 64M]
  --io DRIVER           ring (io_uring), poll (epoll and the like) or
                        auto (ring where it works) [default: auto, or what
                        the variable HOST_LINUX_IO says]
  --log LEVEL           off, error, warn, info, debug or trace; what is logged
                        goes to standard error [default: info]
  --help                print this help and exit
  --version             print the version and exit

It runs until a signal ends it. Exit codes: 1 if serving failed, 2 for a bad command line.
";

/// What the server is asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "main must handle every case")]
pub enum Invocation {
    /// Serve, like this.
    Serve(Options),
    /// Print [`HELP`].
    Help,
    /// Print [`version`].
    Version,
}

/// How to serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Options {
    /// Where to accept connections.
    pub listen: SocketAddr,
    /// Worker threads; `None` is one per core.
    pub workers: Option<NonZeroU16>,
    /// How many connections are served at a time.
    pub connections: NonZeroUsize,
    /// Bytes that items may take.
    pub memory_bytes: usize,
    /// Which driver does the input and output.
    pub io: Io,
    /// What is logged.
    pub log: LogLevel,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 11211)),
            workers: None,
            connections: NonZeroUsize::new(10_000).expect("ten thousand is not zero"),
            memory_bytes: 64 << 20,
            io: Io::Auto,
            log: LogLevel::Info,
        }
    }
}

/// Which driver does the input and output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Io {
    /// The best one that works here.
    Auto,
    /// `io_uring`, or fail.
    Ring,
    /// Readiness.
    Poll,
}

/// The least severe event that is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the names are the levels")]
pub enum LogLevel {
    Off,
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

/// A command line that says nothing sensible; the message says what to write instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageError(String);

impl fmt::Display for UsageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\nTry --help for what can be said.", self.0)
    }
}

impl core::error::Error for UsageError {}

/// The answer to `--version`.
#[must_use]
pub const fn version() -> &'static str {
    concat!("cache ", env!("CARGO_PKG_VERSION"))
}

/// Reads a command line, without the program's name. A flag and its value are two arguments, or
/// one with an equals sign between; of a flag that is given twice, the last counts.
///
/// # Errors
///
/// A [`UsageError`] for the first argument that cannot be understood.
pub fn parse<S: AsRef<str>>(
    arguments: impl IntoIterator<Item = S>,
) -> Result<Invocation, UsageError> {
    let mut options = Options::default();
    let mut arguments = arguments.into_iter();
    while let Some(argument) = arguments.next() {
        let (flag, attached) = match argument.as_ref().split_once('=') {
            Some((flag, value)) => (flag, Some(value.to_owned())),
            None => (argument.as_ref(), None),
        };
        if matches!((flag, &attached), ("--help" | "-h", None)) {
            return Ok(Invocation::Help);
        }
        if matches!((flag, &attached), ("--version" | "-V", None)) {
            return Ok(Invocation::Version);
        }
        if !FLAGS.contains(&flag) {
            return Err(UsageError(format!(
                "{:?} is not an option of this server.",
                argument.as_ref()
            )));
        }
        let value = attached.or_else(|| arguments.next().map(|value| value.as_ref().to_owned()));
        let value = value.ok_or_else(|| UsageError(format!("{flag} needs a value behind it.")))?;
        set(&mut options, flag, &value)?;
    }
    Ok(Invocation::Serve(options))
}

const FLAGS: [&str; 6] = [
    "--listen",
    "--workers",
    "--connections",
    "--memory",
    "--io",
    "--log",
];

fn set(options: &mut Options, flag: &str, value: &str) -> Result<(), UsageError> {
    let bad = |expected: &str| UsageError(format!("{flag} takes {expected}, not {value:?}."));
    match flag {
        "--listen" => {
            let expected = "an IP address and a port, like 127.0.0.1:11211 or [::1]:0";
            options.listen = value.parse().map_err(|_| bad(expected))?;
        }
        "--workers" => {
            options.workers = Some(value.parse().map_err(|_| bad("a count from 1 to 65535"))?);
        }
        "--connections" => {
            options.connections = value.parse().map_err(|_| bad("a count from 1 on"))?;
        }
        "--memory" => {
            let expected = "a number of bytes, like 67108864, 64M or 1G";
            options.memory_bytes = bytes(value).ok_or_else(|| bad(expected))?;
        }
        "--io" => options.io = value.parse().map_err(|()| bad("ring, poll or auto"))?,
        "--log" => {
            let expected = "off, error, warn, info, debug or trace";
            options.log = value.parse().map_err(|()| bad(expected))?;
        }
        _ => unreachable!("every flag of the list is handled"),
    }
    Ok(())
}

/// Reads a number with an optional unit of 1024, its square or its cube.
fn bytes(text: &str) -> Option<usize> {
    let (digits, shift) = match text.as_bytes().last()? {
        b'k' | b'K' => (&text[..text.len() - 1], 10),
        b'm' | b'M' => (&text[..text.len() - 1], 20),
        b'g' | b'G' => (&text[..text.len() - 1], 30),
        _ => (text, 0),
    };
    digits.parse::<usize>().ok()?.checked_mul(1 << shift)
}

impl FromStr for Io {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "auto" => Ok(Self::Auto),
            "ring" => Ok(Self::Ring),
            "poll" => Ok(Self::Poll),
            _ => Err(()),
        }
    }
}

impl FromStr for LogLevel {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "off" => Ok(Self::Off),
            "error" => Ok(Self::Error),
            "warn" => Ok(Self::Warn),
            "info" => Ok(Self::Info),
            "debug" => Ok(Self::Debug),
            "trace" => Ok(Self::Trace),
            _ => Err(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn options(line: &str) -> Options {
        match parse(line.split_whitespace()) {
            Ok(Invocation::Serve(options)) => options,
            other => panic!("{line:?} gave {other:?}"),
        }
    }

    #[track_caller]
    fn message(line: &str) -> String {
        parse(line.split_whitespace())
            .expect_err("this cannot be understood")
            .to_string()
    }

    #[test]
    fn an_empty_line_serves_with_the_defaults() {
        assert_eq!(options(""), Options::default());
    }

    #[test]
    fn every_flag_is_read_with_a_space_or_an_equals_sign() {
        let line = "--listen [::1]:0 --workers=3 --connections 5 --memory=2G --io ring --log=debug";
        let expected = Options {
            listen: "[::1]:0".parse().unwrap(),
            workers: NonZeroU16::new(3),
            connections: NonZeroUsize::new(5).unwrap(),
            memory_bytes: 2 << 30,
            io: Io::Ring,
            log: LogLevel::Debug,
        };
        assert_eq!(options(line), expected);
        assert_eq!(
            options("--workers 1 --workers 2").workers,
            NonZeroU16::new(2)
        );
        for (text, bytes) in [("123", 123), ("1k", 1024), ("3M", 3 << 20), ("1g", 1 << 30)] {
            assert_eq!(options(&format!("--memory {text}")).memory_bytes, bytes);
        }
    }

    #[test]
    fn help_and_version_win_over_what_follows_them() {
        assert_eq!(parse(["--help", "--nonsense"]), Ok(Invocation::Help));
        assert_eq!(
            parse(["--io", "poll", "--version"]),
            Ok(Invocation::Version)
        );
        for flag in FLAGS {
            assert!(HELP.contains(flag), "{flag} is explained");
        }
    }

    #[test]
    fn a_bad_line_is_told_what_to_write_instead() {
        for (line, part) in [
            ("--lisen x", "\"--lisen\" is not an option"),
            ("11211", "\"11211\" is not an option"),
            ("--listen", "--listen needs a value"),
            (
                "--listen localhost",
                "--listen takes an IP address and a port",
            ),
            (
                "--workers 0",
                "--workers takes a count from 1 to 65535, not \"0\"",
            ),
            ("--connections many", "--connections takes a count"),
            ("--memory 64X", "--memory takes a number of bytes"),
            ("--memory M", "--memory takes a number of bytes"),
            ("--memory 99999999999G", "--memory takes a number of bytes"),
            ("--io uring", "--io takes ring, poll or auto"),
            ("--log=loud", "--log takes off, error"),
            ("--help=me", "\"--help=me\" is not an option"),
        ] {
            let message = message(line);
            assert!(message.contains(part), "{line:?} gave {message:?}");
            assert!(message.contains("--help"), "{message:?} says where to look");
        }
    }
}
