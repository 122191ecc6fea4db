//! Kinds of interfaces that servers have.

use anyhow::Result;

/// A session over each.
pub(crate) fn carry_sessions() -> Result<String> {
    Ok("todo".into())
}
