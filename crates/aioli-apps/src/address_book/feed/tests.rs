//! Lines and commands, right and wrong.

use aioli_core::crypto::Secret;
use aioli_core::crypto::ed25519::SigningKey;
use proptest::prelude::*;

use super::*;

const NOW: Date = Date::from_secs(1_800_000_000);

/// Who signs, with a destination.
pub(crate) struct Signer {
    key: SigningKey,
    pub(crate) destination: Destination,
}

pub(crate) fn signer(seed: u8) -> Signer {
    let key = SigningKey::from_seed(Secret::new([seed; 32]));
    let destination = Destination::create(&key.public(), &[seed; 32]);
    Signer { key, destination }
}

impl Signer {
    pub(crate) fn base64(&self) -> String {
        self.destination.to_base64()
    }

    fn sign(&self, text: &str) -> String {
        base64::encode(&self.key.sign(text.as_bytes()))
    }
}

/// A command whose options are given in the order of their keys; `old` signs first.
pub(crate) fn command(pair: &str, options: &[(&str, &str)], by: &Signer, old: Option<&Signer>) -> String {
    let mut options: BTreeMap<String, String> =
        options.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    let text = |options: &BTreeMap<String, String>| {
        let options: Vec<_> = options.iter().map(|(k, v)| format!("{k}={v}")).collect();
        if options.is_empty() { pair.to_owned() } else { format!("{pair}#!{}", options.join("#")) }
    };
    if let Some(old) = old {
        options.insert("oldsig".into(), old.sign(&text(&options)));
    }
    let signature = by.sign(&text(&options));
    // Where `sig` stands does not matter.
    let rest = options.iter().map(|(k, v)| format!("#{k}={v}")).collect::<String>();
    format!("{pair}#!sig={signature}{rest}")
}

fn action(line: &str) -> Result<Action, LineError> {
    parse(line, NOW).map(|record| record.unwrap().action)
}

#[test]
fn plain_lines_comments_and_nothing() {
    let a = signer(1);
    let record = parse(&format!(" Forum.I2P = {} # comment", a.base64()), NOW).unwrap().unwrap();
    assert_eq!((record.name.as_str(), record.action), ("forum.i2p", Action::Add));
    assert_eq!(record.destination, a.destination);
    for nothing in ["", "  ", "# a comment", "; another", "# with #! in it"] {
        assert_eq!(parse(nothing, NOW), Ok(None), "{nothing}");
    }
    for (line, error) in [
        ("forum.i2p", LineError::Form),
        ("forum.i2p=AAAA", LineError::Destination),
        (&*format!("forum.com={}", a.base64()), LineError::Name(NameError::Suffix)),
        (&*format!("forum.i2p={}", "A".repeat(9_000)), LineError::TooLong),
        (&*format!("a.b32.i2p={}", a.base64()), LineError::Name(NameError::Reserved)),
    ] {
        assert_eq!(parse(line, NOW), Err(error));
    }
}

#[test]
fn each_command_is_read_and_each_signature_counts() {
    let (a, b, c) = (signer(1), signer(2), signer(3));
    let (pair, old) = (format!("forum.i2p={}", a.base64()), b.base64());
    let name = |name| HostName::parse(name).unwrap();
    let old_name = ("oldname", "old.i2p");
    let up = ("oldname", "i2p.i2p");
    let sub = format!("x.i2p.i2p={}", a.base64());
    let known: Vec<(String, Action)> = vec![
        (command(&pair, &[], &a, None), Action::Add),
        (
            command(&pair, &[("action", "addname"), old_name], &a, None),
            Action::AddName { old_name: name("old.i2p") },
        ),
        (
            command(&pair, &[("action", "changename"), old_name], &a, None),
            Action::ChangeName { old_name: name("old.i2p") },
        ),
        (
            command(&pair, &[("action", "changedest"), ("olddest", &old)], &a, Some(&b)),
            Action::ChangeDestination { old: b.destination.clone() },
        ),
        (
            command(&pair, &[("action", "adddest"), ("olddest", &old)], &a, Some(&b)),
            Action::AddDestination { old: b.destination.clone() },
        ),
        (
            command(&sub, &[("action", "addsubdomain"), up, ("olddest", &old)], &a, Some(&b)),
            Action::AddSubdomain { old_name: name("i2p.i2p"), old: b.destination.clone() },
        ),
        (command(&pair, &[("action", "update"), ("k1", "v1")], &a, None), Action::Update),
        (
            command("", &[("action", "remove"), ("name", "forum.i2p"), ("dest", &a.base64())], &a, None),
            Action::Remove,
        ),
        (
            command("", &[("action", "removeall"), ("name", "forum.i2p"), ("dest", &a.base64())], &a, None),
            Action::RemoveAll,
        ),
    ];
    for (line, expected) in known {
        assert_eq!(action(&line), Ok(expected), "{line}");
        // Whatever is signed and changed by one letter is refused.
        let forged =
            if line.starts_with("#!") { line.replacen("name=f", "name=g", 1) } else { format!("x{line}") };
        assert_ne!(forged, line);
        assert_eq!(action(&forged), Err(LineError::Signature), "{forged}");
    }
    let stolen = command(&pair, &[("action", "changedest"), ("olddest", &old)], &a, Some(&c));
    assert_eq!(action(&stolen), Err(LineError::Signature));
    let unsigned = command(&pair, &[("action", "changedest"), ("olddest", &old)], &a, None);
    assert_eq!(action(&unsigned), Err(LineError::MissingKey));
}

#[test]
fn what_is_not_a_command_is_refused() {
    let a = signer(1);
    let pair = format!("forum.i2p={}", a.base64());
    let removal =
        [("action", "remove"), ("name", "forum.i2p"), ("dest", &*a.base64())].map(|(k, v)| (k, v.to_owned()));
    let removal: Vec<_> = removal.iter().map(|(k, v)| (*k, &**v)).collect();
    for (line, error) in [
        (command(&pair, &[("action", "explode")], &a, None), LineError::UnknownAction),
        (command(&pair, &[("action", "update"), ("expires", "1700000000")], &a, None), LineError::Expired),
        (command(&pair, &removal, &a, None), LineError::Form),
        (command("", &[("action", "update"), removal[1], removal[2]], &a, None), LineError::Form),
        (format!("{pair}#!action=update#k=v"), LineError::MissingKey),
        (format!("{pair}#!k=v#k=v"), LineError::DuplicateKey),
        (format!("{pair}#!k"), LineError::Form),
        (format!("#!name=forum.i2p#dest={}", a.base64()), LineError::MissingKey),
        (
            command(
                &pair,
                &[("action", "addsubdomain"), ("oldname", "um.i2p"), ("olddest", &a.base64())],
                &a,
                Some(&a),
            ),
            LineError::Form,
        ),
    ] {
        assert_eq!(action(&line), Err(error), "{line}");
    }
    assert_eq!(action(&format!("{pair}#!date=1")), Ok(Action::Add), "no signature, as a plain line");
}

proptest! {
    #[test]
    fn no_line_makes_it_panic(line in "[a-z.=#! é]{0,80}", rest in any::<String>()) {
        let _ = parse(&line, NOW);
        let _ = parse(&format!("a.i2p={}#!{rest}", signer(1).base64()), NOW);
    }
}
