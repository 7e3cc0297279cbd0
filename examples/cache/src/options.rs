//! What the server's command line can say.
//!
//! [`parse`] only reads: it prints nothing and ends nothing. `main` prints [`HELP`] or
//! [`version`] to standard output, or the [`UsageError`] to standard error, and then leaves with
//! code 0, or [`USAGE_EXIT_CODE`].

use core::fmt;
use core::net::SocketAddr;
use core::num::{NonZeroU16, NonZeroU32, NonZeroUsize};
use core::str::FromStr;
use core::time::Duration;

/// The exit code after a command line that says nothing sensible.
pub const USAGE_EXIT_CODE: u8 = 2;

/// The answer to `--help`.
pub const HELP: &str = include_str!("help.txt");

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
    /// Where operators are served; `None` is nowhere.
    pub admin: Option<SocketAddr>,
    /// Worker threads; `None` is one per core.
    pub workers: Option<NonZeroU16>,
    /// How many connections are served at a time.
    pub connections: NonZeroUsize,
    /// How many connections wait to be accepted.
    pub backlog: NonZeroU32,
    /// Bytes that items may take.
    pub memory_bytes: usize,
    /// How long a connection may be silent; `None` is for ever.
    pub idle_timeout: Option<Duration>,
    /// How long a client may take nothing of an answer.
    pub write_timeout: Duration,
    /// How long a drain waits.
    pub drain_timeout: Duration,
    /// Which driver does the input and output.
    pub io: Io,
    /// What is logged.
    pub log: LogLevel,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 11211)),
            admin: None,
            workers: None,
            connections: NonZeroUsize::new(10_000).expect("ten thousand is not zero"),
            backlog: NonZeroU32::new(4096).expect("four thousand is not zero"),
            memory_bytes: 64 << 20,
            idle_timeout: None,
            write_timeout: Duration::from_mins(1),
            drain_timeout: Duration::from_secs(10),
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

const FLAGS: [&str; 11] = [
    "--listen",
    "--admin",
    "--backlog",
    "--workers",
    "--connections",
    "--memory",
    "--idle-timeout",
    "--write-timeout",
    "--drain-timeout",
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
        "--admin" => {
            let expected = "a loopback address and a port, like 127.0.0.1:11212";
            let address: Option<SocketAddr> = value.parse().ok();
            let address = address.filter(|address| address.ip().is_loopback());
            options.admin = Some(address.ok_or_else(|| bad(expected))?);
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
        "--backlog" => {
            options.backlog = value.parse().map_err(|_| bad("a count from 1 on"))?;
        }
        "--idle-timeout" => {
            let expected = "whole seconds, or 0 for no limit";
            let limit = seconds(value).ok_or_else(|| bad(expected))?;
            options.idle_timeout = (!limit.is_zero()).then_some(limit);
        }
        "--write-timeout" => {
            let limit = seconds(value).filter(|limit| !limit.is_zero());
            options.write_timeout = limit.ok_or_else(|| bad("whole seconds from 1 on"))?;
        }
        "--drain-timeout" => {
            options.drain_timeout = seconds(value).ok_or_else(|| bad("whole seconds"))?;
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

/// Reads a number of seconds, of which more than a `u32` holds is no time that anyone means.
fn seconds(text: &str) -> Option<Duration> {
    Some(Duration::from_secs(text.parse::<u32>().ok()?.into()))
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
        let line = "--listen [::1]:0 --admin 127.0.0.1:0 --workers=3 --connections 5 \
                    --memory=2G --io ring --log=debug --backlog 6 \
                    --idle-timeout=7 --write-timeout 8 --drain-timeout=0";
        let expected = Options {
            listen: "[::1]:0".parse().unwrap(),
            admin: Some("127.0.0.1:0".parse().unwrap()),
            workers: NonZeroU16::new(3),
            connections: NonZeroUsize::new(5).unwrap(),
            backlog: NonZeroU32::new(6).unwrap(),
            memory_bytes: 2 << 30,
            idle_timeout: Some(Duration::from_secs(7)),
            write_timeout: Duration::from_secs(8),
            drain_timeout: Duration::ZERO,
            io: Io::Ring,
            log: LogLevel::Debug,
        };
        assert_eq!(options(line), expected);
        assert_eq!(
            options("--workers 1 --workers 2").workers,
            NonZeroU16::new(2)
        );
        assert_eq!(
            options("--idle-timeout 7 --idle-timeout 0").idle_timeout,
            None
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
            assert!(
                HELP.contains(&format!("\n    {flag} ")),
                "{flag} is explained"
            );
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
            ("--admin 11212", "--admin takes a loopback address"),
            ("--admin 0.0.0.0:11212", "--admin takes a loopback address"),
            (
                "--workers 0",
                "--workers takes a count from 1 to 65535, not \"0\"",
            ),
            ("--connections many", "--connections takes a count"),
            ("--memory 64X", "--memory takes a number of bytes"),
            ("--memory M", "--memory takes a number of bytes"),
            ("--memory 99999999999G", "--memory takes a number of bytes"),
            ("--backlog 0", "--backlog takes a count from 1 on"),
            ("--idle-timeout 1m", "--idle-timeout takes whole seconds"),
            ("--idle-timeout -1", "--idle-timeout takes whole seconds"),
            (
                "--write-timeout 0",
                "--write-timeout takes whole seconds from 1 on",
            ),
            ("--drain-timeout ten", "--drain-timeout takes whole seconds"),
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
