// A Node program, parent and children, that reports all it can see of its channels, for comparing it with itself under
// `nodeipc tap`.
//
//   node tap_stress.js SCENARIO [--serialization=advanced]
//
// starts itself as its children, and prints one JSON line at the end: for each child what the parent saw (events), what
// the child saw (log), what came over the sockets. There are no ports, pids and times in it, so that two runs print the
// same. Exit code 0, or 1 when it is not done within NODEIPC_LIMIT seconds (60) or is itself at fault. NODEIPC_COUNT
// changes how many children, sockets or messages there are. The stdio scenario hands its own stdin to a child.
//
// Scenarios: children sockets mixed twice unacked inflight ends stdio messages early big.
// Ran on Node 12, 14, 16, 18, 20, 22, 24 and 26.
'use strict';

const { fork } = require('child_process');
const crypto = require('crypto');
const dgram = require('dgram');
const fs = require('fs');
const net = require('net');
const os = require('os');
const path = require('path');
const util = require('util');

const advanced = process.argv.includes('--serialization=advanced');
const args = process.argv.slice(2).filter((a) => !a.startsWith('--serialization='));
const node = Number(process.versions.node.split('.')[0]);
const count = (otherwise) => Number(process.env.NODEIPC_COUNT || otherwise);
const range = (n) => Array.from({ length: n }, (_, i) => i);

// ---------------------------------------------------------------------------------------------------- both sides

// describe says what a value is, types included, at some length but never more.
function describe(value) {
  const whole = { depth: 100, maxArrayLength: null, maxStringLength: null, breakLength: Infinity };
  const s = typeof value === 'string' ? JSON.stringify(value) : util.inspect(value, whole);
  if (s.length <= 100) return s;
  return `${s.slice(0, 50)}... ${s.length} ${crypto.createHash('sha256').update(s).digest('hex').slice(0, 16)}`;
}

function kind(handle) {
  return handle === undefined ? [] : [handle === null ? 'null' : handle.constructor.name];
}

// text returns a string of size units, different for every n, with everything that needs an escape.
function text(n, size) {
  const unit = `${n}: "quoted" \\ \n\t\u0001 <&> grüße \u2028 漢字 😀 | `;
  return unit.repeat(Math.ceil(size / unit.length)).slice(0, size);
}

function once(emitter, event) {
  return new Promise((resolve, reject) => {
    if (event !== 'error') emitter.once('error', reject);
    emitter.once(event, (value) => {
      emitter.removeListener('error', reject);
      resolve(value);
    });
  });
}

// listen returns a server whose connections nobody reads before they are given away.
async function listen(where) {
  const server = net.createServer({ allowHalfOpen: true, pauseOnConnect: true });
  server.listen(where || { port: 0, host: '127.0.0.1' });
  await once(server, 'listening');
  return server;
}

function ends(server) {
  const address = server.address();
  return typeof address === 'string' ? { path: address } : { port: address.port, host: '127.0.0.1' };
}

// connect returns both ends of a connection. One at a time, or the ends are those of different ones.
async function connect(server) {
  const accepted = once(server, 'connection');
  const client = net.connect(ends(server));
  await once(client, 'connect');
  return { client, socket: await accepted };
}

// readAll returns what comes over a connection, and how it ended if not orderly.
function readAll(client) {
  return new Promise((resolve) => {
    let all = '';
    client.setEncoding('utf8').on('data', (s) => { all += s; }).resume();
    client.on('error', (err) => { all += err.code; });
    client.on('close', () => resolve(all));
  });
}

const visit = (where) => readAll(net.connect(where));

const close = (server) => new Promise((resolve) => server.close(() => resolve()));

// block waits, with the whole process, for a byte or the end of stdin: nothing is read from the channel meanwhile.
const block = () => fs.readSync(0, Buffer.alloc(1), 0, 1, null);

// ---------------------------------------------------------------------------------------------------- the parent

const peers = [];

