// A SAM application for Node.js, on @diva.exchange/i2p-sam.
//
//     stream.js serve   BYTES [OPTION=VALUE ...]
//     stream.js connect BYTES DESTINATION [OPTION=VALUE ...]
//
// The connecting side sends BYTES random bytes, then the serving side does. Each
// prints what it sent and received with the SHA-256; `interop` compares.
import { createHash, randomBytes } from 'node:crypto';
import { createServer } from 'node:net';
import { createForward, createStream } from '@diva.exchange/i2p-sam';

const FORWARD = { host: '127.0.0.1', port: 20222 };
const ATTEMPTS = 4;
const say = (...words) => console.log(words.join(' '));
const sha256 = (bytes) => createHash('sha256').update(bytes).digest('hex');

// Counts and hashes what arrives; calls `whenComplete` with what follows.
function receiver(total, whenComplete) {
  const digest = createHash('sha256');
  let left = total;
  return (data) => {
    if (left === 0) return whenComplete(data);
    const part = data.subarray(0, left);
    digest.update(part);
    left -= part.length;
    if (left === 0) {
      say('RECEIVED', total, digest.digest('hex'));
      whenComplete(data.subarray(part.length));
    }
  };
}

function fail(error) {
  say('ERROR', error);
  process.exit(1);
}

async function serve(total, options) {
  const server = createServer((socket) => {
    let head = Buffer.alloc(0);
    let answered = false;
    const receive = receiver(total, () => {
      if (answered) {
        say('DONE'); // the other side has everything
        process.exit(0);
      }
      answered = true;
      const bytes = randomBytes(total);
      socket.write(bytes);
      say('SENT', total, sha256(bytes));
    });
    let named = false;
    socket.on('error', fail);
    socket.on('data', (data) => {
      if (named) return receive(data);
      // The router says first, on a line of its own, who is calling.
      head = Buffer.concat([head, data]);
      const end = head.indexOf('\n');
      if (end < 0) return;
      named = true;
      say('CONNECTED');
      if (end + 1 < head.length) receive(head.subarray(end + 1));
    });
  });
  server.listen(FORWARD.port, FORWARD.host);
  const forward = await createForward({ session: { options }, forward: FORWARD });
  forward.on('error', fail);
  say('DESTINATION', forward.getPublicKey());
}

// Tries again for a while: a LeaseSet takes a moment to spread.
async function attempt(action, left = ATTEMPTS) {
  try {
    return await action();
  } catch (error) {
    if (left === 1) throw error;
    await new Promise((resolve) => setTimeout(resolve, 3000));
    return attempt(action, left - 1);
  }
}

async function connect(total, destination, options) {
  const stream = await attempt(() => createStream({ session: { options }, stream: { destination } }));
  say('CONNECTED');
  stream.on('error', fail);
  stream.on('close', () => fail('the stream ended early'));
  stream.on('data', receiver(total, () => {
    stream.stream(Buffer.from('.'));
    say('DONE');
    setTimeout(() => process.exit(0), 500);
  }));
  const bytes = randomBytes(total);
  stream.stream(bytes);
  say('SENT', total, sha256(bytes));
}

const [mode, total, ...rest] = process.argv.slice(2);
const options = (mode === 'serve' ? rest : rest.slice(1)).join(' ');
(mode === 'serve' ? serve(Number(total), options) : connect(Number(total), rest[0], options)).catch(fail);
