//! The lists on disk.

use super::feed::tests::{command, signer};
use super::subscribe::{Report, add, apply_feed, list};
use super::*;

fn name(text: &str) -> HostName {
    HostName::parse(text).unwrap()
}

#[test]
fn private_names_come_first_and_feeds_change_only_the_common_list() {
    let dir = tempfile::tempdir().unwrap();
    let book = AddressBook::open(dir.path()).unwrap();
    let (a, b, c) = (signer(1), signer(2), signer(3));
    book.set(List::Private, &name("x.i2p"), &a.destination).unwrap();
    book.set(List::User, &name("y.i2p"), &a.destination).unwrap();
    let alias = [("action", "addname"), ("oldname", "base.i2p")];
    let feed = [
        command(&format!("alias.i2p={}", b.base64()), &alias, &b, None),
        format!("base.i2p={}", b.base64()),
        format!("x.i2p={}", b.base64()),
        format!("y.i2p={}", b.base64()),
        format!("z.i2p={}\r", c.base64()),
        command(
            &format!("lost.i2p={}", b.base64()),
            &[("action", "addname"), ("oldname", "none.i2p")],
            &b,
            None,
        ),
        "nonsense".to_owned(),
    ];
    let report = apply_feed(&book, &feed.join("\n"), now()).unwrap();
    assert_eq!(report, Report { unchanged: false, changed: 4, taken: 1, refused: 2 });
    assert_eq!(book.lookup("x.i2p"), Some((a.destination.clone(), List::Private)));
    assert_eq!(book.lookup("y.i2p"), Some((a.destination, List::User)));
    assert_eq!(book.lookup("z.i2p"), Some((c.destination, List::Hosts)));
    assert_eq!(book.lookup("alias.i2p"), Some((b.destination, List::Hosts)));
    assert_eq!(book.lookup("lost.i2p"), None);
    let again = AddressBook::open(dir.path()).unwrap();
    assert_eq!((again.len(List::Private), again.len(List::User), again.len(List::Hosts)), (1, 1, 4));
    // Nothing but the lists is left behind.
    let mut files: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|f| f.unwrap().file_name()).collect();
    files.sort();
    assert_eq!(files, ["hosts.lock", "hosts.txt", "privatehosts.txt", "userhosts.txt"]);
}

#[test]
fn programs_do_not_overwrite_each_others_names() {
    let dir = tempfile::tempdir().unwrap();
    let (one, other) = (AddressBook::open(dir.path()).unwrap(), AddressBook::open(dir.path()).unwrap());
    one.set(List::User, &name("a.i2p"), &signer(1).destination).unwrap();
    other.set(List::User, &name("b.i2p"), &signer(2).destination).unwrap();
    let at_once: Vec<_> = (0..8_u8)
        .map(|i| {
            let dir = dir.path().to_owned();
            std::thread::spawn(move || {
                let book = AddressBook::open(&dir).unwrap();
                book.set(List::User, &name(&format!("n{i}.i2p")), &signer(i).destination).unwrap();
            })
        })
        .collect();
    at_once.into_iter().for_each(|t| t.join().unwrap());
    let all = AddressBook::open(dir.path()).unwrap();
    assert_eq!(all.len(List::User), 10);
}

#[test]
fn subscriptions_are_of_i2p_only() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(list(dir.path()).unwrap(), [subscribe::DEFAULT]);
    for url in
        ["http://example.com/hosts.txt", "https://a.i2p/", "http://127.0.0.1/", "a.i2p", "http://u:p@a.i2p/"]
    {
        assert!(add(dir.path(), url).is_err(), "{url}");
    }
    assert!(add(dir.path(), "http://a.i2p/hosts.txt").unwrap());
    assert!(!add(dir.path(), "http://a.i2p/hosts.txt").unwrap());
    assert_eq!(list(dir.path()).unwrap(), [subscribe::DEFAULT, "http://a.i2p/hosts.txt"]);
}