// A Peer is a child and all that is seen of it.
class Peer {
  constructor(role, options) {
    options = options || {};
    this.role = role;
    this.events = [];
    this.log = [];
    this.callbacks = [];
    this.watchers = [];
    const stdio = options.stdio || ['pipe', 'pipe', 'inherit', 'ipc'];
    const logAt = options.logAt || 1;
    const child = fork(__filename, [`--role=${role}`].concat(options.args || []), {
      stdio, serialization: advanced ? 'advanced' : undefined, execArgv: [],
      env: Object.assign({}, process.env, { NODEIPC_STRESS_LOG: String(logAt) }),
    });
    this.child = child;
    const events = ['message', 'disconnect', 'exit', 'close', 'error'];
    for (const event of options.internal ? events.concat('internalMessage') : events) {
      child.on(event, (value, handle) => {
        if (event === 'exit' || event === 'close') this.saw(event, value, handle);
        else if (event === 'error') this.saw(event, value.code);
        else if (event === 'disconnect') this.saw(event, child.connected);
        else this.saw(event, describe(value), ...kind(handle));
        if (event === 'message' && options.onMessage) options.onMessage(value, handle);
      });
    }
    if (child.stdio[logAt]) {
      let rest = '';
      child.stdio[logAt].setEncoding('utf8').on('data', (s) => {
        const lines = (rest + s).split('\n');
        rest = lines.pop();
        for (const line of lines) this.log.push(JSON.parse(line));
        this.look();
      });
    }
    const output = child.stdio.filter((s, i) => i > 0 && s && s.readable).map((s) => once(s, 'close'));
    // Node has no "close" for a child that it disconnected itself.
    this.closed = new Promise((resolve) => {
      this.event('close').then(resolve);
      this.event('exit').then(() => Promise.all(output)).then(() => this.left && resolve());
    });
    peers.push(this);
  }

  disconnect() {
    this.left = true;
    this.child.disconnect();
  }

  saw(...what) {
    this.events.push(what);
    this.look();
  }

  look() {
    for (const w of this.watchers.slice()) w();
  }

  // until waits for a state of events and log.
  until(condition) {
    return new Promise((resolve) => {
      const look = () => {
        if (!condition()) return;
        this.watchers = this.watchers.filter((w) => w !== look);
        resolve();
      };
      this.watchers.push(look);
      look();
    });
  }

  // event waits for the n-th event of a name, logged for the n-th entry of one in the log.
  event(name, n) {
    return this.until(() => this.events.filter((e) => e[0] === name).length >= (n || 1));
  }

  logged(name, n) {
    return this.until(() => this.log.filter((e) => e[0] === name).length >= (n || 1));
  }

  // send sends, and notes the order in which the callbacks are called.
  send(message, handle, options) {
    const nr = this.sent = (this.sent || 0) + 1;
    return new Promise((resolve) => this.child.send(message, handle, options || {}, (err) => {
      this.callbacks.push(err ? [nr, err.code] : nr);
      resolve();
    }));
  }

  // report is what was to be seen until the end, and what the dead child is good for.
  async report(more) {
    await this.closed;
    const { child, log, callbacks } = this;
    const late = await new Promise((resolve) => child.send('late', (err) => resolve(err && err.code)));
    // The end of the channel, with a child's last words, and that of the process reach Node in either order, and Node
    // emits "close" ahead of "disconnect" if the channel is the last to end.
    const rank = (e) => ['exit', 'close'].indexOf(e[0]);
    const events = [-1, 0, 1].reduce((all, r) => all.concat(this.events.filter((e) => rank(e) === r)), []);
    return Object.assign({
      events, log, callbacks, late,
      end: [child.connected, child.exitCode, child.signalCode, child.killed, child.kill(0)],
    }, more);
  }
}

