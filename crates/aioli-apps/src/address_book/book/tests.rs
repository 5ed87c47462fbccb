//! What records do to a list.

use super::super::feed::tests::{command, signer};
use super::*;

const NOW: Date = Date::from_secs(1_800_000_000);

fn apply(book: &mut Book, line: &str) -> Outcome {
    book.apply(&feed::parse(line, NOW).unwrap().unwrap(), |name| name == "mine.i2p")
}

#[test]
fn first_come_first_kept_and_only_owners_change_anything() {
    let (a, b, c) = (signer(1), signer(2), signer(3));
    let mut book = Book::default();
    let of = |name: &str, who: &feed::tests::Signer| format!("{name}={}", who.base64());
    assert_eq!(apply(&mut book, &of("forum.i2p", &a)), Outcome::Changed);
    assert_eq!(apply(&mut book, &of("forum.i2p", &a)), Outcome::Known);
    assert_eq!(apply(&mut book, &of("FORUM.i2p", &b)), Outcome::Taken);
    assert_eq!(apply(&mut book, &of("mine.i2p", &b)), Outcome::Taken);
    // A destination of somebody else signs for nothing here.
    let theft = [("action", "changedest"), ("olddest", &*b.base64())].map(|(k, v)| (k, v.to_owned()));
    let theft: Vec<_> = theft.iter().map(|(k, v)| (*k, &**v)).collect();
    assert_eq!(apply(&mut book, &command(&of("forum.i2p", &c), &theft, &c, Some(&b))), Outcome::Taken);
    let removal =
        |who: &str| command("", &[("action", "remove"), ("name", "forum.i2p"), ("dest", who)], &b, None);
    assert_eq!(apply(&mut book, &removal(&b.base64())), Outcome::Taken);
    // Its own does.
    let a64 = a.base64();
    let mv = [("action", "changedest"), ("olddest", &*a64)];
    assert_eq!(apply(&mut book, &command(&of("forum.i2p", &b), &mv, &b, Some(&a))), Outcome::Changed);
    assert_eq!(book.get("forum.i2p"), Some(b.destination.clone()));
    let rename = [("action", "changename"), ("oldname", "forum.i2p")];
    assert_eq!(apply(&mut book, &command(&of("board.i2p", &b), &rename, &b, None)), Outcome::Changed);
    assert_eq!((book.get("forum.i2p"), book.get("board.i2p")), (None, Some(b.destination.clone())));
    let alias = [("action", "addname"), ("oldname", "board.i2p")];
    assert_eq!(apply(&mut book, &command(&of("mine.i2p", &b), &alias, &b, None)), Outcome::Taken);
    assert_eq!(apply(&mut book, &command(&of("desk.i2p", &b), &alias, &b, None)), Outcome::Changed);
    let orphan = [("action", "addname"), ("oldname", "nobody.i2p")];
    assert_eq!(apply(&mut book, &command(&of("x.i2p", &b), &orphan, &b, None)), Outcome::Unfounded);
    let all = command("", &[("action", "removeall"), ("name", "x.i2p"), ("dest", &b.base64())], &b, None);
    assert_eq!(apply(&mut book, &all), Outcome::Changed);
    assert!(book.is_empty());
}

#[test]
fn a_list_is_what_it_was_after_writing_and_reading() {
    let (a, b) = (signer(1), signer(2));
    let mut book = Book::default();
    let pair = format!("forum.i2p={}", a.base64());
    apply(&mut book, &command(&pair, &[], &a, None));
    let a64 = a.base64();
    let further = [("action", "adddest"), ("olddest", &*a64)];
    let line = command(&format!("forum.i2p={}", b.base64()), &further, &b, Some(&a));
    assert_eq!(apply(&mut book, &line), Outcome::Changed);
    assert_eq!(apply(&mut book, &line), Outcome::Known);
    assert_eq!(book.get("forum.i2p"), Some(a.destination.clone()), "the first stays the first");
    let text = format!("# a comment\nnonsense\n{}", book.to_text());
    let (again, bad) = Book::read(&text, NOW);
    assert_eq!((again, bad), (book, 1));
    assert!(text.contains("#!sig="), "what vouches for a name is handed on with it");
}
