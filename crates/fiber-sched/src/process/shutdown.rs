//! Ending all processes of a runtime in good order.

use fiber_core::operation::perform;

use super::SHUTDOWN;
use crate::runtime::Runtime;

impl Runtime {
    /// Ends the processes that the runtime's first one has made, and with them all others: the
    /// youngest first, each when the one before it has ended. They are cancelled for
    /// [`SHUTDOWN`](crate::SHUTDOWN) and have their graces to end. From here on the first process
    /// makes no other one: who tries is told
    /// [`SpawnError::ShuttingDown`](crate::SpawnError::ShuttingDown). The others still can, for as
    /// long as they are there: what they have made ends with them.
    ///
    /// Unlike the end of the main function, which cancels all at once, this leaves to each what it
    /// stands on. It is for the main function: have it wait for whatever should end the program,
    /// such as a signal, as one operation; then call this, and return, as an
    /// `std::process::ExitCode` for instance.
    ///
    /// ```
    /// # fn main() -> Result<(), fiber_sched::RunError> {
    /// # let env = fiber_core::script::ScriptEnv::new();
    /// use fiber_core::operation::{Operation, timeout};
    /// use fiber_sched::{Process, Runtime, park};
    ///
    /// let code = Runtime::builder(env).run(|| {
    ///     let service = Process::builder().name("service").spawn(park).unwrap();
    ///     // In place of a signal.
    ///     timeout(std::time::Duration::from_secs(1)).perform();
    ///     Runtime::current().expect("this is a fiber").shut_down();
    ///     let exit = service.join().expect_err("it was parked");
    ///     u8::from(!exit.end.is_normal())
    /// })?;
    /// assert_eq!(code, 0);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Suspends
    /// Until they have ended: each within its grace, supervisors when their children have.
    ///
    /// # Cancellation
    /// A cancelled fiber unwinds. So does one of a process that this ends.
    pub fn shut_down(&self) {
        self.shared().begin_to_shut_down();
        while let Some(youngest) = self.shared().processes.youngest() {
            tracing::info!(target: "fiber::sched", process = %youngest, "shutting down");
            youngest.cancel(SHUTDOWN);
            perform(youngest.end_operation());
        }
    }
}
