//! Every target on its valid inputs, then on the same ones changed, cut, glued and grown.
//! The changes follow from the target's name, so a failure comes back.

use std::panic::{AssertUnwindSafe, catch_unwind};

use aioli_core::Rng;
use aioli_fuzz_targets::{Target, targets};

/// No input is larger.
const MAX_INPUT: usize = 4_096;
/// Numbers that lengths and counts like to be.
const NUMBERS: [u8; 8] = [0, 1, 2, 15, 127, 128, 254, 255];

fn mutate(input: &mut Vec<u8>, seeds: &[Vec<u8>], rng: &mut Rng) {
    for _ in 0..rng.between(1, 4) {
        let at = rng.up_to(input.len() as u64) as usize;
        match rng.up_to(6) {
            0 => input.truncate(at),
            1 => input.insert(at, rng.up_to(255) as u8),
            2 => {
                let end = (at + rng.up_to(40) as usize).min(input.len());
                input.drain(at..end);
            }
            3 => {
                let other = rng.choose(seeds).cloned().unwrap_or_default();
                let from = rng.up_to(other.len() as u64) as usize;
                input.truncate(at);
                input.extend_from_slice(&other[from..]);
            }
            4 => {
                let Some(byte) = input.get_mut(at) else { continue };
                *byte = rng.choose(&NUMBERS).copied().unwrap_or(0);
            }
            5 => {
                let Some(byte) = input.get_mut(at) else { continue };
                *byte ^= 1 << rng.up_to(7);
            }
            _ => {
                let mut junk = vec![0; rng.up_to(30) as usize];
                rng.fill(&mut junk);
                input.splice(at..at, junk);
            }
        }
        input.truncate(MAX_INPUT);
    }
}

fn drive(target: &Target) {
    let mut seed = [0; 32];
    seed.iter_mut().zip(target.name.bytes()).for_each(|(s, n)| *s = n);
    let mut rng = Rng::from_seed(seed);
    let run = |input: &[u8]| {
        let hex = || input.iter().map(|b| format!("{b:02x}")).collect::<String>();
        let outcome = catch_unwind(AssertUnwindSafe(|| (target.run)(input)));
        assert!(outcome.is_ok(), "{} fails on {}", target.name, hex());
    };
    run(&[]);
    target.seeds.iter().for_each(|s| run(s));
    for _ in 0..target.iterations {
        let mut input = rng.choose(&target.seeds).cloned().unwrap_or_default();
        mutate(&mut input, &target.seeds, &mut rng);
        run(&input);
    }
}

fn named(name: &str) -> Target {
    targets().into_iter().find(|t| t.name == name).expect("a target of this name")
}

macro_rules! each {
    ($($name:ident),+ $(,)?) => {
        $(#[test] fn $name() { drive(&named(stringify!($name))); })+

        #[test]
        fn none_is_missing() {
            let tested = [$(stringify!($name)),+];
            assert_eq!(targets().iter().map(|t| t.name).collect::<Vec<_>>(), tested);
            for name in tested {
                let file = format!("{}/../fuzz_targets/{name}.rs", env!("CARGO_MANIFEST_DIR"));
                assert!(std::path::Path::new(&file).exists(), "{file} is missing");
            }
        }
    };
}

each!(
    i2np,
    lease_set2,
    ntcp2_connection,
    ntcp2_frames,
    router_info,
    sam_lines,
    ssu2_blocks,
    ssu2_datagrams,
    ssu2_handshake,
    ssu2_headers,
    ssu2_session,
);