// What parent.js sends too, and what programs get wrong.
const values = [
  'text', '', 0, -1, 1.5, 1e21, 1e-7, 5e-324, 1.7976931348623157e308, true, false, null, [], {}, [1, [2, [3]]],
  { a: 1, b: { c: [null, true, 'x'] } }, { 2: 'two', 1: 'one', z: 0 }, { '': 0 }, { cmd: 'node_x' }, { cmd: 7 },
  'line\nfeed \r \t \b \f " \\ / \u0000 \u001f \u007f', '\u2028 \u2029 <script>&amp;</script>', 'grüße 漢字 😀',
  { type: 'unknown' }, 'NODE_HANDLE', [{ cmd: 'NODE_HANDLE' }], { nested: { cmd: 'NODE_HANDLE_ACK' } },
  text(0, 70000), JSON.parse('{"__proto__":1}'),
  9007199254740993, '\ud800', '\udc00 alone', { '\ud83d': 1 }, { cmd: 'NODE_' }, { cmd: ['NODE_X'] }, -0, NaN, [1, , 3],
  { cmd: 'NODE_STRESS', n: 1 }, { cmd: 'NODE_STRESS', cmd2: [{ cmd: 'NODE_HANDLE' }] }, // internal
  new Date(0), Buffer.from('hi'), { u: undefined },
  new Error('of the program'), Object.create({ inherited: 1 }),
  undefined, () => {}, Symbol('s'), { f: () => {} }, 10n, range(300).reduce((inner) => [inner], 0),
];
const cycle = { name: 'cycle' };
cycle.self = cycle;
const types = [
  undefined, -0, NaN, Infinity, 2n ** 70n, -1n, new Date(NaN), /a+/gi,
  new Map([['k', new Map()], [1, 2]]), new Set([1, 'x']),
  Buffer.alloc(0), new Uint8Array([1, 2]), new Float64Array([1.5]), new Int16Array([-1]), new ArrayBuffer(3),
  new BigUint64Array([1n]), cycle, [cycle, cycle], new RangeError('r'), Object(1), Object('s'), Object(false),
  'x'.repeat(300), 'ü'.repeat(300), '漢'.repeat(300),
].map((v) => ({ v }));

// prefix tells, of entries that each begin with a name, whether those of that name are the first of 64, in order, and
// at least some. How many arrive before the end of a channel that has a megabyte in it is not the same in any two runs.
function prefix(entries, name) {
  const these = entries.filter((e) => e[0] === name).map((e) => e[1]);
  const inOrder = these.every((s, i) => s === describe({ n: i, text: text(i, 1 << 14) }));
  return [these.length > 0 && these.length <= 64 && inOrder].concat(entries.filter((e) => e[0] !== name));
}

