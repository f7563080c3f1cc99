// A real Node parent with a child of any kind, for tests of Go children.
//
//   node parent.js [--fork] [--serialization=advanced] SCENARIO COMMAND [ARGUMENT...]
//
// starts COMMAND by child_process.spawn(COMMAND, ARGUMENTS, {stdio: [0, 2, 2, 'ipc']}), or, with --fork, by
// child_process.fork(SCENARIO, ARGUMENTS, {execPath: COMMAND}), runs the scenario, disconnects, waits for the child to
// exit with 0, and prints one JSON line: {"ok":true,"scenario":...,...} or {"ok":false,"scenario":...,"error":...}.
// Exit code 0 or 1. What the child prints goes to stderr. The child inherits the environment, with NODEIPC_SCENARIO
// set. NODEIPC_COUNT changes how many messages flood and mixed send, NODEIPC_SIZE how large those of big and huge are,
// NODEIPC_LIMIT the time limit (60 seconds).
//
// The contract of the child, the same in all scenarios (scenario_child.js is one in JavaScript):
//
//   {type:'greeting',message:'Hello from master!'}      answers {type:'response',message:'Hi there master!'}
//   {type:'messages'}                                   sends 'ready', 7, true, null, [1,2]
//   {type:'run',command:[...]}                          runs it with stdout piped and answers {stdout:'...',code:0}
//   {type:'pid'}                                        answers {pid:<its own>}
//   {type:'serve',kind} with a net.Socket               reads a line from it, writes "echo <line>\n", ends and closes it
//   {type:'serve',kind} with a net.Server               answers the same message, then serves each connection like that
//   {type:'close',kind}                                 closes its own copy of the server of that kind, which it served or
//                                                       listened on, then answers the same message
//   {type:'return'} with any handle                     sends the same message and the handle back
//   {type:'listen',kind,port,host} or {...,path}        listens there, sends the same message with the server as a handle
//   {type:'dial',kind,port,host} or {...,path}          connects there and sends the same message with the socket as a handle
//   {type:'mixed',n,part:'a'|'b'|'socket'}              answers the same message; with a socket, writes "<n>\n" and ends it
//   {type:'leave'}                                      disconnects, and exits with 0
//   {type:'die'}                                        exits at once with code 3
//   anything else                                       answers the same value
//   disconnect                                          exits with 0
//
// Scenarios: greeting echo values messages mixed handles return child-handles big huge flood grandchild leave kill orphan
// die all-types. NODEIPC_ONLY="tcp socket" has handles and child-handles do that alone; there are also "tcp server",
// "unix socket" and "unix server".
// Ran on Node 12, 14, 16, 18, 20, 22, 24 and 26, and in JSON mode on Bun 1.4 and Deno 2.9.
'use strict';

const assert = require('assert');
const childProcess = require('child_process');
const crypto = require('crypto');
const fs = require('fs');
const net = require('net');
const os = require('os');
const path = require('path');

const argv = process.argv.slice(2);
const options = {};
while (argv.length && argv[0].startsWith('--')) {
  const [name, value] = argv.shift().slice(2).split('=');
  options[name] = value === undefined ? true : value;
}
const [scenario, command, ...args] = argv;
const advanced = options.serialization === 'advanced';
// What Deno needs before the name of a script of this folder.
const flags = process.versions.deno ? ['run', '-A', '--unstable-detect-cjs', '--unstable-bare-node-builtins'] : [];

function start() {
  const common = { env: Object.assign({}, process.env, { NODEIPC_SCENARIO: scenario }), stdio: ['inherit', 2, 2, 'ipc'] };
  if (options.serialization) common.serialization = options.serialization;
  return options.fork
    ? childProcess.fork(scenario, args, Object.assign({ execPath: command, execArgv: [] }, common))
    : childProcess.spawn(command, args, common);
}

// ---------------------------------------------------------------------------------------------------- helpers

// Peer waits for what the child sends, in order.
class Peer {
  constructor(child) {
    this.child = child;
    this.arrived = [];
    this.waiting = [];
    this.failure = null;
    child.on('message', (message, handle) => {
      const next = this.waiting.shift();
      if (next) next.resolve({ message, handle });
      else this.arrived.push({ message, handle });
    });
    child.on('error', (err) => this.fail(err));
    child.on('disconnect', () => this.fail(new Error('the child disconnected while a message was expected')));
    this.exited = new Promise((resolve) => {
      child.on('exit', (code, signal) => resolve({ code, signal }));
      child.on('error', (err) => resolve({ error: err.message })); // not started
    });
  }

  fail(err) {
    this.failure = this.failure || err;
    for (const w of this.waiting.splice(0)) w.reject(err);
  }

