use host_std::{set_aside, works};
use std::{
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::Mutex,
    thread::panicking,
};

struct OnDrop<F: FnMut()>(F);
impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

#[test]
fn proto() {
    assert!(works());
    for _ in 0..10_000 {
        let _ = catch_unwind(|| {
            let _d = OnDrop(|| {
                assert!(panicking());
                let _ = catch_unwind(|| {
                    let _d = OnDrop(|| {
                        let m = Mutex::new(());
                        let g = m.lock().unwrap();
                        set_aside(&mut || {
                            assert!(!panicking());
                            let m = Mutex::new(());
                            let _ = catch_unwind(AssertUnwindSafe(|| {
                                let _g = m.lock();
                                assert!(!panicking());
                                resume_unwind(Box::new(()))
                            }));
                            assert!(m.is_poisoned());
                            assert!(!panicking());
                        });
                        drop(g);
                        assert!(panicking());
                    });
                    resume_unwind(Box::new(()));
                });
                assert!(panicking());
            });
            resume_unwind(Box::new(()));
        });
        assert!(!panicking());
    }
}
