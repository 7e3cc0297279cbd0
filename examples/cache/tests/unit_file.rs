//! The unit for systemd says what this server understands.

use core::time::Duration;

use cache::options::{Invocation, Options, USAGE_EXIT_CODE, parse};

const UNIT: &str = include_str!("../cache.service");

/// The value of a setting that is made once.
fn setting(name: &str) -> &'static str {
    let values: Vec<_> = UNIT
        .lines()
        .filter_map(|line| line.strip_prefix(name)?.strip_prefix('='))
        .collect();
    assert_eq!(values.len(), 1, "{name} is set once");
    values[0]
}

fn options() -> Options {
    let mut words = setting("ExecStart").split_whitespace();
    assert_eq!(words.next(), Some("/usr/local/bin/cache"));
    match parse(words) {
        Ok(Invocation::Serve(options)) => options,
        other => panic!("the unit's command line gave {other:?}"),
    }
}

#[test]
fn its_command_line_is_understood_and_its_limits_fit() {
    let options = options();
    let files: usize = setting("LimitNOFILE").parse().expect("it is a number");
    assert!(files >= options.connections.get() + 128, "{files} files");
    assert_eq!(
        setting("RestartPreventExitStatus"),
        USAGE_EXIT_CODE.to_string()
    );
}

#[test]
fn it_gives_a_drain_more_time_than_the_drain_takes() {
    let stop = setting("TimeoutStopSec").strip_suffix('s');
    let stop = stop.and_then(|seconds| seconds.parse().ok());
    let stop = Duration::from_secs(stop.expect("it is in seconds"));
    assert!(stop > options().drain_timeout);
    assert_eq!(setting("KillSignal"), "SIGTERM");
}
