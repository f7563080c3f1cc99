// A cluster primary that has the same done by a Node worker and by a Go worker, each beside another Node worker, and
// reports every event that it sees of them: for the tests of package cluster.
//
//   NODE_CLUSTER_SCHED_POLICY=rr node cluster_matrix.js GO_WORKER [json|advanced]
//
// Prints one line of JSON:
//
//   {"node":{"<scenario>":{"worker":[...],"neighbour":[...],"served":"..."}},"go":{...},"scenarios":["<scenario>",...]}
//
// where node and go are what the worker is, and served is how both served connections that came one after the other,
// "in turns" or by whom, where that is up to the primary. An event is a text, that of the cluster:
//
//   fork   online   listening {"addressType":4,...}   message {...}
//   disconnect exitedAfterDisconnect=true   exit code=0 signal=null exitedAfterDisconnect=true
//
// with ports as P1, P2, ... and the folder of unix sockets as DIR, in the order seen, except that disconnect is put
// before exit, of which Node does not promise the order. Events that the Worker object emits in another way than the
// cluster are shown in addition. With {"error":"..."} instead the exit code is 1.
//
// The worker obeys {"do":...}: see worker() below and matrix_test.go, which has the Go one.
// Ran on Node 12, 14, 16, 18, 20, 22, 24 and 26.
'use strict';

const assert = require('assert');
const cluster = require('cluster');
const dgram = require('dgram');
const fs = require('fs');
const net = require('net');
const os = require('os');
const path = require('path');
const { forkGo } = require('../lib');

// ---------------------------------------------------------------------------------------------------- scenarios

const host = '127.0.0.1';
const connections = 20; // for two workers, one after the other

// A scenario gets a pair: the neighbour, a Node worker that is there from the first to the last, and the worker.
const scenarios = {
  // ---- addresses: one worker for all ----
  'tcp, a host and a port': async (pair) => share(pair, [{ network: 'tcp', host, port: await freePort() }]),
  'tcp, no host': async (pair) => share(pair, [{ network: 'tcp', port: await freePort() }]),
  'tcp, a host, port 0': (pair) => share(pair, [{ network: 'tcp', host, port: 0 }]),
  'tcp, no host, port 0': (pair) => share(pair, [{ network: 'tcp', port: 0 }]),
  async 'tcp, two listeners on port 0'(pair) {
    const addresses = await share(pair, [{ network: 'tcp', host, port: 0 }, { network: 'tcp', host, port: 0 }]);
    assert.notStrictEqual(addresses[0], addresses[1]);
  },
  async 'tcp, a port that was shared and closed before'(pair) {
    const where = [{ network: 'tcp', host, port: await freePort() }];
    await share(pair, where);
    await share(pair, where);
  },
  'unix, a path': (pair) => share(pair, [{ network: 'unix', path: path.join(dir, 'shared.sock') }]),
  'udp4, a port': async (pair) => share(pair, [{ network: 'udp4', host, port: await freePort() }]),
  'udp4, port 0': (pair) => share(pair, [{ network: 'udp4', host, port: 0 }]),
  async 'exclusive'(pair) {
    const seen = [];
    for (const party of [pair.neighbour, pair.worker]) {
      const a = await party.ask({ do: 'listen', name: 'own', network: 'tcp', host, port: 0, exclusive: true });
      assert(!a.error && !seen.includes(a.address), JSON.stringify(a));
      seen.push(a.address);
      assert.strictEqual(await who({ network: 'tcp' }, a.address), party.says());
    }
    await all(pair, { do: 'close', name: 'own' });
  },
  async 'a port that somebody else has'(pair) {
    const port = await freePort();
    const blocker = net.createServer();
    await new Promise((resolve) => blocker.listen(port, host, resolve));
    await all(pair, { do: 'listen', name: 'taken', network: 'tcp', host, port });
    await new Promise((resolve) => blocker.close(resolve));
    // And no listening afterwards: the index of a Node worker counts on after a failure, so that those of 20 and older
    // share the port only with workers that have failed as often.
  },
  'a unix path without its folder': (pair) => {
    return all(pair, { do: 'listen', name: 'nowhere', network: 'unix', path: path.join(dir, 'no', 'such.sock') });
  },
  async 'messages'({ worker }) {
    for (const value of ['text', 7, true, null, [1, [2]], { nested: { a: [{}] }, text: 'grüße' }]) {
      await worker.ask({ do: 'echo', value });
    }
  },

  // ---- ends: a new worker for each; it serves when it ends ----
  'the primary disconnects the worker': end((party) => party.worker.disconnect()),
  'the primary disconnects the worker, which has a connection open': end(async (party, address) => {
    const client = await hold(party, address);
    party.worker.disconnect();
    await party.told('leaving'); // which it is told while its connection is there
    client.end();
  }),
  'the worker disconnects: cluster.worker.disconnect()': end((party) => party.tell({ do: 'disconnect' })),
  'the worker disconnects and has a connection open': end(async (party, address) => {
    const client = await hold(party, address);
    party.tell({ do: 'disconnect' });
    await party.told('leaving');
    client.end();
  }),
  'the worker ends itself: cluster.worker.kill()': end((party) => party.tell({ do: 'kill' })),
  'the worker exits with code 3': end((party) => party.tell({ do: 'exit' })),
  'the worker fails: an uncaught exception, a panic': end((party) => party.tell({ do: 'crash' })),
  'the primary kills the worker: worker.kill()': end(async (party) => {
    await party.ask({ do: 'stay' }); // the signal finds it, if it comes after a disconnect
    party.worker.kill();
  }),
  'SIGKILL': end((party) => process.kill(party.worker.process.pid, 'SIGKILL')),
  'the primary closes the channel: worker.process.disconnect()': end((party) => party.worker.process.disconnect()),
};

