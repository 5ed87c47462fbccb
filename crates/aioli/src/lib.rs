//! The programs `i2p-router` and `aioli`: command line, configuration, logs.

pub mod address;
pub mod check;
pub mod console;
pub mod doctor;
pub mod import;
pub mod manual;
pub mod service;
pub mod services;
pub mod settings;
pub mod setup;
pub mod terminal;
pub mod testnet;
pub mod top;
pub mod tunnel;
