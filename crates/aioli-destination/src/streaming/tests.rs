//! Two and more ends over a simulated link in virtual time.

mod behaviour;
mod foreign;
mod hostile;
mod link;
mod throughput;
