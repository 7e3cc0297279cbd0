//! Stacks as the core sees them: disjoint, guarded, recycled, bounded.

extern crate alloc;

use alloc::sync::Arc;

use fiber_core::env::ClassStats;

use super::*;

fn pool() -> StackPool {
    StackPool::new(usize::MAX, 1, Guards::Auto)
}

fn splitting(stacks_max: usize) -> StackPool {
    StackPool::new(usize::MAX, 1, Guards::Split { stacks_max })
}

fn give(pool: &StackPool, stack: StackMemory) {
    pool.unmap(&mut [stack]);
}

fn take(pool: &StackPool, class: StackClass, count: usize) -> Vec<StackMemory> {
    (0..count).map(|_| pool.map(class).unwrap()).collect()
}

fn numbers(pool: &StackPool, class: StackClass) -> ClassStats {
    *pool.stats().of(class)
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
            give(&pool, stack);
        }
    }
}

#[test]
fn a_stack_that_was_given_back_is_handed_out_again_without_its_content() {
    let pool = pool();
    let stack = pool.map(StackClass::K64).unwrap();
    let before = range(&stack);
    touch(&stack, 0xAA);
    give(&pool, stack);
    let again = pool.map(StackClass::K64).unwrap();
    assert_eq!(range(&again), before);
    assert_eq!(lowest(&again), 0, "its pages were given back");
    give(&pool, again);
}

#[test]
fn the_limit_of_stacks_is_an_error_that_names_it() {
    let pool = StackPool::new(2, 1, Guards::Auto);
    let first = pool.map(StackClass::K16).unwrap();
    let second = pool.map(StackClass::K16).unwrap();
    assert_eq!(pool.map(StackClass::M1), Err(exhausted(2, FEWER)));
    give(&pool, first);
    let third = pool.map(StackClass::M1).unwrap();
    give(&pool, second);
    give(&pool, third);
}

#[test]
fn a_pool_that_is_dropped_leaves_no_mapping() {
    let pool = pool();
    let stack = pool.map(StackClass::K256).unwrap();
    let inside = stack.limit().addr().get();
    give(&pool, stack);
    assert!(slabs::find(inside, pool.page_bytes).is_some());
    drop(pool);
    assert!(slabs::find(inside, memory::page_bytes()).is_none());
}

#[test]
fn more_guard_pages_come_off_the_stack_but_never_more_than_half() {
    let pool = StackPool::new(usize::MAX, 1_000, Guards::Auto);
    let (limit, base) = range(&pool.map(StackClass::K16).unwrap());
    assert_eq!(base - limit, StackClass::K16.bytes() / 2);
}

#[test]
fn many_stacks_come_back_in_one_call_and_their_slabs_are_unmapped_but_one() {
    let pool = pool();
    let class = StackClass::M1;
    let mut stacks = take(&pool, class, 5 * SLAB_BYTES / class.bytes());
    assert_eq!(numbers(&pool, class).mapped_bytes, 5 * SLAB_BYTES);
    pool.unmap(&mut stacks);
    let left = numbers(&pool, class);
    assert_eq!((left.in_use, left.mapped_bytes), (0, SLAB_BYTES));
    assert_eq!(left.warm + left.cold, SLAB_BYTES / class.bytes());
}

#[test]
fn the_memory_of_few_free_stacks_is_kept_and_that_of_the_others_is_given_back() {
    let pool = pool();
    let class = StackClass::K16;
    let mut stacks = take(&pool, class, 3000);
    stacks.iter().for_each(|stack| touch(stack, 1));
    // One stack stays in use, so that nothing is unmapped.
    let kept = stacks.swap_remove(1500);
    pool.unmap(&mut stacks);
    let left = numbers(&pool, class);
    assert_eq!(left.warm, class::WARM_MAX);
    assert_eq!(left.cold, 2999 - class::WARM_MAX);
    assert_eq!(left.trims, left.cold as u64);
    let resident = |stack: &StackMemory| {
        let mut pages = vec![0; usable(stack) / pool.page_bytes];
        memory::residents(stack.limit(), pool.page_bytes, &mut pages).unwrap();
        pages.iter().filter(|page| **page & 1 != 0).count()
    };
    let with_memory = stacks.iter().filter(|stack| resident(stack) == 1).count();
    let without = stacks.iter().filter(|stack| resident(stack) == 0).count();
    assert_eq!((with_memory, without), (left.warm, left.cold));
    assert_eq!(lowest(&kept), 1, "the stack that is in use was left alone");
    give(&pool, kept);
}

#[test]
fn stacks_come_from_the_lowest_slab_that_has_any() {
    let pool = pool();
    let class = StackClass::M8;
    let per_slab = SLAB_BYTES / class.bytes();
    let mut stacks = take(&pool, class, 3 * per_slab);
    stacks.sort_unstable_by_key(StackMemory::limit);
    let (lowest, highest) = (range(&stacks[0]), range(stacks.last().unwrap()));
    let high = stacks.pop().unwrap();
    give(&pool, high);
    let low = stacks.swap_remove(0);
    give(&pool, low);
    let first = pool.map(class).unwrap();
    let second = pool.map(class).unwrap();
    assert_eq!((range(&first), range(&second)), (lowest, highest));
    stacks.extend([first, second]);
    pool.unmap(&mut stacks);
}

