//! Networks of `Tunnels` that exchange their outputs.
