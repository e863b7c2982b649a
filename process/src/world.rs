//! What a process takes from the world it runs in. The same code runs in production, in tests and under simulation,
//! which differ in what they hand in here and in nothing else.

use crate::{Clock, Entropy, Executor, Failpoints, Network, Result, SystemClock, SystemEntropy, Tcp};
use std::sync::Arc;

#[derive(Clone)]
pub struct World {
    pub clock: Arc<dyn Clock>,
    pub entropy: Arc<dyn Entropy>,
    pub network: Arc<dyn Network>,
    pub executor: Executor,
    /// Where actors are to panic; none but in tests.
    pub failpoints: Failpoints,
}

impl World {
    /// The operating system's.
    pub fn system() -> Result<World> {
        Ok(World {
            clock: Arc::new(SystemClock),
            entropy: Arc::new(SystemEntropy),
            network: Arc::new(Tcp),
            executor: Executor::Threads,
            failpoints: Failpoints::from_environment()?,
        })
    }
}
