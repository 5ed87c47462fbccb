//! What passes, what is said instead, and what is kept back.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

fn instead(text: &str) -> Verdict {
    Verdict::Instead(text.as_bytes().to_vec())
}

#[test]
fn what_a_client_says_tells_nothing_about_it() {
    let filter = ClientFilter::default();
    for (line, verdict) in [
        ("NICK me", Verdict::Pass),
        ("@+typing=done PRIVMSG #i2p :hello", Verdict::Pass),
        ("PRIVMSG #i2p :hello you", Verdict::Pass),
        ("privmsg #i2p hello", Verdict::Pass),
        ("PRIVMSG #i2p :\x01ACTION waves\x01", Verdict::Pass),
        ("PRIVMSG you :\x01VERSION\x01", Verdict::Drop),
        ("PRIVMSG you :text \x01VERSION\x01", Verdict::Drop),
        ("PRIVMSG you :\x01ACTION x\x01\x01VERSION\x01", Verdict::Drop),
        ("PRIVMSG you :\x01ACTION x\x01 VERSION", Verdict::Drop),
        ("PRIVMSG you :\x01DCC SEND secret 3232235777 1024 5\x01", Verdict::Drop),
        ("PRIVMSG you \x01TIME\x01", Verdict::Drop),
        ("NOTICE you :\x01VERSION irssi v1.4 on my-laptop\x01", Verdict::Drop),
        ("NOTICE you :DCC Send file (192.168.1.2)", Verdict::Drop),
        ("NOTICE you :dcc Send file (192.168.1.2)", Verdict::Drop),
        ("NOTICE you :hello", Verdict::Pass),
        ("USER me laptop.lan irc.i2p :My Name", instead("USER me 0 * :My Name")),
        ("USER me 8 * :My Name", instead("USER me 8 * :My Name")),
        ("USER me", Verdict::Drop),
        ("PART #i2p :my client 1.0", instead("PART #i2p")),
        ("PART :#i2p my client 1.0", instead("PART #i2p")),
        ("QUIT :my client 1.0", instead("QUIT :leaving")),
        ("PING 12 192.168.1.2", instead("PING :12")),
        ("PING :irc.i2p", Verdict::Pass),
        (":me!a@laptop PRIVMSG #i2p :x", Verdict::Drop),
        ("@tag :me PRIVMSG #i2p :x", Verdict::Drop),
        ("LOCALTIME", Verdict::Drop),
        ("WEBIRC x y laptop 192.168.1.2", Verdict::Drop),
        ("", Verdict::Drop),
        ("\u{fe}\u{ff}", Verdict::Drop),
    ] {
        assert_eq!(filter.judge_client(line.as_bytes()), verdict, "{line:?}");
    }
}

#[test]
fn what_a_server_says_asks_a_client_for_nothing() {
    let filter = ClientFilter::default();
    for (line, verdict) in [
        (":irc.i2p 001 me :Welcome", Verdict::Pass),
        (":you!a@b PRIVMSG me :hello", Verdict::Pass),
        ("@time=x :you!a@b PRIVMSG me :\x01ACTION waves\x01", Verdict::Pass),
        (":you!a@b PRIVMSG me :\x01VERSION\x01", Verdict::Drop),
        (":you!a@b PRIVMSG me :\x01DCC CHAT chat 1 2\x01", Verdict::Drop),
        (":you!a@b PRIVMSG me :\x01ACTION x\x01\x01PING 1\x01", Verdict::Drop),
        ("PING :irc.i2p", Verdict::Pass),
        (":a JOIN #i2p", Verdict::Pass),
        (":a UNKNOWN x", Verdict::Drop),
        ("0001 x", Verdict::Drop),
    ] {
        assert_eq!(filter.judge_server(line.as_bytes()), verdict, "{line:?}");
    }
}

#[test]
fn an_answer_is_what_the_client_expects() {
    let filter = ClientFilter::default();
    assert_eq!(filter.judge_client(b"PING 12 192.168.1.2"), instead("PING :12"));
    assert_eq!(filter.judge_server(b":irc.i2p PONG irc.i2p :12"), instead("PONG 192.168.1.2 :12"));
    assert_eq!(filter.judge_server(b":irc.i2p PONG irc.i2p :13"), Verdict::Pass);
}

#[test]
fn a_peer_is_who_it_is() {
    let host = "aaaa.b32.i2p";
    for (line, verdict) in [
        ("USER me laptop irc.i2p :Me", instead("USER me aaaa.b32.i2p irc.i2p :Me")),
        ("user me 0 * :Me", instead("USER me aaaa.b32.i2p * :Me")),
        ("USER me x :Me", Verdict::Drop),
        ("WEBIRC pass cgiirc other.b32.i2p 127.0.0.1", Verdict::Drop),
        ("@x webirc pass cgiirc other 127.0.0.1", Verdict::Drop),
        (":x WEBIRC pass cgiirc other 127.0.0.1", Verdict::Drop),
        ("SERVER irc.other :x", Verdict::Drop),
        ("POST / HTTP/1.1", Verdict::Drop),
        ("NICK me", Verdict::Pass),
        ("PRIVMSG #i2p :\x01VERSION\x01", Verdict::Pass),
    ] {
        assert_eq!(from_peer(line.as_bytes(), host), verdict, "{line:?}");
    }
}

#[tokio::test]
async fn lines_are_told_apart_however_they_come() {
    let counters = Counters::default();
    let filter = ClientFilter::default();
    let (mut program, from) = tokio::io::duplex(64);
    let (to, mut server) = tokio::io::duplex(4096);
    let program_says = async {
        for piece in [
            "NICK a\r\nPRIV",
            "MSG #a :b\rQU",
            "IT :secret\n\n",
            "VERSION\r\nJOIN #a\r\n",
            "NICK \0x\r\n",
            "MODE",
        ] {
            program.write_all(piece.as_bytes()).await.unwrap();
        }
        drop(program);
    };
    let (pumped, ()) =
        tokio::join!(pump(from, to, &counters, |line| filter.judge_client(line)), program_says);
    pumped.unwrap();
    let mut seen = String::new();
    server.read_to_string(&mut seen).await.unwrap();
    assert_eq!(seen, "NICK a\r\nPRIVMSG #a :b\r\nQUIT :leaving\r\nJOIN #a\r\n", "what has no end is no line");
    assert_eq!(counters.read().refused_requests, 2);
}

#[tokio::test]
async fn a_line_without_end_is_not_kept() {
    let counters = Counters::default();
    let (mut peer, from) = tokio::io::duplex(1024);
    let flood = async {
        let mut sent = 0;
        while peer.write_all(&[b'a'; 1024]).await.is_ok() {
            sent += 1024;
        }
        sent
    };
    let pumping = async {
        let pumped = pump(from, tokio::io::sink(), &counters, |_| Verdict::Pass).await;
        assert_eq!(pumped.unwrap_err().kind(), io::ErrorKind::InvalidData);
    };
    let (sent, ()) = tokio::join!(flood, pumping);
    assert!(sent <= MAX_LINE + 4096, "{sent}");
}