const scenarios = {
  // Many at once: each gets a message and a connection, answers over both, and leaves.
  async children() {
    const n = count(20);
    const server = await listen();
    const children = [];
    for (let i = 0; i < n; i++) {
      const peer = new Peer('children', { args: [String(i)] });
      const { client, socket } = await connect(server);
      client.write(`question ${i}\n`);
      peer.send({ n: i });
      peer.send({ socket: i }, socket);
      children.push({ peer, answer: readAll(client) });
    }
    const said = await Promise.all(children.map(({ answer }) => answer));
    await close(server);
    for (const { peer } of children) peer.send('leave');
    return Promise.all(children.map(({ peer }, i) => peer.report({ said: said[i] })));
  },

  // Many connections, one after another, to one child; close() of the server waits until the child has closed them all.
  async sockets() {
    const n = count(1000);
    const held = 5;
    const server = await listen();
    const peer = new Peer('sockets', { args: [String(n), String(held)] });
    const order = [];
    const said = [];
    const sent = [];
    for (let i = 0; i < n; i += 20) {
      await Promise.all(await range(Math.min(20, n - i)).reduce(async (all, j) => {
        all = await all;
        const { client, socket } = await connect(server);
        client.write(`question ${i + j}\n`);
        sent.push(peer.send({ n: i + j }, socket));
        const answer = readAll(client).then((s) => { said[i + j] = s; });
        return i + j < n - held ? all.concat(answer) : all;
      }, []));
    }
    await peer.event('message'); // the others are closed
    await Promise.all(sent); // none of them counts as the parent's any more
    order.push(await new Promise((resolve) => server.getConnections((err, open) => resolve(err ? err.code : open))));
    const closed = close(server).then(() => order.push('server closed'));
    peer.child.send('anything?');
    await peer.event('message', 2);
    order.push('release');
    peer.child.send('release');
    await closed;
    await peer.event('message', 3);
    peer.disconnect();
    const wrong = said.filter((s, i) => s !== `child heard ${i} question ${i}\n`);
    const report = await peer.report({ order, said: describe(said), wrong });
    report.callbacks = describe(report.callbacks);
    return { report };
  },

  // Connections between long messages, in both directions at once.
  async mixed() {
    const n = count(30);
    const server = await listen();
    const peer = new Peer('mixed', {
      args: [String(n)],
      onMessage: (m, socket) => socket && socket.end(`parent got ${m.socket}`),
    });
    const pairs = [];
    for (let i = 0; i < n; i++) pairs.push(await connect(server));
    await peer.event('message'); // it has its connections too
    peer.send('go');
    pairs.forEach(({ socket }, i) => {
      peer.send({ n: i, text: text(i, 1 << 16) });
      peer.send({ socket: i }, socket);
      peer.send(i);
    });
    const said = await Promise.all(pairs.map(({ client }) => readAll(client)));
    await close(server);
    await peer.logged('done');
    await peer.event('message', 1 + 3 * n);
    peer.disconnect();
    return { report: await peer.report({ said }) };
  },

  // What was sent once can be sent again, and is gone for good when all have closed it.
  async twice() {
    const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'nodeipc-'));
    const cases = {};
    for (const where of [{ port: 0, host: '127.0.0.1' }, { path: path.join(dir, 'server') }]) {
      const name = where.path ? 'unix' : 'tcp';
      const server = await listen(where);
      const to = ends(server);
      const peer = new Peer('twice', {
        onMessage: (m, handle) => handle && handle.end('the parent, of what came back'),
      });
      const { client, socket } = await connect(server);
      const heard = readAll(client);
      await peer.send({ keep: 1 }, socket, { keepOpen: true });
      await peer.send({ keep: 2 }, socket, { keepOpen: true });
      await peer.event('message', 2);
      socket.write('the parent\n');
      peer.send('talk');
      const said = [await heard];
      socket.destroy();

      const back = await connect(server);
      const echo = readAll(back.client);
      peer.send({ back: true }, back.socket);
      said.push(await echo);
      await peer.event('message', 3);

      await peer.send({ server: 1 }, server);
      await peer.send({ server: 2 }, server);
      await peer.event('message', 5);
      if (where.path) fs.linkSync(to.path, to.path = to.path + '2'); // close() removes the first
      server.close();
      for (let i = 0; i < 3; i++) said.push(await visit(to));
      peer.send('close');
      await peer.event('message', 6);
      said.push(await visit(to)); // nobody listens any more
      peer.disconnect();
      if (where.path) fs.unlinkSync(to.path);
      cases[name] = await peer.report({ said });
    }
    fs.rmdirSync(dir);

    const peer = new Peer('twice', { onMessage: (m, handle) => handle && handle.close() });
    const socket = dgram.createSocket('udp4');
    socket.bind(0, '127.0.0.1');
    await once(socket, 'listening');
    const { port } = socket.address();
    await peer.send({ udp: 1 }, socket);
    await peer.event('message');
    socket.close();
    const client = dgram.createSocket('udp4');
    const answer = once(client, 'message');
    client.send('question', port, '127.0.0.1');
    const said = String(await answer);
    client.close();
    peer.disconnect();
    cases.udp = await peer.report({ said });
    return cases;
  },

  // A child that dies while a handle is on its way, with messages and another handle behind it. To Node the handle is
  // then neither sent nor its own any more: the connection stays open, and there is no disconnect.
  async unacked() {
    const cases = {};
    for (const how of ['exit', 'kill self', 'kill']) {
      const server = await listen();
      const peer = new Peer('unacked', { args: [how] });
      const pairs = [await connect(server), await connect(server)];
      let first = 'open';
      readAll(pairs[0].client).then((s) => { first = `closed after "${s}"`; });
      const second = readAll(pairs[1].client);
      await peer.event('message'); // it is deaf now
      peer.send({ n: 1 }, pairs[0].socket);
      peer.send('behind it');
      peer.send({ n: 2 }, pairs[1].socket);
      peer.send('behind both');
      if (how === 'kill') peer.child.kill('SIGKILL');
      else peer.child.stdin.end();
      await peer.closed;
      const said = [pairs[1].socket._handle === null ? 'sent' : 'still the parent\'s'];
      if (pairs[1].socket._handle) {
        pairs[1].socket.end(said[0]);
        said.push(await second);
      }
      server.close();
      cases[how] = await peer.report({ said: said.concat(first) });
    }
    return cases;
  },

  // A channel that ends with a megabyte in it.
  async inflight() {
    const send = (peer) => range(64).map((i) => peer.send({ n: i, text: text(i, 1 << 14) }));
    const cases = {};

    const written = new Peer('inflight', { args: ['listen'] });
    const sent = send(written);
    await sent[63];
    written.disconnect();
    cases['parent, written'] = await written.report();

    const abrupt = new Peer('inflight', { args: ['deaf'] });
    await abrupt.event('message');
    send(abrupt);
    abrupt.disconnect();
    abrupt.child.stdin.end();
    cases['parent, abrupt'] = await abrupt.report();
    cases['parent, abrupt'].log = prefix(abrupt.log, 'message');

    for (const how of ['written', 'written exit', 'abrupt', 'abrupt exit']) {
      const peer = new Peer('inflight', { args: [how] });
      const report = cases[`child, ${how}`] = await peer.report();
      if (how.startsWith('abrupt')) report.events = prefix(report.events, 'message');
    }

    return cases;
  },

  // All the ways in which a child ends.
  async ends() {
    const cases = {};
    const add = async (name, how, play) => {
      cases[name] = null; // in this order in the report
      const peer = new Peer('ends', { args: [how] });
      await peer.event('message');
      await play(peer, peer.child);
      cases[name] = await peer.report();
    };
    await Promise.all([
      add('code', 'code', (peer) => peer.send(3)),
      add('exit code', 'exit code', (peer) => peer.send(5)),
      add('exception', 'exception', (peer) => peer.send('this child fails')),
      add('own SIGTERM', 'own signal', (peer) => peer.send('SIGTERM')),
      add('own SIGKILL', 'own signal', (peer) => peer.send('SIGKILL')),
      add('SIGTERM', 'stubborn', (peer, child) => peer.saw('kill', child.kill())),
      add('SIGKILL', 'stubborn', (peer, child) => peer.saw('kill', child.kill('SIGKILL'))),
      add('SIGHUP', 'stubborn', (peer, child) => peer.saw('kill', child.kill('SIGHUP'))),
      add('handled signals', 'signals', async (peer, child) => {
        let n = 1;
        for (const signal of ['SIGUSR2', 'SIGINT', 'SIGHUP', 'SIGWINCH', 'SIGUSR2', 'SIGTERM']) {
          peer.saw('kill', child.kill(signal));
          if (signal !== 'SIGTERM') await peer.event('message', ++n);
        }
      }),
      add('the parent disconnects', 'live on', async (peer, child) => {
        peer.disconnect();
        await peer.logged('disconnect');
        peer.saw('alive', child.exitCode, child.kill(0));
        child.stdin.end();
      }),
      add('the child disconnects', 'live on', async (peer, child) => {
        peer.send('disconnect');
        await peer.event('disconnect');
        peer.saw('alive', child.exitCode, child.kill(0));
        child.stdin.end();
      }),
      add('stdout closes', 'live on', async (peer, child) => {
        const end = once(child.stdout, 'end');
        peer.send('close stdout');
        await end;
        peer.saw('stdout end');
        peer.send('are you there?');
        await peer.event('message', 2);
        peer.saw('alive', child.exitCode, child.kill(0));
        child.stdin.end();
      }),
      add('stdin closes', 'stubborn', async (peer, child) => {
        peer.send('close stdin');
        await peer.event('message', 2);
        const failed = once(child.stdin, 'error');
        child.stdin.write('anybody?');
        peer.saw('stdin', (await failed).code);
        child.kill();
      }),
      // The child's last words are in the channel when it has gone; a parent that is busy reads them all the same.
      add('unread', 'last words', (peer) => {
        peer.send('last words');
        Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 200);
      }),
    ]);
    return cases;
  },

  // Pipes beside the channel, the channel at another number, and what the child was started with.
  async stdio() {
    const peer = new Peer('stdio', {
      stdio: ['pipe', 'pipe', 'pipe', 'ignore', 'pipe', 'ipc', 'pipe'], logAt: 4,
      args: ['', 'an argument', '--', '-x', '"\'$(x)\n'],
    });
    const { child } = peer;
    const out = readAll(child.stdout).then((s) => { peer.outEnd = [describe(s), child.exitCode]; peer.look(); });
    const err = readAll(child.stderr);
    const six = readAll(child.stdio[6]);
    child.stdio[6].write('six is a pipe both ways');
    await peer.event('message'); // what it says of itself
    child.stdin.end(text(1, 300000));
    await peer.until(() => peer.outEnd); // it has closed its stdout, and is alive
    await out;
    peer.send('go');
    const cases = {};
    cases.pipes = await peer.report({
      out: peer.outEnd, err: describe(await err), six: describe(await six),
      file: child.spawnfile === process.execPath, args: child.spawnargs.slice(2),
    });

    const inherits = new Peer('inherits', { stdio: ['inherit', 'inherit', 'inherit', 'ipc'] });
    cases.inherits = await inherits.report();
    return cases;
  },

  // Every kind of value in both directions, and those that cannot be sent.
  async messages() {
    const peer = new Peer('messages', { internal: true });
    const refused = [];
    for (const value of values.concat(advanced ? types : [])) {
      try {
        peer.child.send(value);
      } catch (err) {
        refused.push([describe(value), err.name, err.code]);
      }
    }
    peer.child.send('end');
    await peer.until(() => peer.events.some((e) => e[1] === '"end"'));
    peer.disconnect();
    return { report: await peer.report({ refused }) };
  },

  // What is sent before the child listens, or lives.
  async early() {
    const n = count(100);
    const server = await listen();
    const { client, socket } = await connect(server);
    const said = readAll(client);
    const peer = new Peer('early', { args: [String(n)] });
    for (let i = 0; i < n; i++) {
      peer.send({ n: i, text: text(i, 100) });
      if (i === n >> 1) peer.send({ socket: i }, socket);
    }
    await peer.event('message');
    peer.disconnect();
    await close(server);
    return { report: await peer.report({ said: await said }) };
  },

  async big() {
    const n = count(4);
    const peer = new Peer('big', { args: [String(n)] });
    for (let i = 0; i < n; i++) peer.send({ n: i, text: text(i, (1 << 20) + i) });
    await peer.event('message', 2 * n);
    peer.disconnect();
    return { report: await peer.report() };
  },
};

