//! The host itself: what a program makes once and hands to the runtime.

extern crate alloc;

use alloc::{boxed::Box, sync::Arc};

use fiber_core::env::{Caps, Env, EnvError, HostInfo, Port, PortConfig, Trace, Watch, WorkerId};

use crate::{
    config::{Affinity, Config},
    driver::Driver,
    offload::Pool,
    overflow,
    stacks::StackPool,
    threads,
};

/// Linux as an injected world.
///
/// ```
/// use fiber_core::env::Env;
/// use host_linux::{Config, Io, Linux};
///
/// let linux = Linux::new(Config::default().io(Io::Poll))?;
/// assert_eq!(linux.describe().driver, "poll");
/// # Ok::<(), fiber_core::env::EnvError>(())
/// ```
pub struct Linux {
    pub(crate) stacks: StackPool,
    pub(crate) pool: Pool,
    pub(crate) affinity: Affinity,
    driver: Driver,
    caps: Caps,
}

impl Linux {
    /// Chooses a driver, says which in one log line, and installs what the whole process shares:
    /// the thread slot and the overflow report.
    ///
    /// # Errors
    /// When `HOST_LINUX_IO` is set to an unknown value; when io_uring was asked for and is not to
    /// be had; when the process is out of descriptors.
    pub fn new(config: Config) -> Result<Arc<Self>, EnvError> {
        let driver = Driver::choose(&config)?;
        tracing::info!(
            target: "host_linux",
            driver = driver.name(),
            reason = driver.reason(),
            "i/o driver chosen",
        );
        threads::HOOKS.install();
        overflow::install();
        Ok(Arc::new(Self {
            stacks: StackPool::new(config.stacks_max, config.guard_pages, config.guards),
            pool: Pool::new(config.helpers),
            affinity: config.affinity,
            caps: driver.caps(),
            driver,
        }))
    }
}

impl Env for Linux {
    fn open_port(
        &self,
        _worker: WorkerId,
        _config: &PortConfig,
    ) -> Result<Box<dyn Port>, EnvError> {
        self.driver.open_port()
    }

    fn caps(&self) -> &Caps {
        &self.caps
    }

    fn watch(&self) -> Option<&dyn Watch> {
        Some(self)
    }

    fn trace(&self) -> Option<&dyn Trace> {
        Some(self)
    }

    fn describe(&self) -> HostInfo {
        HostInfo::new("host-linux", self.driver.name(), self.driver.reason())
    }
}

impl core::fmt::Debug for Linux {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Linux({})", self.describe())
    }
}
