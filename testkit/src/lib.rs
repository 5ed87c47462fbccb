//! What tests share. Nothing here is part of a router.

pub mod program;
pub mod proxy;
pub mod reseed;