// ---------------------------------------------------------------------------------------------------- the children

// log writes at once: a child may die at any time. Its end is blocking.
function log(...entry) {
  const fd = process.env.NODEIPC_STRESS_LOG;
  if (fd) fs.writeSync(Number(fd), JSON.stringify(entry) + '\n');
}

function watch() {
  process.on('disconnect', () => log('disconnect', process.connected));
  process.on('exit', (code) => log('exit', code));
}

const hear = (m, handle) => log('message', describe(m), ...kind(handle));

// talk answers the first line of a connection.
function talk(socket, who, closed) {
  let all = '';
  socket.setEncoding('utf8').on('data', (s) => {
    all += s;
    if (all.endsWith('\n')) socket.end(`${who} ${all}`);
  });
  socket.on('close', closed);
}

const roles = {
  children(i) {
    watch();
    process.on('message', (m, socket) => {
      hear(m, socket);
      if (m === 'leave') {
        process.exitCode = i % 5;
        process.send('goodbye', () => process.disconnect());
      } else if (socket) {
        talk(socket, `child ${i} heard`, (failed) => log('closed', failed));
      } else {
        process.send({ answer: m.n });
      }
    });
  },

  sockets(n, held) {
    watch();
    const order = [];
    let closed = 0;
    const waiting = [];
    process.on('message', (m, socket) => {
      if (m === 'release') return waiting.forEach((f) => f());
      if (!socket) return process.send('nothing');
      order.push(m.n);
      const start = () => talk(socket, `child heard ${m.n}`, () => {
        closed++;
        if (closed === n - held) process.send('all but some');
        if (closed === n - 0) {
          log('order', describe(order));
          process.send('all');
        }
      });
      if (m.n >= n - held) waiting.push(start);
      else start();
    });
  },

  async mixed(n) {
    watch();
    const server = await listen();
    const pairs = [];
    for (let i = 0; i < n; i++) pairs.push(await connect(server));
    const said = Promise.all(pairs.map(({ client }) => readAll(client)));
    let got = 0;
    const all = new Promise((resolve) => process.on('message', (m, socket) => {
      hear(m, socket);
      if (socket) socket.end(`child got ${m.socket}`);
      if (++got === 1 + 3 * n) resolve();
      if (m !== 'go') return;
      pairs.forEach((pair, i) => {
        process.send({ n: i, text: text(i + 1000, 1 << 16) });
        process.send({ socket: i }, pair.socket);
        process.send(-i);
      });
    }));
    process.send('ready');
    await all;
    log('said', await said);
    await close(server);
    log('done');
  },

  twice() {
    watch();
    const got = [];
    process.on('message', (m, handle) => {
      hear(m, handle);
      if (m === 'talk') {
        const [first, second] = got.splice(0);
        first.write('the first copy\n', () => second.end('the second copy\n'));
        for (const socket of [first, second]) socket.resume();
      } else if (m === 'close') {
        Promise.all(got.map(close)).then(() => process.send('closed'));
      } else if (m.keep) {
        got.push(handle.pause());
        process.send(m);
      } else if (m.server) {
        got.push(handle.on('connection', (socket) => socket.end('served')));
        process.send(m);
      } else if (m.back) {
        process.send(m, handle.pause());
      } else if (m.udp) {
        handle.on('message', (data, { address, port }) => {
          handle.send(`${data} ${address}`, port, address, () => handle.close());
        });
        process.send(m);
      }
    });
  },

  unacked(how) {
    process.send('deaf');
    block();
    if (how === 'exit') process.exit(7);
    process.kill(process.pid, 'SIGKILL');
  },

  inflight(how) {
    watch();
    process.on('message', hear);
    process.on('error', (err) => log('error', err.code));
    const send = (done) => range(64).forEach((i) => {
      process.send({ n: i, text: text(i, 1 << 14) }, i === 63 ? done : () => {});
    });
    switch (how) {
      case 'deaf':
        process.send('deaf');
        return block();
      case 'written': return send(() => process.disconnect());
      case 'written exit': return send(() => process.exit(4));
      case 'abrupt':
        send();
        return process.disconnect();
      case 'abrupt exit':
        send();
        return process.exit(4);
    }
  },

  ends(how) {
    // A tap is killed in the place of the child, which may see its channel end in the moment before it is killed too.
    if (how !== 'stubborn') watch();
    process.on('message', (m) => {
      hear(m);
      switch (how) {
        case 'code': return process.exit(m);
        case 'exit code':
          process.exitCode = m;
          return process.disconnect();
        case 'exception': throw new Error(m);
        case 'own signal': return process.kill(process.pid, m);
        case 'last words':
          for (let i = 0; i < 20; i++) process.send(i, i < 19 ? undefined : () => process.exit(8));
          return;
      }
      switch (m) {
        case 'disconnect': return process.disconnect();
        case 'close stdout':
          process.env.NODEIPC_STRESS_LOG = ''; // there is no place for it any more
          return fs.closeSync(1);
        case 'close stdin':
          fs.closeSync(0);
          return process.send('stdin is closed');
        case 'are you there?': return process.send('I am');
      }
    });
    if (how === 'signals') {
      for (const signal of ['SIGUSR2', 'SIGINT', 'SIGHUP', 'SIGWINCH', 'SIGTERM']) {
        process.on(signal, () => {
          log(signal);
          if (signal === 'SIGTERM') process.exit(9);
          process.send(signal);
        });
      }
    }
    if (how === 'stubborn') setInterval(() => {}, 1000);
    if (how === 'live on') process.stdin.on('end', () => process.exit(6)).resume();
    process.send('ready');
  },

  stdio() {
    watch();
    const hash = crypto.createHash('sha256');
    const six = new net.Socket({ fd: 6 });
    const env = Object.keys(process.env).filter((k) => !/^(NODE_OPTIONS|NODEIPC_TAP)$/.test(k)).sort();
    let size = 0;
    process.on('message', (m) => {
      hear(m);
      process.disconnect();
    });
    six.setEncoding('utf8').once('data', (s) => six.end(s.toUpperCase()));
    process.stdin.on('data', (d) => { size += d.length; hash.update(d); });
    process.stdin.on('end', () => {
      log('stdin', size, hash.digest('hex'));
      fs.writeSync(2, 'stderr\n');
      fs.writeSync(1, text(2, 300000));
      fs.closeSync(1);
    });
    process.send({
      env: describe(env), argv: process.argv.slice(2), execArgv: process.execArgv, title: process.title,
      argv0: process.argv0 === process.execPath, cwd: process.cwd() === process.env.PWD,
    });
  },

  inherits() {
    let all = '';
    process.stdin.setEncoding('utf8').on('data', (s) => { all += s; }).on('end', () => {
      fs.writeSync(1, 'from a child whose stdout is its parent\'s\n');
      process.send(all, () => process.disconnect());
    });
  },

  messages() {
    watch();
    process.on('internalMessage', (m) => log('internal', describe(m)));
    process.on('message', (m) => {
      hear(m);
      if (m !== 'end') return process.send(m);
      for (const value of values.concat(advanced ? types : [])) {
        try {
          process.send(value);
        } catch (err) {
          log('refused', describe(value), err.name, err.code);
        }
      }
      process.send('end');
    });
  },

  early(n) {
    watch();
    let got = 0;
    const listening = () => process.on('message', (m, socket) => {
      hear(m, socket);
      if (socket) socket.end(`child heard ${m.socket}`);
      if (++got === n - 0 + 1) process.send('all');
    });
    // Node 12 drops what comes before there is a listener.
    if (node < 14) listening();
    else setTimeout(listening, 50);
  },

  big(n) {
    watch();
    process.on('message', (m) => {
      hear(m);
      process.send(m);
    });
    for (let i = 0; i < n; i++) process.send({ n: i, text: text(-i, (1 << 20) - i) });
  },
};

// ---------------------------------------------------------------------------------------------------- main

function finish(exit, out) {
  process.stdout.write(JSON.stringify(out) + '\n', () => process.exit(exit));
}

function fail(error) {
  for (const { child } of peers) if (child.exitCode === null && child.signalCode === null) child.kill('SIGKILL');
  const open = peers.filter((p) => !p.events.some((e) => e[0] === 'close'));
  finish(1, { error, peers: open.map((p) => ({ role: p.role, events: p.events.slice(-5), log: p.log.slice(-5) })) });
}

if (args[0] && args[0].startsWith('--role=')) {
  roles[args[0].slice('--role='.length)](...args.slice(1));
} else if (scenarios[args[0]]) {
  const seconds = Number(process.env.NODEIPC_LIMIT || 60);
  setTimeout(() => fail(`not done within ${seconds} seconds`), seconds * 1000).unref();
  scenarios[args[0]]().then((cases) => finish(0, { scenario: args[0], cases }), (err) => fail(err.stack));
} else {
  fail(`usage: node tap_stress.js SCENARIO [--serialization=advanced]; scenarios: ${Object.keys(scenarios).join(' ')}`);
}
