//! What the first payloads of a connection show: of real peers, however they are cut, and of
//! peers that mean harm.

mod captures;
mod cuts;
mod hostile;
mod setup;
mod wire;
