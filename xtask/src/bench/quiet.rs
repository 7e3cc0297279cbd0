//! Noticing that others use the machine, and measuring again then.

use core::time::Duration;
use std::{fs, time::Instant};

use super::sample::Sample;

/// So often is a run tried that others disturb; the quietest is kept.
const TRIES: usize = 3;

/// Runs until it was quiet.
pub(super) fn quietest(mut run: impl FnMut() -> Result<Sample, String>) -> Result<Sample, String> {
    let mut best = run()?;
    for _ in 1..TRIES {
        if !best.is_disturbed() {
            break;
        }
        let again = run()?;
        if again.foreign < best.foreign {
            best = again;
        }
    }
    Ok(best)
}

/// A while of which one wants to know what others have used of the processors.
pub(super) struct While {
    begun: Instant,
    busy: Duration,
    own: Duration,
    /// A program of ours that goes on.
    running: Option<u32>,
}

impl While {
    /// Begins. Programs that are started and ended meanwhile are ours, and the one that runs.
    pub(super) fn begin(running: Option<u32>) -> Self {
        Self {
            begun: Instant::now(),
            busy: busy(),
            own: own(running),
            running,
        }
    }

    /// Ends: how many processors others have used; 0 where the system does not say.
    pub(super) fn end(&self) -> f64 {
        let busy = busy().saturating_sub(self.busy);
        let foreign = busy.saturating_sub(own(self.running).saturating_sub(self.own));
        foreign.as_secs_f64() / self.begun.elapsed().as_secs_f64().max(1e-9)
    }
}

/// Processor time of everybody, and what a machine below this one has taken.
fn busy() -> Duration {
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    busy_in(&text)
}

fn busy_in(stat: &str) -> Duration {
    let line = stat.lines().next().unwrap_or_default();
    let ticks = line.split_whitespace().skip(1).take(8).enumerate();
    // The fourth and the fifth are idle.
    let ticks = ticks.filter(|(place, _)| ![3, 4].contains(place));
    ticks.map(|(_, ticks)| time(ticks)).sum()
}

/// Processor time of this process and of those that it has started and that have ended.
fn own(running: Option<u32>) -> Duration {
    let this = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let other = running.map(|pid| fs::read_to_string(format!("/proc/{pid}/stat")));
    let other = other.and_then(Result::ok).unwrap_or_default();
    used_in(&this) + used_in(&other)
}

/// Of a process and its children that have ended: the 14th to the 17th field.
fn used_in(stat: &str) -> Duration {
    // The second is a name in brackets, in which anything may stand.
    let (_, rest) = stat.rsplit_once(')').unwrap_or_default();
    rest.split_whitespace().skip(11).take(4).map(time).sum()
}

fn time(ticks: &str) -> Duration {
    let per_second = rustix::param::clock_ticks_per_second();
    let ticks = ticks.parse::<u64>().unwrap_or(0);
    Duration::from_millis(ticks * 1000 / per_second.max(1))
}

#[cfg(test)]
mod tests {
    use super::{Sample, TRIES, busy_in, quietest, used_in};
    use core::time::Duration;

    fn tick() -> Duration {
        Duration::from_millis(1000 / rustix::param::clock_ticks_per_second())
    }

    #[test]
    fn busy_is_everything_but_idle() {
        assert_eq!(
            busy_in("cpu  1 2 3 1000 1000 4 5 6 7 8\ncpu0 1"),
            21 * tick()
        );
        assert_eq!(busy_in(""), Duration::ZERO);
    }

    #[test]
    fn a_process_s_time_stands_behind_its_name() {
        let stat = "7 (a) b) S 1 2 3 4 5 6 7 8 9 10 20 30 40 50 60";
        assert_eq!(used_in(stat), 140 * tick());
    }

    #[test]
    fn a_disturbed_run_is_repeated_and_the_quietest_is_kept() {
        let sample = |foreign| Sample::default().beside(foreign);
        let mut runs = [0.5, 0.3, 0.4].into_iter();
        let kept = quietest(|| Ok(sample(runs.next().expect("it is tried three times"))));
        assert_eq!(kept.expect("all succeed").foreign, 0.3);
        let mut count = 0;
        let kept = quietest(|| {
            count += 1;
            Ok(sample(if count == TRIES { 0.9 } else { 0.01 }))
        });
        assert_eq!((kept.expect("it succeeds").foreign, count), (0.01, 1));
    }
}
