//! What the load client's command line can say.

use core::fmt;
use core::net::SocketAddr;
use core::time::Duration;

pub(crate) const HELP: &str = "\
Puts a memcached server under load, checks every reply, and says how it did.

Usage: cache-load --address ADDRESS [OPTIONS]

Options:
  --address ADDRESS     address and port of the server
  --connections COUNT   connections held open [default: 64]
  --depth COUNT         requests in flight on each connection [default: 1]
  --seconds SECONDS     how long the load lasts [default: 5]
  --value-bytes BYTES   length of every value [default: 100]
  --keys COUNT          how many keys there are [default: 10000]
  --get-ratio PERCENT   how many of 100 requests are gets, the others are
                        sets [default: 90]
  --mixed               gat and mg among the gets, ms among the sets
  --requests COUNT      instead of --seconds, so many requests on each
                        connection; with --server-pid, then measures the
                        server's memory while all are open and idle
  --until-closed        the server is going to close: wait for it, for
                        --seconds at the most; that it cuts an answer is wrong
  --server-pid PID      process of the server, to measure its CPU and memory
  --check COUNT         instead of the load: COUNT connections that send 100
                        pipelined requests of all kinds each, and check the
                        replies byte by byte
  --help                print this help and exit

Progress goes to standard error. The result is one line of JSON on standard
output. A field that needs --server-pid is null without it.

Exit codes: 0 if every reply was right, 1 if not, 2 for a bad command line.
";

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Arguments {
    pub(crate) address: SocketAddr,
    pub(crate) connections: usize,
    pub(crate) depth: usize,
    pub(crate) duration: Duration,
    pub(crate) value_bytes: usize,
    pub(crate) keys: u64,
    pub(crate) get_percent: u64,
    pub(crate) is_mixed: bool,
    pub(crate) requests: Option<u64>,
    pub(crate) until_closed: bool,
    pub(crate) server_pid: Option<u32>,
    pub(crate) check: Option<usize>,
}

/// A command line that says nothing sensible.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct UsageError(String);

impl fmt::Display for UsageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\nTry --help for what can be said.", self.0)
    }
}

/// Reads a command line without the program's name; `None` if it asks for help.
pub(crate) fn parse(
    arguments: impl IntoIterator<Item = String>,
) -> Result<Option<Arguments>, UsageError> {
    let mut address = None;
    let mut parsed = Arguments {
        address: SocketAddr::from(([127, 0, 0, 1], 11211)),
        connections: 64,
        depth: 1,
        duration: Duration::from_secs(5),
        value_bytes: 100,
        keys: 10_000,
        get_percent: 90,
        is_mixed: false,
        requests: None,
        until_closed: false,
        server_pid: None,
        check: None,
    };
    let mut arguments = arguments.into_iter();
    while let Some(flag) = arguments.next() {
        if flag == "--help" || flag == "-h" {
            return Ok(None);
        }
        let mut value = || {
            let missing = || UsageError(format!("{flag} needs a value behind it."));
            arguments.next().ok_or_else(missing)
        };
        let number = |text: String, min: u64, max: u64| match text.parse::<u64>() {
            Ok(number) if (min..=max).contains(&number) => Ok(number),
            _ => Err(UsageError(format!(
                "{flag} takes a number from {min} to {max}, not {text:?}."
            ))),
        };
        let count = |number: u64| usize::try_from(number).expect("the upper bound fits");
        match flag.as_str() {
            "--address" => {
                let text = value()?;
                let expected = "an IP address and a port, like 127.0.0.1:11211";
                let bad = |_| UsageError(format!("{flag} takes {expected}, not {text:?}."));
                address = Some(text.parse().map_err(bad)?);
            }
            "--connections" => parsed.connections = count(number(value()?, 1, 1_000_000)?),
            "--depth" => parsed.depth = count(number(value()?, 1, 10_000)?),
            "--seconds" => parsed.duration = Duration::from_secs(number(value()?, 1, 86_400)?),
            "--value-bytes" => parsed.value_bytes = count(number(value()?, 0, 1 << 20)?),
            "--keys" => parsed.keys = number(value()?, 1, 100_000_000)?,
            "--get-ratio" => parsed.get_percent = number(value()?, 0, 100)?,
            "--mixed" => parsed.is_mixed = true,
            "--requests" => parsed.requests = Some(number(value()?, 1, 1_000_000)?),
            "--until-closed" => parsed.until_closed = true,
            "--server-pid" => {
                let pid = number(value()?, 1, u64::from(u32::MAX))?;
                parsed.server_pid = Some(u32::try_from(pid).expect("the upper bound fits"));
            }
            "--check" => parsed.check = Some(count(number(value()?, 1, 1_000_000)?)),
            _ => {
                return Err(UsageError(format!(
                    "{flag:?} is not an option of this client."
                )));
            }
        }
    }
    parsed.address = address.ok_or_else(|| UsageError("--address is missing.".to_owned()))?;
    Ok(Some(parsed))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_line(line: &str) -> Result<Option<Arguments>, UsageError> {
        parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn every_flag_is_read() {
        let line = "--address [::1]:7 --connections 3 --depth 4 --seconds 5 --value-bytes 6 \
                    --keys 7 --get-ratio 8 --server-pid 9 --check 10 \
                    --mixed --requests 11 --until-closed";
        let expected = Arguments {
            address: "[::1]:7".parse().unwrap(),
            connections: 3,
            depth: 4,
            duration: Duration::from_secs(5),
            value_bytes: 6,
            keys: 7,
            get_percent: 8,
            is_mixed: true,
            requests: Some(11),
            until_closed: true,
            server_pid: Some(9),
            check: Some(10),
        };
        assert_eq!(parse_line(line), Ok(Some(expected)));
        assert_eq!(parse_line("--depth 4 --help"), Ok(None));
    }

    #[test]
    fn a_bad_line_is_told_what_to_write_instead() {
        for (line, part) in [
            ("--depth 4", "--address is missing"),
            (
                "--address localhost",
                "--address takes an IP address and a port",
            ),
            ("--address", "--address needs a value"),
            (
                "--get-ratio 101",
                "--get-ratio takes a number from 0 to 100, not \"101\"",
            ),
            ("--keys=1", "\"--keys=1\" is not an option"),
        ] {
            let message = parse_line(line).unwrap_err().to_string();
            assert!(message.contains(part), "{line:?} gave {message:?}");
        }
    }
}