// share has both workers listen on these addresses, looks who serves, and has each serve alone while the other has
// closed. It returns the addresses.
async function share(pair, wheres) {
  const { neighbour, worker } = pair;
  const open = async (party) => {
    const addresses = [];
    for (const [i, where] of wheres.entries()) {
      const a = await party.ask(Object.assign({ do: 'listen', name: String(i) }, where));
      assert(!a.error, JSON.stringify(a));
      addresses.push(a.address);
      await party.listened();
    }
    return addresses;
  };
  const close = async (party) => {
    for (const i of wheres.keys()) await party.ask({ do: 'close', name: String(i) });
  };
  const alone = async (party) => {
    for (const [i, where] of wheres.entries()) {
      for (let n = 0; n < 3; n++) assert.strictEqual(await who(where, addresses[i]), party.says());
    }
  };
  const addresses = await open(neighbour);
  assert.deepStrictEqual(await open(worker), addresses);
  for (const [i, where] of wheres.entries()) {
    const answers = [];
    for (let n = 0; n < connections; n++) answers.push(await who(where, addresses[i]));
    for (const a of answers) assert([neighbour.says(), worker.says()].includes(a), a);
    // Otherwise it is the kernel that decides.
    if (cluster.schedulingPolicy === cluster.SCHED_RR && where.network !== 'udp4') {
      const turns = answers.every((a, n) => n === 0 || a !== answers[n - 1]);
      if (!turns || !pair.served) pair.served = turns ? 'in turns' : answers.join();
    }
  }
  await close(worker);
  await alone(neighbour);
  assert.deepStrictEqual(await open(worker), addresses);
  await close(neighbour);
  await alone(worker);
  await close(worker);
  for (const [i, where] of wheres.entries()) {
    if (where.network === 'unix') assert(!fs.existsSync(where.path), 'the primary has left the socket');
    if (where.network !== 'udp4') await assert.rejects(who(where, addresses[i]), /ECONNREFUSED|ENOENT/);
  }
  return addresses;
}

// end makes a scenario of what ends a worker. Before and after it the neighbour serves, and the worker before.
function end(how) {
  const scenario = async (pair) => {
    const { neighbour, worker } = pair;
    const where = { network: 'tcp', host, port: 0 };
    const listen = Object.assign({ do: 'listen', name: 'end' }, where);
    const { address } = await worker.ask(listen);
    await worker.listened();
    assert.strictEqual(await who(where, address), worker.says());
    await how(worker, address);
    await worker.over();
    // Nothing holds the port any more.
    const a = await neighbour.ask(Object.assign({}, listen, { port: target(address).port }));
    assert.strictEqual(a.address, address, JSON.stringify(a));
    for (let n = 0; n < 4; n++) assert.strictEqual(await who(where, a.address), neighbour.says());
    await neighbour.listened();
    await neighbour.ask({ do: 'close', name: 'end' });
  };
  scenario.ends = true;
  return scenario;
}

async function all({ neighbour, worker }, command) {
  const a = await neighbour.ask(command);
  const b = await worker.ask(command);
  return [a, b];
}

// ---------------------------------------------------------------------------------------------------- clients

