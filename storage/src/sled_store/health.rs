//! Whether a store still serves. After the first failure on the way to disk it refuses everything, for ever.

use crate::{Error, ErrorKind, Result};
use std::fmt::Display;
use std::sync::OnceLock;

#[derive(Default)]
pub(crate) struct Health {
    /// What failed first.
    failure: OnceLock<String>,
}

impl Health {
    pub(crate) fn check(&self) -> Result<()> {
        match self.failure.get() {
            None => Ok(()),
            Some(failure) => Err(Error::new(
                ErrorKind::Poisoned,
                format!("the store serves no longer, since it {failure}; end this process and start it again"),
            )),
        }
    }

    /// Notes the failure, unless there was one before, and returns the error that everybody gets from now on.
    pub(crate) fn poison(&self, what: &str, cause: impl Display) -> Error {
        self.failure.get_or_init(|| format!("{what}: {cause}"));
        match self.check() {
            Err(error) => error,
            Ok(()) => unreachable!("the failure was just noted"),
        }
    }
}
