//! The two ends of a TLS session.

pub use crate::client::{Client, ClientOptions};
pub use crate::server::{Outcomes, Server};