  next() {
    if (this.arrived.length) return Promise.resolve(this.arrived.shift());
    if (this.failure) return Promise.reject(this.failure);
    return new Promise((resolve, reject) => this.waiting.push({ resolve, reject }));
  }

  async message() {
    return (await this.next()).message;
  }

  send(message, handle, options) {
    return new Promise((resolve, reject) => {
      this.child.send(message, handle, options || {}, (err) => err ? reject(err) : resolve());
    });
  }

  async ask(message, handle, options) {
    const sent = this.send(message, handle, options);
    const answer = await this.next();
    await sent;
    return answer;
  }
}

const hash = (s) => crypto.createHash('sha256').update(s).digest('hex');

// text returns a string of about size bytes in UTF-8, different for every n, with everything that needs an escape.
function text(n, size) {
  const unit = `${n}: plain "quoted" \\ \n\t\u0001 <&> grüße \u2028 漢字 😀 | `;
  return unit.repeat(Math.ceil(size / Buffer.byteLength(unit)));
}

function once(emitter, event) {
  return new Promise((resolve, reject) => {
    emitter.once(event, resolve);
    if (event !== 'error') emitter.once('error', reject);
  });
}

async function listen(where) {
  // Paused, or this process could read what the next owner of an accepted socket should.
  const server = net.createServer({ allowHalfOpen: true, pauseOnConnect: true });
  server.listen(where);
  await once(server, 'listening');
  return server;
}

// exchange connects, sends a line and returns all that came back.
async function exchange(where, line) {
  const client = net.connect(where);
  client.write(line + '\n');
  return readAll(client);
}

async function readAll(socket) {
  let all = '';
  socket.setEncoding('utf8').on('data', (s) => { all += s; }).resume();
  await once(socket, 'end');
  socket.end();
  return all;
}

function count(otherwise) {
  return Number(process.env.NODEIPC_COUNT || otherwise);
}

async function inFolder(f) {
  const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'nodeipc-'));
  try {
    return await f(dir);
  } finally {
    for (const name of fs.readdirSync(dir)) fs.unlinkSync(path.join(dir, name));
    fs.rmdirSync(dir);
  }
}

// wanted tells whether the scenario is to do this part.
function wanted(what) {
  return !process.env.NODEIPC_ONLY || process.env.NODEIPC_ONLY === what;
}

const values = [
  'text', '', 0, -1, 1.5, 1e21, 1e-7, 5e-324, 1.7976931348623157e308, true, false, null, [], {}, [1, [2, [3]]],
  { a: 1, b: { c: [null, true, 'x'] } }, { 2: 'two', 1: 'one', z: 0 }, 'line\nfeed \r \t \b \f " \\ / \u0000 \u001f \u007f',
  '\u2028 \u2029 <script>&amp;</script>', 'grüße 漢字 😀', { '': 0 }, { cmd: 'node_x' }, { cmd: 7 }, [{ cmd: 'NODE_HANDLE' }],
  { type: 'unknown' }, 'NODE_HANDLE', text(0, 70000), JSON.parse('{"__proto__":1}'), { nested: { cmd: 'NODE_HANDLE_ACK' } },
];
// What Deno changes or keeps to itself.
const oddValues = [9007199254740993, '\ud800', '\udc00 alone', { '\ud83d': 1 }, { cmd: 'NODE_' }];

async function echo(peer, list) {
  for (const value of list) peer.child.send(value);
  for (const value of list) {
    assert.deepStrictEqual(await peer.message(), advanced ? value : JSON.parse(JSON.stringify(value)));
  }
  return { values: list.length };
}

// ---------------------------------------------------------------------------------------------------- scenarios