// who asks whoever serves there for its name.
function who(where, address) {
  return where.network === 'udp4' ? whoUDP(address) : new Promise((resolve, reject) => {
    let text = '';
    net.connect(target(address)).on('error', reject)
      .setEncoding('utf8').on('data', (s) => { text += s; }).on('end', () => resolve(text));
  });
}

function target(address) {
  if (address.startsWith('/')) return { path: address };
  return { host, port: Number(address.slice(address.lastIndexOf(':') + 1)) };
}

function whoUDP(address) {
  return new Promise((resolve, reject) => {
    const socket = dgram.createSocket('udp4').on('error', reject).on('message', (m) => {
      socket.close();
      resolve(String(m));
    });
    socket.send('who', target(address).port, host);
  });
}

// hold makes a connection that stays.
async function hold(party, address) {
  await party.ask({ do: 'hold' });
  return new Promise((resolve, reject) => {
    const client = net.connect(target(address)).on('error', reject).once('data', () => resolve(client));
  });
}

// freePort returns a port that neither TCP nor UDP has in use.
function freePort() {
  return new Promise((resolve, reject) => {
    const server = net.createServer().on('error', reject).listen(0, () => {
      const { port } = server.address();
      const socket = dgram.createSocket('udp4').on('error', reject).bind(port, host, () => {
        socket.close(() => server.close(() => resolve(port)));
      });
    });
  });
}

// ---------------------------------------------------------------------------------------------------- primary

const parties = {}; // by worker.id

// A Party is a worker with what the primary has seen of it.
class Party {
  constructor(kind, binary) {
    this.kind = kind;
    this.names = new Map(); // of ports
    this.seen = { cluster: [], worker: [] };
    this.waiting = [];
    this.wake = () => {};
    this.worker = kind === 'go' ? forkGo(cluster, binary, { NODEIPC_TEST_WORKER: 'matrix' }) : cluster.fork();
    parties[this.worker.id] = this;
    for (const name of ['online', 'listening', 'message', 'disconnect', 'exit']) {
      this.worker.on(name, (...args) => this.note('worker', name, args));
    }
  }

  says() { return `${this.kind} ${this.worker.id}`; }

  note(who, name, args) {
    this.seen[who].push(this.text(name, args));
    // What the worker has said is used once the cluster has emitted it, which is the later of both.
    if (who === 'cluster') this.wake(name, args[0]);
  }

  text(name, args) {
    if (name === 'message' || name === 'listening') return `${name} ${this.normal(JSON.stringify(args[0]))}`;
    const meant = `exitedAfterDisconnect=${this.worker.exitedAfterDisconnect}`;
    if (name === 'disconnect') return `disconnect ${meant}`;
    if (name === 'exit') return `exit code=${args[0]} signal=${args[1]} ${meant}`;
    return name;
  }

  normal(text) {
    return text.split(dir).join('DIR').replace(/("port":|127\.0\.0\.1:|:::|\]:)(\d{2,5})\b/g, (match, before, port) => {
      if (!this.names.has(port)) this.names.set(port, `P${this.names.size + 1}`);
      return before + this.names.get(port);
    });
  }

  // until waits for an event that is not there yet.
  until(match) {
    return new Promise((resolve) => {
      this.wake = (name, arg) => {
        if (match(name, arg)) resolve(arg);
      };
    });
  }

  tell(command) { this.worker.send(command); }

  ask(command) {
    const answer = this.told(command.do);
    this.tell(command);
    return answer;
  }

  told(re) { return this.until((name, m) => name === 'message' && m.re === re); }

  // listened waits for one more event of this kind since the last time.
  async listened() {
    this.listening = (this.listening || 0) + 1;
    const count = () => this.seen.cluster.filter((text) => text.startsWith('listening')).length;
    if (count() < this.listening) await this.until(() => count() >= this.listening);
  }

  async over() {
    const has = (kind) => this.seen.cluster.some((text) => text.startsWith(kind));
    if (!has('exit') || !has('disconnect')) await this.until(() => has('exit') && has('disconnect'));
    const { id } = this.worker;
    // The cluster takes it off its list after the events.
    await new Promise(setImmediate);
    assert(this.worker.isDead() && !this.worker.isConnected() && !(id in cluster.workers), 'the primary has it still');
  }

  // take returns the events since the last time.
  take() {
    const { cluster: all, worker } = this.seen;
    this.seen = { cluster: [], worker: [] };
    this.listening = 0;
    this.names = new Map();
    const order = (events) => {
      const exit = events.findIndex((text) => text.startsWith('exit '));
      if (exit >= 0) events.push(...events.splice(exit, 1));
      return events;
    };
    const same = order(all).filter((text) => text !== 'fork');
    if (JSON.stringify(same) !== JSON.stringify(order(worker))) all.push(...worker.map((text) => `Worker: ${text}`));
    return all;
  }
}

