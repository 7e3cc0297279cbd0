//! Runs the server through many simulated worlds, and says how to see any of them again.

use core::{fmt, time::Duration};
use std::{
    io::{IsTerminal, Write},
    process::ExitCode,
    time::Instant,
};

use cache::simulation::{Subject, simulate};
use host_sim::{Order, Outcome, Sim, Token};

const HELP: &str = "\
Runs the cache server through simulated worlds with partitions, power cuts and lost connections,
and checks that no acknowledged write is ever contradicted.

Usage: cache-sim [OPTIONS]

Options:
  --seeds COUNT    how many worlds [default: 200]
  --first SEED     the first seed [default: 0]
  --token TOKEN    this one world, as a failure has printed it
  --answers-early  a server that answers before it stores: must be found out
  --help           print this help and exit

Exit codes: 0 if nothing was contradicted, 1 if something was, or if --token names a world that the
program has changed since, 2 for a bad command line.
";

/// How this program is started from the project's folder.
const AGAIN: &str = "cargo run --release -p cache --bin cache-sim --";

struct Options {
    seeds: u64,
    first: u64,
    token: Option<Token>,
    subject: Subject,
}

fn main() -> ExitCode {
    let options = match parse(std::env::args().skip(1)) {
        Ok(Some(options)) => options,
        Ok(None) => return say(HELP),
        Err(message) => {
            eprintln!("cache-sim: {message}\nTry --help for what can be said.");
            return ExitCode::from(2);
        }
    };
    let result = match options.token {
        Some(token) => one(token, options.subject),
        None => many(&options),
    };
    match result {
        Ok(report) => say(&report),
        Err(report) => {
            eprintln!("{report}");
            ExitCode::FAILURE
        }
    }
}

/// Replays one world.
fn one(token: Token, subject: Subject) -> Result<String, String> {
    let outcome = simulate(Sim::replay(token), subject);
    let ran = outcome.token;
    let mut report = format!("{outcome}\n");
    let same = token.same_configuration(&ran);
    if !same {
        report += &format!("this is another run: the program has changed since {token}\n");
    }
    if same && outcome.is_finished() {
        Ok(report)
    } else {
        Err(report)
    }
}

fn many(options: &Options) -> Result<String, String> {
    let started = Instant::now();
    let mut total = Total::default();
    for done in 0..options.seeds {
        let seed = options.first + done;
        // The first world is the production order, the others draw who runs next.
        let order = if seed == 0 {
            Order::Fifo
        } else {
            Order::Random
        };
        let outcome = simulate(Sim::new(seed).order(order), options.subject);
        if !outcome.is_finished() {
            return Err(format!(
                "seed {seed} of {}: {outcome}\nreplay it: {AGAIN} {}--token {}",
                options.seeds,
                if options.subject == Subject::AnswersEarly {
                    "--answers-early "
                } else {
                    ""
                },
                outcome.token
            ));
        }
        total.add(&outcome);
        progress(done + 1, options.seeds);
    }
    total.wall = started.elapsed();
    Ok(format!("{total}"))
}

fn progress(done: u64, seeds: u64) {
    let mut stderr = std::io::stderr();
    if stderr.is_terminal() {
        let _ = write!(stderr, "\r{done} of {seeds} worlds");
        if done == seeds {
            let _ = writeln!(stderr);
        }
    } else if done.is_multiple_of(50) || done == seeds {
        let _ = writeln!(stderr, "{done} of {seeds} worlds");
    }
}

/// What all worlds came to.
#[derive(Default)]
struct Total {
    seeds: u64,
    virtual_time: Duration,
    steps: u64,
    choices: u64,
    power_cuts: u64,
    faults: usize,
    wall: Duration,
    last: Option<Outcome>,
}

impl Total {
    fn add(&mut self, outcome: &Outcome) {
        self.seeds += 1;
        self.virtual_time += outcome.virtual_time;
        self.steps += outcome.steps;
        self.choices += outcome.choices;
        self.power_cuts += outcome.abandoned.nodes;
        self.faults += outcome.faults.len();
        self.last = Some(outcome.clone());
    }
}

impl fmt::Display for Total {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let wall = self.wall.as_secs_f64();
        #[expect(clippy::cast_precision_loss, reason = "a few digits are shown")]
        let (per_second, speed) = (
            self.seeds as f64 / wall,
            self.virtual_time.as_secs_f64() / wall,
        );
        writeln!(f, "{} worlds, nothing contradicted", self.seeds)?;
        writeln!(f, "  {per_second:.0} worlds/s; {wall:.1} s of wall time")?;
        writeln!(
            f,
            "  {:.0} s of virtual time, {speed:.0} times real time",
            self.virtual_time.as_secs_f64()
        )?;
        writeln!(
            f,
            "  {} faults, {} power cuts, {} choices, {} steps",
            self.faults, self.power_cuts, self.choices, self.steps
        )?;
        if let Some(last) = &self.last {
            writeln!(
                f,
                "  see one again: {AGAIN} --token {} (journal {})",
                last.token, last.hash
            )?;
        }
        Ok(())
    }
}

fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Option<Options>, String> {
    let mut options = Options {
        seeds: 200,
        first: 0,
        token: None,
        subject: Subject::Real,
    };
    let mut counted = false;
    while let Some(flag) = arguments.next() {
        let mut value = || {
            arguments
                .next()
                .ok_or_else(|| format!("{flag} needs a value"))
        };
        match &*flag {
            "--help" | "-h" => return Ok(None),
            "--answers-early" => options.subject = Subject::AnswersEarly,
            "--seeds" => (options.seeds, counted) = (number(&flag, &value()?)?, true),
            "--first" => (options.first, counted) = (number(&flag, &value()?)?, true),
            "--token" => {
                let token = value()?;
                options.token = Some(token.parse().map_err(|error| format!("{token}: {error}"))?);
            }
            _ => return Err(format!("{flag} is not an option")),
        }
    }
    if options.token.is_some() && counted {
        return Err("--token is one world: it goes without --seeds and --first".to_owned());
    }
    Ok(Some(options))
}

fn number(flag: &str, text: &str) -> Result<u64, String> {
    text.parse()
        .map_err(|_| format!("{flag} needs a number, not {text}"))
}

fn say(text: &str) -> ExitCode {
    match std::io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}
