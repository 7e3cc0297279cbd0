//! Stacks as the core sees them: disjoint, guarded, recycled, bounded.

use super::*;

fn pool() -> StackPool {
    StackPool::new(usize::MAX, 1)
}

fn splitting(splits_max: usize) -> StackPool {
    let mut pool = pool();
    pool.splits_max = splits_max;
    pool.splitting = AtomicBool::new(true);
    pool
}

fn range(stack: &StackMemory) -> (usize, usize) {
    (stack.limit().addr().get(), stack.base().addr().get())
}

fn touch(stack: &StackMemory, value: u8) {
    let lowest = stack.limit().as_ptr();
    let highest = stack.base().as_ptr().wrapping_sub(1);
    for byte in [lowest, highest] {
        // SAFETY: both lie within a stack that this test owns (I-3).
        unsafe { byte.write(value) };
    }
}

fn lowest(stack: &StackMemory) -> u8 {
    // SAFETY: the lowest byte of a stack that this test owns (I-3).
    unsafe { stack.limit().as_ptr().read() }
}

#[test]
fn stacks_of_every_class_have_their_size_and_do_not_overlap() {
    let pool = pool();
    for class in StackClass::ALL {
        let stacks: Vec<_> = (0..20).map(|_| pool.map(class).unwrap()).collect();
        let mut ranges: Vec<_> = stacks.iter().map(range).collect();
        ranges.sort_unstable();
        for (limit, base) in &ranges {
            assert_eq!(base - limit, class.bytes() - pool.page_bytes);
            assert_eq!((base % 64, limit % 64), (0, 0));
        }
        assert!(ranges.is_sorted_by(|a, b| a.1 <= b.0));
        for stack in &stacks {
            touch(stack, 1);
        }
        for stack in stacks {
            pool.unmap(&stack);
        }
    }
}

#[test]
fn a_stack_that_was_given_back_is_handed_out_again_without_its_content() {
    let pool = pool();
    let stack = pool.map(StackClass::K64).unwrap();
    let before = range(&stack);
    touch(&stack, 0xAA);
    pool.unmap(&stack);
    let again = pool.map(StackClass::K64).unwrap();
    assert_eq!(range(&again), before);
    assert_eq!(lowest(&again), 0, "its pages were given back");
    pool.unmap(&again);
}

#[test]
fn the_limit_of_stacks_is_an_error_that_names_it() {
    let pool = StackPool::new(2, 1);
    let first = pool.map(StackClass::K16).unwrap();
    let second = pool.map(StackClass::K16).unwrap();
    let full = StackError::Exhausted { limit: 2 };
    assert_eq!(pool.map(StackClass::M1), Err(full));
    pool.unmap(&first);
    let third = pool.map(StackClass::M1).unwrap();
    pool.unmap(&second);
    pool.unmap(&third);
}

#[test]
fn without_light_guards_stacks_are_capped_before_mappings_run_out() {
    let pool = splitting(SPLITS.load(Ordering::Relaxed) + 2);
    let first = pool.map(StackClass::K16).unwrap();
    let second = pool.map(StackClass::K16).unwrap();
    let limit = pool.splits_max;
    assert_eq!(
        pool.map(StackClass::K16),
        Err(StackError::Exhausted { limit })
    );
    touch(&first, 1);
    pool.unmap(&first);
    pool.unmap(&second);
    let before = SPLITS.load(Ordering::Relaxed);
    drop(pool);
    assert_eq!(SPLITS.load(Ordering::Relaxed), before - 2);
}

#[test]
fn a_pool_that_is_dropped_leaves_no_mapping() {
    let pool = pool();
    let stack = pool.map(StackClass::K256).unwrap();
    let inside = stack.limit().addr().get();
    pool.unmap(&stack);
    assert!(slabs::find(inside, pool.page_bytes).is_some());
    drop(pool);
    assert!(slabs::find(inside, memory::page_bytes()).is_none());
}

#[test]
fn more_guard_pages_come_off_the_stack_but_never_more_than_half() {
    let pool = StackPool::new(usize::MAX, 1_000);
    let (limit, base) = range(&pool.map(StackClass::K16).unwrap());
    assert_eq!(base - limit, StackClass::K16.bytes() / 2);
}
