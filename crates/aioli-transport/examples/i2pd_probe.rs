#![allow(missing_docs, clippy::all)]
use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::*;
use std::sync::Arc;
use std::time::{Instant as SI, SystemTime, UNIX_EPOCH};
use aioli_core::crypto::{ed25519::SigningKey, x25519::PrivateKey};
use aioli_core::*;
use aioli_transport::*;
use aioli_wire::i2np::*;
use aioli_wire::router_info::*;
use aioli_wire::*;

struct Node { t: Transport, rng: Rng, ri: Arc<Verified<RouterInfo>>, l: TcpListener, socks: HashMap<ConnId, (TcpStream, Vec<u8>)>, name: &'static str, got: Vec<Message>, fwd: bool, out_bytes: usize }
fn now(s: SI) -> Now { Now { mono: Instant::from_micros(s.elapsed().as_micros() as u64 + 1_000_000), wall: Date::from_millis(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64) } }
impl Node {
    fn new(name: &'static str, seed: u8, port: u16, s: SI) -> Self {
        let mut b=[0u8;32]; std::fs::File::open("/dev/urandom").unwrap().read_exact(&mut b).unwrap(); b[0]=seed;
        let mut rng = Rng::from_seed(b);
        let sk = SigningKey::generate(&mut rng);
        let id = RouterIdentity::create(&PrivateKey::generate(&mut rng).public(), &sk.public(), &rng.bytes());
        let st = PrivateKey::generate(&mut rng);
        let iv = rng.bytes();
        let addr: SocketAddr = format!("127.0.0.1:{port}").parse().unwrap();
        let options = Mapping::from_pairs([("caps","LR"),("netId","99"),("router.version","0.9.67")]).unwrap();
        let ri = Arc::new(RouterInfo::create(RouterInfoParts { identity: id, published: now(s).wall, addresses: vec![RouterAddress::ntcp2(10,&st.public(),Some((addr,iv))).unwrap()], options }, &sk));
        let mut c = Config::new(st, iv); c.net_id=99; c.private_network=true;
        let mut t = Transport::new(c, rng.fork()); t.set_local(ri.clone());
        let l = TcpListener::bind(addr).unwrap(); l.set_nonblocking(true).unwrap();
        Node { t, rng, ri, l, socks: HashMap::new(), name, got: vec![], fwd: false, out_bytes: 0 }
    }
    fn poll(&mut self, s: SI) {
        let n = now(s);
        let mut rng = self.rng.fork();
        let cx = &mut Cx { now: n, rng: &mut rng };
        if let Ok((sock, from)) = self.l.accept() { sock.set_nonblocking(true).unwrap();
            if let Some(c) = self.t.handle_accepted(from, cx) { println!("{} accepted {from}", self.name); self.socks.insert(c,(sock,vec![])); } }
        self.t.handle_timeout(cx);
        let ids: Vec<_> = self.socks.keys().copied().collect();
        for id in ids { loop { let mut buf=[0u8;8192]; let r = self.socks.get_mut(&id).map(|x| x.0.read(&mut buf)); match r { Some(Ok(0)) => { println!("{} eof {id:?}", self.name); self.socks.remove(&id); self.t.handle_closed(id,cx); break }, Some(Ok(k)) => { self.t.handle_bytes(id,&mut buf[..k],cx); }, Some(Err(e)) if e.kind()==std::io::ErrorKind::WouldBlock => break, Some(Err(e)) => { println!("{} err {e}", self.name); self.socks.remove(&id); self.t.handle_closed(id,cx); break }, None => break } } }
        while let Some(o) = self.t.poll_output() { match o {
            Output::Dial{conn,to} => match TcpStream::connect(to) { Ok(k) => { k.set_nonblocking(true).unwrap(); self.socks.insert(conn,(k,vec![])); self.t.handle_connected(conn,cx) }, Err(e) => { println!("{e}"); self.t.handle_connect_failed(conn,cx) } },
            Output::Transmit(c) => { let mut b = vec![]; while self.t.poll_transmit(c,&mut b,65536,cx) {} self.out_bytes += b.len(); if let Some(x)=self.socks.get_mut(&c) { x.1.extend(b); } }
            Output::Close{conn,reset} => { println!("{} close {conn:?} reset={reset}", self.name); if let Some((mut k,b))=self.socks.remove(&conn) { k.set_nonblocking(false).unwrap(); let _=k.write_all(&b); } }
            Output::Messages{messages,..} => { for m in &messages { if self.got.len() < 20 { println!("{} got {:?} id {} len {}", self.name, m.kind, m.id.0, m.body.len()); } } self.got.extend(messages) }
            o => { let mut t = format!("{o:?}"); t.truncate(300); println!("{} {t}", self.name); if matches!(o, Output::Established{..}) { self.fwd = true } }
        } }
        for (_, (k,b)) in self.socks.iter_mut() { while !b.is_empty() { match k.write(b) { Ok(n) => { b.drain(..n); }, Err(_) => break } } }
    }
}
fn main() {
    let s = SI::now();
    let path = std::env::args().nth(1).unwrap();
    let bytes = std::fs::read(path).unwrap();
    let i2pd = Arc::new(RouterInfo::decode_unverified(&bytes).unwrap().verify().unwrap());
    println!("i2pd {:?} {:?}", i2pd.hash(), i2pd.ntcp2().collect::<Vec<_>>());
    let mut a = Node::new("A", 1, 7801, s); let mut b = Node::new("B", 2, 7802, s);
    let exp = |s| now(s).wall + Duration::from_secs(20);
    // A: look up i2pd's own RI, reply direct to A
    let lookup = |key: &RouterHash, from: &RouterHash, n: u32| { let mut body = vec![]; body.extend(key.as_bytes()); body.extend(from.as_bytes()); body.push(0b1000); body.extend([0,0]); Message { kind: MessageType::DatabaseLookup, id: MessageId(n), expires: exp(s), body } };
    let store = |ri: &RouterInfo, token: u32, via: &RouterHash| { let mut body = vec![]; body.extend(ri.hash().as_bytes()); body.push(0); body.extend(token.to_be_bytes()); if token != 0 { body.extend([0;4]); body.extend(via.as_bytes()); } let z = aioli_wire::gzip::compress(ri.bytes()); body.extend((z.len() as u16).to_be_bytes()); body.extend(z); Message { kind: MessageType::DatabaseStore, id: MessageId(77), expires: exp(s), body } };
    let (ah, bh) = (a.ri.hash(), b.ri.hash());
    { let mut r = a.rng.fork(); let cx = &mut Cx{now: now(s), rng:&mut r};
      a.t.send(&i2pd, lookup(&i2pd.hash(), &ah, 1), cx);
      a.t.send(&i2pd, store(&b.ri, 4711, &ah), cx); }
    let t0 = SI::now(); let mut stage = 0;
    while t0.elapsed().as_secs() < 12 {
        a.poll(s); b.poll(s);
        if stage == 0 && t0.elapsed().as_secs() >= 3 { stage = 1; println!("--- ask i2pd to answer B"); let mut r = a.rng.fork(); let cx = &mut Cx{now: now(s), rng:&mut r}; a.t.send(&i2pd, lookup(&i2pd.hash(), &bh, 2), cx); }
        if stage == 1 && t0.elapsed().as_secs() >= 6 { stage = 2; println!("--- burst"); let mut r = a.rng.fork(); let cx = &mut Cx{now: now(s), rng:&mut r}; for i in 0..3000u32 { a.t.send(&i2pd, lookup(&i2pd.hash(), &ah, 1000+i), cx); } }
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    { let mut r = a.rng.fork(); let cx = &mut Cx{now: now(s), rng:&mut r}; a.t.shut_down(cx); } 
    a.poll(s); a.poll(s);
    println!("A {:?}\nB {:?}", a.t.stats(), b.t.stats());
    println!("A got {} B got {}", a.got.len(), b.got.len());
}