const scenarios = {
  async greeting(peer) {
    const { message } = await peer.ask({ type: 'greeting', message: 'Hello from master!' });
    assert.deepStrictEqual(message, { type: 'response', message: 'Hi there master!' });
  },

  // All values in one burst, answered in order; and those that every runtime carries.
  echo: (peer) => echo(peer, values.concat(oddValues)),
  values: (peer) => echo(peer, values),

  // What only the advanced serialization carries.
  async 'all-types'(peer) {
    assert(advanced, 'needs --serialization=advanced');
    const cycle = { name: 'cycle' };
    cycle.self = cycle;
    const list = [
      undefined, -0, NaN, Infinity, 2n ** 70n, -1n, new Date(0), /a+/gi, new Map([['k', new Map()], [1, 2]]), new Set([1, 'x']),
      Buffer.from('hi'), new Uint8Array([1, 2]), new Float64Array([1.5]), new Int16Array([-1]), new ArrayBuffer(3), cycle,
      [1, , 3], { u: undefined },
    ].map((v) => ({ v }));
    for (const value of list) peer.child.send(value);
    for (const value of list) assert.deepStrictEqual(await peer.message(), value);
    return { values: list.length };
  },

  async messages(peer) {
    await peer.send({ type: 'messages' });
    for (const value of ['ready', 7, true, null, [1, 2]]) assert.deepStrictEqual(await peer.message(), value);
  },

  // Plain messages directly before a handle, again and again: every socket must arrive with its own message.
  async mixed(peer) {
    const n = count(200);
    const server = await listen({ port: 0, host: '127.0.0.1' });
    const { port } = server.address();
    const clients = [];
    const accepted = new Map(); // by the client's port
    const allAccepted = new Promise((resolve) => server.on('connection', (socket) => {
      accepted.set(socket.remotePort, socket);
      if (accepted.size === n) resolve();
    }));
    for (let i = 0; i < n; i++) {
      const client = net.connect(port, '127.0.0.1');
      await once(client, 'connect');
      clients.push(client);
    }
    await allAccepted;
    const read = clients.map(readAll);
    clients.forEach((client, i) => {
      peer.child.send({ type: 'mixed', n: i, part: 'a' });
      peer.child.send({ type: 'mixed', n: i, part: 'b' });
      peer.child.send({ type: 'mixed', n: i, part: 'socket' }, accepted.get(client.localPort));
    });
    for (let i = 0; i < n; i++) {
      for (const part of ['a', 'b', 'socket']) {
        assert.deepStrictEqual(await peer.message(), { type: 'mixed', n: i, part });
      }
    }
    for (let i = 0; i < n; i++) assert.strictEqual(await read[i], `${i}\n`);
    await new Promise((resolve) => server.close(resolve)); // waits for the child's NODE_SOCKET_ALL_CLOSED
    return { sockets: n };
  },

  // A net.Socket and a net.Server of each kind from the parent to the child.
  handles: (peer) => inFolder(async (dir) => {
    const done = [];
    for (const kind of ['tcp', 'unix']) {
      const where = kind === 'tcp' ? { port: 0, host: '127.0.0.1' } : { path: path.join(dir, 'socket') };

      if (wanted(`${kind} socket`)) {
        // An accepted socket, with a key: the server's close() waits until the child has closed it.
        const server = await listen(where);
        const at = kind === 'tcp' ? server.address() : where;
        const target = kind === 'tcp' ? { port: at.port, host: '127.0.0.1' } : where;
        const reply = exchange(target, `hello ${kind} socket`);
        const accepted = await once(server, 'connection');
        await peer.send({ type: 'serve', kind: `${kind}-socket` }, accepted);
        assert.strictEqual(await reply, `echo hello ${kind} socket\n`);
        done.push(stage = `${kind} socket`);

        // A socket that the parent connected itself: no key.
        const peerSide = once(server, 'connection');
        const client = net.connect(target).pause(); // Node goes on reading, into nothing, until the child has the socket
        await once(client, 'connect');
        const other = await peerSide;
        const answer = readAll(other);
        await peer.send({ type: 'serve', kind: `${kind}-client` }, client);
        other.write(`hello ${kind} client\n`);
        assert.strictEqual(await answer, `echo hello ${kind} client\n`);
        await new Promise((resolve) => server.close(resolve));
        done.push(stage = `${kind} client`);
      }
      if (wanted(`${kind} server`)) {
        // A server: once the child has it and the parent has closed its own, only the child can answer.
        const serve = await listen(kind === 'tcp' ? { port: 0, host: '127.0.0.1' } : { path: path.join(dir, 'first') });
        const to = kind === 'tcp' ? { port: serve.address().port, host: '127.0.0.1' } : { path: path.join(dir, 'second') };
        // Deno closes a server once it is sent, and with it removes the path, unless it is told not to; Node never does.
        const given = await peer.ask({ type: 'serve', kind: `${kind}-server` }, serve, { keepOpen: true });
        assert.deepStrictEqual(given.message, { type: 'serve', kind: `${kind}-server` });
        if (kind === 'unix') fs.renameSync(path.join(dir, 'first'), to.path); // close() removes the first name
        serve.close();
        for (let i = 0; i < 3; i++) assert.strictEqual(await exchange(to, `hello ${kind} ${i}`), `echo hello ${kind} ${i}\n`);
        assert.deepStrictEqual((await peer.ask({ type: 'close', kind: `${kind}-server` })).message, { type: 'close', kind: `${kind}-server` });
        await assert.rejects(exchange(to, 'anybody?'), { code: 'ECONNREFUSED' }); // no copy is left open anywhere
        done.push(stage = `${kind} server`);
      }
    }
    return { done };
  }),

  // There and back again.
  async return(peer) {
    const server = await listen({ port: 0, host: '127.0.0.1' });
    const far = once(server, 'connection');
    const client = net.connect(server.address().port, '127.0.0.1');
    await once(client, 'connect');
    const other = await far;
    const { message, handle } = await peer.ask({ type: 'return', n: 1 }, client);
    assert.deepStrictEqual(message, { type: 'return', n: 1 });
    assert(handle instanceof net.Socket, 'no net.Socket came back');
    handle.end('over the returned socket');
    assert.strictEqual(await readAll(other), 'over the returned socket');
    server.close();
  },

  // Sockets and servers of the child's own, given to the parent.
  'child-handles': (peer) => inFolder(async (dir) => {
    const done = [];
    for (const kind of ['tcp', 'unix']) {
      if (wanted(`${kind} server`)) {
        const listenAt = kind === 'tcp' ? { host: '127.0.0.1', port: await freePort() } : { path: path.join(dir, 'first') };
        const connectTo = kind === 'tcp' ? listenAt : { path: path.join(dir, 'second') };
        const asked = Object.assign({ type: 'listen', kind: `${kind}-listen` }, listenAt);
        const { message, handle: server } = await peer.ask(asked);
        assert.deepStrictEqual(message, asked);
        assert(server instanceof net.Server, 'no net.Server came');
        server.on('connection', (socket) => socket.end('from the parent'));
        if (kind === 'unix') fs.renameSync(listenAt.path, connectTo.path); // whoever closes first removes the first name
        const close = { type: 'close', kind: `${kind}-listen` };
        assert.deepStrictEqual(await peer.ask(close).then((a) => a.message), close);
        assert.strictEqual(await readAll(net.connect(connectTo)), 'from the parent');
        await new Promise((resolve) => server.close(resolve));
        done.push(stage = `${kind} server`);
      }
      if (wanted(`${kind} socket`)) {
        const own = await listen(kind === 'tcp' ? { port: 0, host: '127.0.0.1' } : { path: path.join(dir, 'own') });
        const dialAt = kind === 'tcp' ? { host: '127.0.0.1', port: own.address().port } : { path: path.join(dir, 'own') };
        const far = once(own, 'connection');
        const dial = Object.assign({ type: 'dial', kind }, dialAt);
        const { message: dialled, handle: socket } = await peer.ask(dial);
        assert.deepStrictEqual(dialled, dial);
        assert(socket instanceof net.Socket, 'no net.Socket came');
        const other = await far;
        socket.end('through the child');
        assert.strictEqual(await readAll(other), 'through the child');
        own.close();
        done.push(stage = `${kind} socket`);
      }
    }
    return { done };
  }),

  // 20 messages of 8 MB each way.
  big: (peer) => bulk(peer, 20, Number(process.env.NODEIPC_SIZE || 8 << 20)),
  // One of 100 MB.
  huge: (peer) => bulk(peer, 1, Number(process.env.NODEIPC_SIZE || 100 << 20)),

  // As many small messages as fit in one turn, nothing read meanwhile: the child must go on reading although nobody
  // takes its answers.
  async flood(peer) {
    const n = count(50000);
    const pad = 'x'.repeat(150);
    for (let i = 0; i < n; i++) peer.child.send({ type: 'flood', i, pad });
    for (let i = 0; i < n; i++) assert.deepStrictEqual(await peer.message(), { type: 'flood', i, pad });
    return { messages: n };
  },

  // A process that the child starts must see no trace of the channel.
  async grandchild(peer) {
    const { message: { pid } } = await peer.ask({ type: 'pid' });
    const { message } = await peer.ask({ type: 'run', command: [process.execPath, ...flags, path.join(__dirname, 'grandchild.js')] });
    assert.strictEqual(message.code, 0);
    const seen = JSON.parse(message.stdout);
    assert.deepStrictEqual(seen.env, {});
    assert.strictEqual(seen.connected, false);
    if (process.platform === 'linux') {
      const mine = fs.readdirSync(`/proc/${pid}/fd`).filter((fd) => Number(fd) > 2)
        .map((fd) => fs.readlinkSync(`/proc/${pid}/fd/${fd}`)).filter((link) => link.startsWith('socket:'));
      assert(mine.length > 0, 'the child has no channel among its descriptors?');
      const passedOn = Object.keys(seen.descriptors).filter((fd) => Number(fd) > 2 && mine.includes(seen.descriptors[fd]));
      assert.deepStrictEqual(passedOn, []);
    }
    return { seen };
  },

  // The parent kills the child in the middle of traffic.
  async kill(peer) {
    peer.exit = { code: null, signal: 'SIGKILL' };
    await peer.ask({ type: 'pid' });
    for (let i = 0; i < 1000; i++) peer.child.send({ type: 'flood', i }, () => {});
    peer.child.removeAllListeners('error'); // EPIPE and the like are expected from here on
    peer.child.on('error', () => {});
    peer.child.kill('SIGKILL');
  },

  // The child disconnects.
  async leave(peer) {
    const left = once(peer.child, 'disconnect');
    await peer.send({ type: 'leave' });
    await left;
    assert.strictEqual(peer.child.connected, false);
  },

  // The child exits by itself: the parent sees the code.
  async die(peer) {
    peer.exit = { code: 3, signal: null };
    await peer.send({ type: 'die' });
  },

  // The parent is killed: the child must end by itself. Played by two parents, as one must survive to tell; the child
  // is gone when the pipe that it inherited as stdout and stderr ends.
  async orphan(peer) {
    if (process.env.NODEIPC_ORPHAN) {
      const { message: { pid } } = await peer.ask({ type: 'pid' });
      process.stdout.write(`${pid}\n`);
      return new Promise(() => {}); // to be killed
    }
    throw new Error('unreachable');
  },
};

