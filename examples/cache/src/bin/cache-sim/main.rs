//! Runs the server through many simulated worlds, and says how to see any of them again.

use core::{fmt, time::Duration};
use std::{
    env,
    io::{IsTerminal, Write},
    process::{Command, ExitCode, Stdio},
    time::Instant,
};

use cache::simulation::{Mistake, simulate};
use host_sim::{Order, Outcome, Sim, Token};

const HELP: &str = "\
Runs the cache server through simulated worlds with partitions, power cuts and lost connections,
and checks that no acknowledged write is ever contradicted.

Usage: cache-sim [OPTIONS]

Options:
  --seeds COUNT    how many worlds [default: 200]
  --first SEED     the first seed [default: 0]
  --token TOKEN    this one world, as a failure has printed it
  --help           print this help and exit

Servers that make a mistake, which must be found out:
  --answers-early         it answers before it stores
  --drain-cuts-answers    its drain closes in the middle of an answer
  --idle-from-the-start   it closes old connections as idle ones
  --forgets-who-leaves    it never counts out who was closed for a reason
  --forgets-evicted       it goes on counting what it has evicted

Exit codes: 0 if nothing was contradicted, 1 if something was, or if --token names a world that the
program has changed since, 2 for a bad command line.
";

/// How this program is started from the project's folder.
const AGAIN: &str = "cargo run --release -p cache --bin cache-sim --";

struct Options {
    seeds: u64,
    first: u64,
    token: Option<Token>,
    mistake: Mistake,
    /// It is another process of this program that asks.
    is_part: bool,
}

/// So many worlds run in one process.
const WORLDS_PER_PROCESS: u64 = 250;

fn main() -> ExitCode {
    let options = match parse(env::args().skip(1)) {
        Ok(Some(options)) => options,
        Ok(None) => return say(HELP),
        Err(message) => {
            eprintln!("cache-sim: {message}\nTry --help for what can be said.");
            return ExitCode::from(2);
        }
    };
    let result = match options.token {
        Some(token) => one(token, options.mistake),
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
fn one(token: Token, mistake: Mistake) -> Result<String, String> {
    let outcome = simulate(Sim::replay(token), mistake);
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

/// Runs many worlds, in processes of their own if they are very many: what a power cut leaves
/// behind is never freed, and a process has room for the leavings of some thousand worlds.
fn many(options: &Options) -> Result<String, String> {
    let started = Instant::now();
    let mut total = Total::default();
    if options.seeds > WORLDS_PER_PROCESS {
        let end = options.first + options.seeds;
        let mut first = options.first;
        while first < end {
            let seeds = WORLDS_PER_PROCESS.min(end - first);
            total.add_part(&part(first, seeds, options.mistake)?)?;
            first += seeds;
            progress(first - options.first, options.seeds);
        }
    } else {
        run_worlds(options, &mut total)?;
    }
    total.wall = started.elapsed();
    Ok(if options.is_part {
        total.to_part()
    } else {
        total.to_string()
    })
}

/// What another process of this program says about some of the worlds.
fn part(first: u64, seeds: u64, mistake: Mistake) -> Result<String, String> {
    let program = env::current_exe().map_err(|error| format!("where is this program? {error}"))?;
    let mut command = Command::new(program);
    command.args(["--part", "--first", &first.to_string()]);
    command.args(["--seeds", &seeds.to_string()]);
    if mistake != Mistake::None {
        command.arg(mistake.flag().trim_end());
    }
    let output = command.stdin(Stdio::null()).output();
    let output = output.map_err(|error| format!("cannot start a process: {error}"))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(String::from_utf8_lossy(&output.stderr)
            .trim_end()
            .to_owned())
    }
}

fn run_worlds(options: &Options, total: &mut Total) -> Result<(), String> {
    for done in 0..options.seeds {
        let seed = options.first + done;
        // The first world is the production order, the others draw who runs next.
        let order = if seed == 0 {
            Order::Fifo
        } else {
            Order::Random
        };
        let outcome = simulate(Sim::new(seed).order(order), options.mistake);
        if !outcome.is_finished() {
            return Err(format!(
                "seed {seed} of {}: {outcome}\nreplay it: {AGAIN} {}--token {}",
                options.seeds,
                options.mistake.flag(),
                outcome.token
            ));
        }
        total.add(&outcome);
        if !options.is_part {
            progress(done + 1, options.seeds);
        }
    }
    Ok(())
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
    faults: u64,
    wall: Duration,
    /// The last world's token and journal.
    last: Option<(String, String)>,
}

impl Total {
    fn add(&mut self, outcome: &Outcome) {
        self.seeds += 1;
        self.virtual_time += outcome.virtual_time;
        self.steps += outcome.steps;
        self.choices += outcome.choices;
        self.power_cuts += outcome.abandoned.nodes;
        self.faults += outcome.faults.len() as u64;
        self.last = Some((outcome.token.to_string(), outcome.hash.to_string()));
    }

    /// The sums in one line, for the process that puts the parts together.
    fn to_part(&self) -> String {
        let nanos = self.virtual_time.as_nanos();
        let Self {
            seeds,
            steps,
            choices,
            power_cuts,
            faults,
            ..
        } = self;
        let (token, journal) = self.last.as_ref().map_or(("-", "-"), |(a, b)| (a, b));
        format!("{seeds} {nanos} {steps} {choices} {power_cuts} {faults} {token} {journal}\n")
    }

    fn add_part(&mut self, part: &str) -> Result<(), String> {
        let bad = || format!("a part of the worlds said {part:?}");
        let words: Vec<_> = part.split_whitespace().collect();
        let [numbers @ .., token, journal] = &words[..] else {
            return Err(bad());
        };
        let numbers: Result<Vec<u64>, _> = numbers.iter().map(|word| word.parse()).collect();
        let numbers = numbers.map_err(|_| bad())?;
        let [seeds, nanos, steps, choices, power_cuts, faults] = numbers[..] else {
            return Err(bad());
        };
        self.seeds += seeds;
        self.virtual_time += Duration::from_nanos(nanos);
        self.steps += steps;
        self.choices += choices;
        self.power_cuts += power_cuts;
        self.faults += faults;
        self.last = Some(((*token).to_owned(), (*journal).to_owned()));
        Ok(())
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
        if let Some((token, journal)) = &self.last {
            writeln!(
                f,
                "  see one again: {AGAIN} --token {token} (journal {journal})"
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
        mistake: Mistake::None,
        is_part: false,
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
            "--part" => options.is_part = true,
            "--seeds" => (options.seeds, counted) = (number(&flag, &value()?)?, true),
            "--first" => (options.first, counted) = (number(&flag, &value()?)?, true),
            "--token" => {
                let token = value()?;
                options.token = Some(token.parse().map_err(|error| format!("{token}: {error}"))?);
            }
            _ => {
                let planted = Mistake::ALL
                    .into_iter()
                    .find(|mistake| *mistake != Mistake::None && mistake.flag().trim_end() == flag);
                options.mistake = planted.ok_or_else(|| format!("{flag} is not an option"))?;
            }
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
