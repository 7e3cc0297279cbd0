//! In which order the arms of a choice are tried: any, so that none is favoured.

#[cfg(not(loom))]
use core::sync::atomic::{AtomicU64, Ordering};

#[cfg(not(loom))]
use crate::dice::Dice;
use crate::{context::Context, env::Site};

const ARM: Site = Site::new("operation.arm");

/// Up to so many arms every order is equally likely.
const SHUFFLED_MAX: usize = 16;

/// Calls `try_arm` with each number below `arms`, in a random order, until it says yes to one.
#[inline]
pub(super) fn each(arms: u16, mut try_arm: impl FnMut(u16) -> bool) -> Option<u16> {
    match arms {
        0 => None,
        1 => try_arm(0).then_some(0),
        2 => {
            #[expect(clippy::cast_possible_truncation, reason = "0 or 1")]
            let first = roll(2) as u16;
            let second = 1 - first;
            if try_arm(first) {
                return Some(first);
            }
            try_arm(second).then_some(second)
        }
        _ if usize::from(arms) <= SHUFFLED_MAX => shuffled(arms, try_arm),
        _ => strided(arms, try_arm),
    }
}

/// Fisher and Yates, no further than needed.
fn shuffled(arms: u16, mut try_arm: impl FnMut(u16) -> bool) -> Option<u16> {
    let mut order = [0; SHUFFLED_MAX];
    for (place, arm) in order.iter_mut().zip(0..arms) {
        *place = arm;
    }
    let arms = usize::from(arms);
    for at in 0..arms {
        if at + 1 < arms {
            order.swap(at, at + roll(arms - at));
        }
        if try_arm(order[at]) {
            return Some(order[at]);
        }
    }
    None
}

/// Many arms, without memory for their order: a random start and a random odd stride, modulo the
/// next power of two. Of two arms either is as likely to be the first.
fn strided(arms: u16, mut try_arm: impl FnMut(u16) -> bool) -> Option<u16> {
    let modulus = u32::from(arms).next_power_of_two();
    #[expect(clippy::cast_possible_truncation, reason = "below 2 to the 16th")]
    let (start, stride) = (
        roll(modulus as usize) as u32,
        2 * roll(modulus as usize / 2) as u32 + 1,
    );
    (0..modulus)
        .map(|at| start.wrapping_add(at.wrapping_mul(stride)) % modulus)
        .filter_map(|arm| u16::try_from(arm).ok().filter(|arm| *arm < arms))
        .find(|arm| try_arm(*arm))
}

#[inline]
fn roll(n: usize) -> usize {
    Context::with(|context| match context {
        Some(context) => context.roll(ARM, n),
        None => thread_roll(n),
    })
}

/// In models, which are to run alike each time, nothing is random.
#[cfg(loom)]
fn thread_roll(_n: usize) -> usize {
    0
}

/// Plain threads have no dice of their own: they share a sequence.
#[cfg(not(loom))]
#[cold]
fn thread_roll(n: usize) -> usize {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let seed = NEXT.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
    let dice = Dice::seeded(seed ^ seed.rotate_left(31));
    dice.roll(n);
    dice.roll(n)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use alloc::{vec, vec::Vec};

    use super::*;

    fn order(arms: u16) -> Vec<u16> {
        let mut order = Vec::new();
        assert_eq!(
            each(arms, |arm| {
                order.push(arm);
                false
            }),
            None
        );
        order
    }

    #[test]
    fn every_arm_is_tried_once_whatever_their_number() {
        for arms in [0, 1, 2, 3, 7, 16, 17, 100, 1000, u16::MAX] {
            let mut tried = order(arms);
            tried.sort_unstable();
            assert_eq!(tried, (0..arms).collect::<Vec<_>>());
        }
    }

    #[test]
    fn of_any_two_arms_either_comes_first_about_as_often() {
        for arms in [2_u16, 3, 4, 12, 20] {
            let mut before = vec![vec![0_u32; arms.into()]; arms.into()];
            for _ in 0..4000 {
                let order = order(arms);
                for (at, first) in order.iter().enumerate() {
                    for second in &order[at + 1..] {
                        before[usize::from(*first)][usize::from(*second)] += 1;
                    }
                }
            }
            for (first, counts) in before.iter().enumerate() {
                for (second, count) in counts.iter().enumerate() {
                    assert!(
                        first == second || (1600..2400).contains(count),
                        "{first} before {second}: {count} of 4000"
                    );
                }
            }
        }
    }

    #[test]
    fn the_first_arm_that_says_yes_is_the_last_that_is_asked() {
        let mut asked = 0;
        let arm = each(9, |arm| {
            asked += 1;
            arm == 4
        });
        assert_eq!(arm, Some(4));
        assert!(asked <= 9);
    }
}