#[test]
fn guards_hold_below_stacks_that_were_discarded_with_their_neighbours() {
    let pool = pool();
    let class = StackClass::K64;
    let mut stacks = take(&pool, class, 2000);
    let kept = stacks.pop().unwrap();
    pool.unmap(&mut stacks);
    for stack in &stacks {
        let guard = NonNull::new(stack.limit().as_ptr().wrapping_sub(1)).unwrap();
        assert!(!memory::is_readable(guard), "a guard is gone");
    }
    give(&pool, kept);
}

#[test]
fn a_cleared_stack_tells_how_deep_it_was_used() {
    let pool = pool();
    let stack = pool.map(StackClass::K256).unwrap();
    touch(&stack, 7);
    let all = memory::pages(stack.limit(), usable(&stack));
    // SAFETY: a stack that this test owns (I-3).
    unsafe { memory::discard(&[all]) }.unwrap();
    let write = |below: usize, value: u8| {
        let there = stack.base().as_ptr().wrapping_sub(below);
        // SAFETY: within a stack that this test owns (I-3).
        unsafe { there.write_volatile(value) };
    };
    // SAFETY: cleared above, and nobody runs on it (I-3).
    let depth = || unsafe { pool.depth(&stack) };
    assert_eq!(depth(), Some(0));
    write(100, 1);
    assert_eq!(depth(), Some(104), "by words");
    write(50_000, 1);
    assert_eq!(depth(), Some(50_000));
    write(60_000, 0);
    let page = pool.page_bytes;
    assert_eq!(depth(), Some(60_000_usize.next_multiple_of(page)), "zeros");
    give(&pool, stack);
}

/// In one test: the number of split guards is the whole process's.
#[test]
fn without_light_guards_stacks_are_capped_before_mappings_run_out() {
    let before = SPLITS.load(Ordering::Relaxed);
    let pool = splitting(before + 2);
    let first = pool.map(StackClass::K16).unwrap();
    let second = pool.map(StackClass::K16).unwrap();
    let full = pool.map(StackClass::K16).unwrap_err();
    assert_eq!(full, exhausted(before + 2, SPLITTING));
    let text = full.to_string();
    assert!(text.contains("45 %"), "{text}");
    assert!(text.contains("raise vm.max_map_count"), "{text}");
    touch(&first, 1);
    give(&pool, first);
    let again = pool.map(StackClass::K16).expect("one was given back");
    touch(&again, 1);
    give(&pool, again);
    give(&pool, second);
    drop(pool);
    assert_eq!(SPLITS.load(Ordering::Relaxed), before);
    // Never more than the kernel bears, whatever is asked for.
    assert_eq!(splitting(usize::MAX).splits_max, splits_max());
}

#[test]
fn a_pool_that_is_dropped_leaves_the_stacks_that_are_in_use() {
    let pool = pool();
    let class = StackClass::M8;
    let mut stacks = take(&pool, class, 2 * SLAB_BYTES / class.bytes());
    stacks.sort_unstable_by_key(StackMemory::limit);
    let abandoned = stacks.pop().unwrap();
    touch(&abandoned, 3);
    let page = pool.page_bytes;
    let inside = stacks[0].limit().addr().get();
    pool.unmap(&mut stacks);
    drop(pool);
    assert_eq!(lowest(&abandoned), 3);
    assert!(slabs::find(abandoned.limit().addr().get(), page).is_some());
    assert!(slabs::find(inside, page).is_none(), "the slab beside it");
}

/// Counts what it is told, and looks whether it could use the pool meanwhile.
struct Subscriber(Arc<StackPool>, Arc<AtomicUsize>);

impl tracing::Subscriber for Subscriber {
    fn enabled(&self, about: &tracing::Metadata<'_>) -> bool {
        about.module_path() == Some("host_linux::stacks")
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, _: &tracing::Event<'_>) {
        let locked = self.0.classes.iter().any(|class| class.try_lock().is_err());
        assert!(!locked, "told under a lock");
        self.1.fetch_add(1, Ordering::Relaxed);
    }

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}

#[test]
fn that_guards_split_mappings_is_told_once_and_under_no_lock() {
    let pool = Arc::new(pool());
    let class = StackClass::K256;
    let at_once = GUARDED_AT_ONCE / class.bytes();
    let mut stacks = take(&pool, class, at_once);
    stacks.sort_unstable_by_key(StackMemory::limit);
    // Locked pages take no light guards: the next stack's guard is a mapping of its own.
    let next = step(stacks[0].limit(), GUARDED_AT_ONCE - pool.page_bytes);
    memory::lock(memory::pages(next, pool.page_bytes)).expect("a page can be locked");
    let told = Arc::new(AtomicUsize::new(0));
    let subscriber = Subscriber(Arc::clone(&pool), Arc::clone(&told));
    tracing::dispatcher::set_global_default(subscriber.into())
        .expect("no other test here sets a subscriber");
    stacks.extend(take(&pool, class, at_once));
    assert_eq!(told.load(Ordering::Relaxed), 1);
    pool.unmap(&mut stacks);
}