async function primary(binary, serialization) {
  cluster.setupMaster({ stdio: ['ignore', 2, 2, 'ipc'], serialization }); // stdout is for the report
  for (const name of ['fork', 'online', 'listening', 'message', 'disconnect', 'exit']) {
    cluster.on(name, (worker, ...args) => parties[worker.id].note('cluster', name, args));
  }
  const online = async (kind) => {
    const party = new Party(kind, binary);
    await party.until((name) => name === 'online');
    return party;
  };
  const neighbour = await online('node');
  neighbour.take();
  const report = {};
  for (const kind of ['node', 'go']) {
    report[kind] = {};
    let worker = await online(kind);
    const start = worker.take();
    report[kind]['the primary forks the worker'] = { worker: start, neighbour: [] };
    for (const name of Object.keys(scenarios)) {
      stage = `${name}, ${kind}`;
      const scenario = scenarios[name];
      const pair = { neighbour, worker };
      await scenario(pair);
      report[kind][name] = { worker: worker.take(), neighbour: neighbour.take(), served: pair.served };
      // The worker of the addresses is that of the first end, too.
      if (scenario.ends && name !== Object.keys(scenarios).pop()) {
        worker = await online(kind);
        assert.deepStrictEqual(worker.take(), start);
      }
    }
  }
  report.scenarios = Object.keys(report.node);
  return report;
}

let stage = 'start';
let dir;

function run() {
  dir = fs.mkdtempSync(path.join(os.tmpdir(), 'matrix-'));
  const finish = (err, report) => {
    for (const id of Object.keys(cluster.workers)) cluster.workers[id].process.kill('SIGKILL');
    fs.rmdirSync(dir);
    if (err) {
      report = { error: `${stage}: ${err.stack || err}`, events: {} };
      for (const id of Object.keys(parties)) report.events[parties[id].says()] = parties[id].seen.cluster;
    }
    process.stdout.write(JSON.stringify(report) + '\n', () => process.exit(err ? 1 : 0));
  };
  setTimeout(() => finish(new Error('not done within two minutes')), 120000).unref();
  primary(process.argv[2], process.argv[3] || 'json').then((report) => finish(null, report), finish);
}

// ---------------------------------------------------------------------------------------------------- worker

function worker() {
  const name = `node ${cluster.worker.id}`;
  const servers = {};
  let holds = false;
  const serve = (socket) => {
    if (!holds) return socket.end(name);
    socket.resume().write(name); // ends when the client does
  };
  const join = ({ address, port }) => (address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`);
  const leaving = () => { if (holds) process.send({ re: 'leaving' }); };
  const commands = {
    listen(c, answer) {
      const udp = c.network === 'udp4';
      const server = servers[c.name] = udp ? dgram.createSocket('udp4') : net.createServer(serve);
      const listening = () => {
        const a = server.address();
        // Node sends `listening` after the program's callback: what the callback sends would come before.
        setImmediate(() => answer({ address: typeof a === 'string' ? a : join(a) }));
      };
      server.on('error', (err) => setImmediate(() => answer({ error: err.code, syscall: err.syscall })));
      if (udp) {
        server.on('message', (m, from) => server.send(name, from.port, from.address));
        server.bind({ port: c.port, address: c.host }, listening);
      } else if (c.network === 'unix') {
        server.listen(c.path, listening);
      } else {
        server.listen({ port: c.port, host: c.host, exclusive: c.exclusive }, listening);
      }
    },
    close: (c, answer) => servers[c.name].close(() => answer({})),
    echo: (c, answer) => answer({ value: c.value }),
    hold(c, answer) {
      holds = true;
      answer({});
    },
    stay(c, answer) {
      setInterval(() => {}, 1000);
      answer({});
    },
    disconnect() {
      cluster.worker.disconnect();
      leaving();
    },
    kill: () => cluster.worker.kill(),
    exit: () => process.exit(3),
    crash() { throw new Error('crash'); },
  };
  process.on('message', (c) => commands[c.do](c, (more) => process.send(Object.assign({ re: c.do }, more))));
  process.on('internalMessage', (m) => { if (m.act === 'disconnect') leaving(); });
}

if (cluster.isMaster) run();
else worker();