async function bulk(peer, n, size) {
  const hashes = [];
  let bytes = 0;
  for (let i = 0; i < n; i++) {
    const data = text(i, size);
    hashes.push(hash(data));
    bytes += Buffer.byteLength(data);
    peer.child.send({ type: 'bulk', i, data });
  }
  for (let i = 0; i < n; i++) {
    const message = await peer.message();
    assert.strictEqual(message.i, i);
    assert.strictEqual(hash(message.data), hashes[i], `message ${i} came back changed`);
  }
  return { messages: n, bytes };
}

async function freePort() {
  const server = await listen({ port: 0, host: '127.0.0.1' });
  const { port } = server.address();
  await new Promise((resolve) => server.close(resolve));
  return port;
}

async function orphan() {
  const inner = childProcess.spawn(process.execPath, [__filename].concat(process.argv.slice(2)), {
    stdio: ['inherit', 'pipe', 'pipe'], env: Object.assign({}, process.env, { NODEIPC_ORPHAN: '1' }),
  });
  let stderr = '';
  inner.stderr.setEncoding('utf8').on('data', (s) => { stderr += s; process.stderr.write(s); });
  const childGone = once(inner.stderr, 'end');
  const pid = await Promise.race([
    once(inner.stdout, 'data').then((data) => Number(String(data))),
    once(inner, 'exit').then(() => { throw new Error(`the inner parent ended too early: ${stderr}`); }),
  ]);
  assert(pid > 0);
  inner.kill('SIGKILL');
  const limit = setTimeout(() => {
    process.kill(pid, 'SIGKILL');
    finish(new Error('the child was still there 20 seconds after its parent had been killed'));
  }, 20000);
  await childGone;
  clearTimeout(limit);
}

