//! How a command fails: one sentence for the reader, an exit code for the caller.

use std::{fmt, process::ExitCode};

/// Why a command failed.
#[derive(Debug)]
pub struct Failure {
    /// Whose fault it is.
    pub exit: Exit,
    error: anyhow::Error,
}

/// The exit codes, 0 apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// 1: it failed while running.
    Running,
    /// 2: wrong usage or configuration.
    Usage,
    /// 3: the host can't do it: no privilege, kernel too old, no such interface.
    Host,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Running => 1,
            Exit::Usage => 2,
            Exit::Host => 3,
        })
    }
}

impl Failure {
    /// A wrong usage or configuration.
    pub fn usage(error: impl Into<anyhow::Error>) -> Self {
        Self::new(Exit::Usage, error)
    }

    /// Something this host lacks.
    pub fn host(error: impl Into<anyhow::Error>) -> Self {
        Self::new(Exit::Host, error)
    }

    fn new(exit: Exit, error: impl Into<anyhow::Error>) -> Self {
        Self {
            exit,
            error: error.into(),
        }
    }
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::new(Exit::Running, error)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:#}", self.error)
    }
}
