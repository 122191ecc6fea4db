//! SSTP peers ([MS-SSTP]): a client and a server over rustls, down to the control messages, the
//! crypto binding and PPP, with a switch for everything that goes wrong in the field.
//!
//! Both run on one thread inside a namespace, whatever the number of sessions. What they say of a
//! session ([`Ended`]) is the truth that verdicts are compared to.
//!
//! ```text
//!  SstpClients ─ Session ─ Ended            SstpServer ─ Session ─ Ended
//!      │                                        │
//!  client: set-up, faults                   server: set-up, faults
//!      └───────────────► play: the timeline ◄───┘
//!                        tunnel, ending: echoes, timers, endings
//!                   ppp ┘  │  └ inner: IP packets
//!                        wire: SSTP packets, one TLS record each
//! ```

mod binding;
mod client;
mod ended;
mod ending;
mod event_loop;
mod http;
mod inner;
mod manners;
mod message;
mod play;
mod ppp;
mod server;
mod setup;
mod socket;
mod timeline;
mod tls;
mod tunnel;
mod wire;

pub use client::{ClientFault, ClientOptions, SstpClients, run as run_client};
pub use ended::{By, Ended, How, Phase, RoundTrips, Session};
pub use inner::{LONGEST, SHORTEST};
pub use manners::{GiveUp, Keepalive, LcpEcho, Timers};
pub use ppp::{Credentials, Method};
pub use server::{Authentication, Gate, Refusal, ServerOptions, SstpServer};
pub use timeline::{Ending, Step, Timeline, Traffic};
pub use tls::{ClientTls, Offer, ServerTls, Trust};