// ---------------------------------------------------------------------------------------------------- main

let child;
let stage = 'start';

function finish(err, result) {
  if (child && child.exitCode === null && child.signalCode === null) child.kill('SIGKILL');
  const out = err ? { ok: false, scenario, error: err.stack || String(err) } : Object.assign({ ok: true, scenario, node: process.version }, result);
  process.stdout.write(JSON.stringify(out) + '\n', () => process.exit(err ? 1 : 0));
}

async function main() {
  if (!scenarios[scenario] || !command) {
    throw new Error(`usage: node parent.js [--fork] [--serialization=advanced] SCENARIO COMMAND [ARGUMENT...]; scenarios: ${Object.keys(scenarios).join(' ')}`);
  }
  const seconds = Number(process.env.NODEIPC_LIMIT || 60);
  setTimeout(() => finish(new Error(`not done within ${seconds} seconds, last done: ${stage}`)), seconds * 1000).unref();
  if (scenario === 'orphan' && !process.env.NODEIPC_ORPHAN) return orphan();
  child = start();
  const peer = new Peer(child);
  const result = await scenarios[scenario](peer);
  if (child.connected && !peer.exit) child.disconnect();
  const exit = await peer.exited;
  assert.deepStrictEqual(exit, peer.exit || { code: 0, signal: null });
  assert.deepStrictEqual(peer.arrived.slice(peer.exit ? peer.arrived.length : 0), [], 'more came than was expected');
  return Object.assign({ exit }, result);
}

main().then((result) => finish(null, result), finish);
