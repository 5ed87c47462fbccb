//! Look-ups in an address book of 100,000 names.

use std::fmt::Write;
use std::hint::black_box;

use aioli_apps::address_book::AddressBook;
use aioli_core::Rng;
use aioli_core::crypto::ed25519::SigningKey;
use aioli_wire::Destination;
use divan::Bencher;

const NAMES: usize = 100_000;

fn main() {
    divan::main();
}

/// Names in a directory, as subscriptions leave them.
fn directory() -> tempfile::TempDir {
    let key = SigningKey::generate(&mut Rng::from_seed([1; 32])).public();
    let mut text = String::new();
    for n in 0..NAMES {
        let mut seed = [0; 32];
        seed.iter_mut().zip(n.to_le_bytes()).for_each(|(to, from)| *to = from);
        let destination = Destination::create(&key, &seed).to_base64();
        writeln!(text, "site-{n}.i2p={destination}").expect("a string takes it");
    }
    let directory = tempfile::tempdir().expect("a directory");
    std::fs::write(directory.path().join("hosts.txt"), text).expect("a file");
    directory
}

#[divan::bench]
fn lookup(bencher: Bencher<'_, '_>) {
    let directory = directory();
    let book = AddressBook::open(directory.path()).expect("a book");
    let mut n = 0;
    bencher.bench_local(|| {
        n = (n + 7_919) % NAMES;
        black_box(book.lookup(&format!("site-{n}.i2p"))).expect("the name")
    });
}

#[divan::bench(sample_count = 5)]
fn open(bencher: Bencher<'_, '_>) {
    let directory = directory();
    bencher.bench_local(|| black_box(AddressBook::open(directory.path())).expect("a book"));
}
