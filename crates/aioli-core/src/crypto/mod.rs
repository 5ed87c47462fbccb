//! Typed cryptography.
