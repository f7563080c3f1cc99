// A Node cluster, primary and workers, that reports all that a program can see of it: `nodeipc tap` changes nothing.
//
//   node tap_cluster.js SCENARIO        one of scenarios, below
//
// The last line of stdout is the report, in JSON. It holds no port, no process id and no time, and is the same in every
// run: {"scenario":...,"workers":{"1":{"events":[...],"said":[...]},...},...what the scenario counted}
//
// events are those of the worker and of the cluster about it, as the primary sees them and in that order, with the acts
// of the cluster's own messages that the worker sent. said is what the worker wrote to its stdout: what it sees itself.
// Exit code 0, or 7 for kill. A run that does not end is ended after a minute, with what it has so far and exit code 1.
// Ran on Node 12, 14, 16, 18, 20, 22, 24 and 26.
'use strict';

const cluster = require('cluster');
const crypto = require('crypto');
const dgram = require('dgram');
const fs = require('fs');
const http = require('http');
const net = require('net');
const os = require('os');
const path = require('path');
const tls = require('tls');
const { key, cert } = require('./localhost');
const util = require('util');

const host = '127.0.0.1';
const scenario = process.argv[2];

// ---- The primary.

const report = { scenario, workers: {} };

const scenarios = {
  // Four workers under load, over connections that are kept and over new ones.
  async http() {
    const workers = await start(4, 'http');
    const kept = new http.Agent({ keepAlive: true, maxSockets: 8 });
    Object.assign(report, await load((body, n) => request(at(workers[0]), body, n % 2 === 0 && kept), 400));
    kept.destroy();
    together(workers);
  },

  // Two workers are replaced, one after the other, while requests come in. Not over HTTP: when a worker disconnects, an
  // HTTP server of Node 26 closes connections of which it has read nothing yet, so that requests fail without a tap.
  async rolling() {
    const old = await start(2, 'net');
    const ask = (body) => all(net.connect(at(old[0])).end(body));
    let rolling = true;
    const loading = load(ask, () => rolling, 4);
    const replaced = [];
    for (const worker of old) {
      replaced.push(...await start(1, 'net'));
      worker.disconnect();
      await worker.gone;
    }
    rolling = false;
    report.meanwhile = (await loading).failures;
    Object.assign(report, await load(ask, 40));
    together(replaced);
  },

  // The kernel gives a datagram to whoever asks first: who answers is certain only where one worker is left.
  async udp() {
    const workers = await start(2, 'udp');
    const { port } = at(workers[0]);
    const client = dgram.createSocket('udp4').bind(0, host);
    await once(client, 'listening');
    report.echoed = (await datagrams(client, port, 60)).length;
    workers[0].disconnect();
    await workers[0].gone;
    report.served = Array.from(new Set(await datagrams(client, port, 20)));
    client.close();
    workers[1].disconnect();
  },

  async unix() {
    const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'tap-cluster-'));
    const socketPath = path.join(dir, 'socket');
    process.on('exit', () => {
      if (fs.existsSync(socketPath)) fs.unlinkSync(socketPath);
      fs.rmdirSync(dir);
    });
    await start(2, 'http', { LISTEN: socketPath });
    Object.assign(report, await load((body) => request({ socketPath }, body), 60));
    await together();
    report.files = fs.readdirSync(dir); // the primary removes the socket when nobody listens any more
  },

  // A session that began at one worker is resumed at all of them.
  async tls() {
    const workers = await start(3, 'tls', { KEYS: crypto.randomBytes(48).toString('base64') });
    const { port } = at(workers[0]);
    for (const version of ['TLSv1.2', 'TLSv1.3']) {
      const first = await session(port, version);
      const later = [];
      for (let i = 0; i < 6; i++) later.push(await session(port, version, first.session));
      report[version] = {
        fresh: !first.resumed,
        resumed: later.filter((s) => s.resumed).length,
        servers: new Set(later.map((s) => s.by)).size,
      };
    }
    await together();
  },

  // The workers have the listening socket itself, and the kernel chooses: certain only where one worker is left.
  async none() {
    const workers = await start(2, 'http');
    const ask = (body) => request(at(workers[0]), body);
    report.meanwhile = (await load(ask, 100)).failures;
    workers[0].disconnect();
    await workers[0].gone;
    Object.assign(report, await load(ask, 20));
    workers[1].disconnect();
  },

  // The ports are taken, by the primary itself; then they are free.
  async inuse() {
    const server = net.createServer().listen(0, host);
    const socket = dgram.createSocket('udp4').bind(0, host);
    await Promise.all([once(server, 'listening'), once(socket, 'listening')]);
    const workers = [];
    for (let i = 0; i < 2; i++) {
      workers.push(fork('inuse', { TCP: server.address().port, UDP: socket.address().port }));
      await once(workers[i], 'message', (m) => m.udp);
    }
    await Promise.all([server, socket].map((held) => new Promise((resolve) => held.close(resolve))));
    for (const worker of workers) {
      worker.send('again');
      await once(worker, 'listening');
      worker.disconnect();
      await worker.gone;
    }
  },

  // Every way to end a worker.
  async kill() {
    process.exitCode = 7;
    const ways = {
      'worker.kill': (worker) => worker.kill(),
      'worker.kill SIGINT': (worker) => worker.kill('SIGINT'),
      SIGKILL: (worker) => process.kill(worker.process.pid, 'SIGKILL'),
      SIGUSR2: (worker) => process.kill(worker.process.pid, 'SIGUSR2'),
    };
    for (const way of Object.keys(leave)) ways[way] = (worker) => worker.send('leave');
    const names = Object.keys(ways);
    const workers = await Promise.all(names.map((way) => start(1, 'kill', { WAY: way })));
    for (let i = 0; i < names.length; i++) {
      workers[i][0].log(names[i]);
      ways[names[i]](workers[i][0]);
      await workers[i][0].gone;
    }
  },

  // Messages and sockets, both ways.
  async messages() {
    setup({ args: [scenario, 'two words', ''], execArgv: ['--stack-size=900'] });
    const workers = [fork('messages', { PASSED: 'grüße "\n' }), fork('messages')];
    const values = ['hello', 7, true, null, [1, 2], { text: 'grüße \u2028 <b>', nested: { a: [{}] }, cmd: 'NODE' }];
    report.callbacks = [];
    for (const worker of workers) {
      for (const value of values) worker.send({ echo: value });
      for (let i = 0; i < 30; i++) worker.send({ burst: i, pad: 'x'.repeat(30000) });
      worker.send({ introduce: true }, (err) => report.callbacks.push(err));
      await once(worker, 'message', (m) => m.id);
    }

    // Connections of a server go to the workers, which answer.
    const server = net.createServer({ pauseOnConnect: true });
    let turn = 0;
    server.on('connection', (socket) => workers[turn++ % 2].send({ take: 'socket' }, socket));
    const port = await listen(server);
    report.taken = [];
    for (let i = 0; i < 4; i++) report.taken.push(await all(net.connect(port, host)));
    server.close();

    // Workers send connections to the primary, which answers.
    const other = net.createServer();
    const otherPort = await listen(other);
    report.given = [];
    for (const worker of workers) {
      const accepted = once(other, 'connection');
      const given = once(worker, 'message', (m) => m.given);
      worker.send({ give: 'socket', port: otherPort });
      (await given)[1].end(`from the primary to worker ${worker.id}`);
      report.given.push(await all((await accepted)[0]));
    }

    other.close();
    together(workers);
  },

  async advanced() {
    setup({ serialization: 'advanced' });
    const workers = await start(2, 'http');
    const value = { date: new Date(0), map: new Map([[1, new Set(['a'])]]), big: 2n ** 70n, bytes: Buffer.from('ü') };
    value.self = value;
    for (const worker of workers) {
      worker.send({ echo: value, none: undefined });
      await once(worker, 'message');
    }
    Object.assign(report, await load((body) => request(at(workers[0]), body), 60));
    together(workers);
  },
};

const workers = {}; // cluster.workers forgets those that disconnect

function primary() {
  setTimeout(() => {
    console.error(`not done within a minute: ${JSON.stringify(report)}`);
    for (const id of Object.keys(workers)) workers[id].process.kill('SIGKILL');
    process.exit(1);
  }, 60000).unref();
  process.on('unhandledRejection', (err) => { throw err; });

  if (scenario === 'none') cluster.schedulingPolicy = cluster.SCHED_NONE; // before setup
  setup({});
  for (const name of ['fork', 'online', 'listening', 'message', 'disconnect', 'exit']) {
    cluster.on(name, (worker, ...args) => logOf(worker)(`cluster ${name}`, ...seen(name, worker, args)));
  }
  scenarios[scenario]()
    .then(() => Promise.all(Object.keys(workers).map((id) => workers[id].gone)))
    .then(() => console.log(JSON.stringify(report)));
}

// setup gives workers a pipe for what they say. Only kill has something to say on stderr: how a worker throws.
function setup(settings) {
  const stdio = ['ignore', 'pipe', 'inherit', 'ipc'];
  (cluster.setupPrimary || cluster.setupMaster)(Object.assign({ args: [scenario], stdio }, settings));
}

function fork(role, env) {
  const worker = cluster.fork(Object.assign({ ROLE: role }, env));
  workers[worker.id] = worker;
  worker.log = logOf(worker);
  for (const name of ['online', 'listening', 'message', 'error', 'disconnect', 'exit']) {
    worker.on(name, (...args) => worker.log(`worker ${name}`, ...seen(name, worker, args)));
  }
  worker.process.on('internalMessage', (m) => { if (m.act) worker.log(`act ${m.act}`); });
  worker.on('listening', (address) => { worker.address = address; });
  let text = '';
  worker.process.stdout.setEncoding('utf8').on('data', (s) => { text += s; });
  worker.gone = once(worker.process, 'close').then(() => { report.workers[worker.id].said = text.split('\n'); });
  return worker;
}

// start forks so many workers, and waits until they listen.
function start(count, role, env) {
  return Promise.all(Array.from({ length: count }, () => {
    const worker = fork(role, env);
    return once(worker, 'listening').then(() => worker);
  }));
}

// together disconnects these workers, or all, at once. On plain Node as well the exit of one may then come before its
// disconnect, in some run of hundreds: the signal that the first has ended tells of them all, and Node may not have read
// by then that their channels have. So what is reported is not in which order these two came. The order of all else
// is, and of these where workers end one by one.
function together(some) {
  const all = Object.keys(cluster.workers).map((id) => cluster.workers[id]);
  for (const worker of some || all) {
    worker.gone = worker.gone.then(() => {
      const { events } = report.workers[worker.id];
      const isExit = (e) => / exit /.test(e);
      report.workers[worker.id].events = events.filter((e) => !isExit(e)).concat(events.filter(isExit));
    });
  }
  if (!some) return new Promise((resolve) => cluster.disconnect(resolve));
  for (const worker of some) worker.disconnect();
}

function logOf({ id }) {
  const { events } = report.workers[id] = report.workers[id] || { events: [] };
  return (...what) => events.push(what.map((w) => (w === undefined || w === null ? '-' : w)).join(' '));
}

// seen is what an event tells.
function seen(name, worker, args) {
  switch (name) {
    case 'listening':
      return [args[0].addressType, path.basename(String(args[0].address)), args[0].port > 0, args[0].fd];
    case 'message':
      return [show(args[0].burst === undefined ? args[0] : args[0].burst), args[1] && args[1].constructor.name];
    case 'disconnect':
      return [worker.exitedAfterDisconnect, worker.isConnected()];
    case 'exit':
      return [...args, worker.exitedAfterDisconnect, worker.isDead()];
    default:
      return args.map(show);
  }
}

function show(value) {
  return util.inspect(value, { depth: 5, breakLength: Infinity, compact: 9 });
}

const at = (worker) => ({ host, port: worker.address.port });

// load asks so many times, or as long as more says, some at a time, and returns who answered: the first word.
async function load(ask, more, width = 16) {
  let sent = 0;
  const failures = [];
  const served = new Set();
  await Promise.all(Array.from({ length: width }, async () => {
    while (typeof more === 'number' ? sent < more : more()) {
      const body = `request ${sent}`;
      try {
        const answer = await ask(body, sent++);
        if (answer.slice(answer.indexOf(' ') + 1) !== body) throw new Error(`${body} is answered by ${answer}`);
        served.add(Number.parseInt(answer, 10));
      } catch (err) {
        failures.push(err.code || err.message);
      }
    }
  }));
  return { failures, served: Array.from(served).sort() };
}

function request(where, body, agent = false) {
  return new Promise((resolve, reject) => {
    const options = Object.assign({ method: 'POST', agent }, where);
    http.request(options, (res) => all(res).then(resolve, reject)).on('error', reject).end(body);
  });
}

// datagrams sends so many, eight at a time, and returns who answered each.
async function datagrams(client, port, count) {
  const by = [];
  let sent = 0;
  await Promise.all(Array.from({ length: 8 }, async () => {
    while (sent < count) {
      const body = `datagram ${sent++}`;
      const answered = once(client, 'message', (m) => String(m).endsWith(` ${body}`));
      client.send(body, port, host);
      by.push(Number.parseInt((await answered)[0], 10));
    }
  }));
  return by;
}

async function session(port, version, former) {
  const options = { ca: cert, servername: 'localhost', session: former, minVersion: version, maxVersion: version };
  const socket = tls.connect(port, host, options);
  let latest;
  socket.on('session', (s) => { latest = s; });
  const by = await all(socket);
  return { by, session: latest, resumed: socket.isSessionReused() };
}

// ---- The workers.

const roles = {
  net() {
    const answer = (socket) => all(socket).then((body) => socket.end(`${cluster.worker.id} ${body}`));
    net.createServer({ allowHalfOpen: true }, answer).listen(0, host);
  },

  http() {
    const server = http.createServer((req, res) => all(req).then((body) => res.end(`${cluster.worker.id} ${body}`)));
    server.keepAliveTimeout = 60000;
    if (process.env.LISTEN) server.listen(process.env.LISTEN);
    else server.listen(0, host);
    process.on('message', (m) => process.send(m));
  },

  udp() {
    const socket = dgram.createSocket('udp4').bind(0, host);
    socket.on('message', (m, from) => socket.send(`${cluster.worker.id} ${m}`, from.port, from.address));
  },

  tls() {
    const server = tls.createServer({ key, cert }, (socket) => socket.end(String(cluster.worker.id)));
    server.setTicketKeys(Buffer.from(process.env.KEYS, 'base64'));
    server.listen(0, host);
  },

  async inuse() {
    const told = ({ code, syscall, address }) => ({ code, syscall, address });
    const tcp = () => net.createServer().listen(process.env.TCP, host);
    process.send({ tcp: told((await once(tcp(), 'error'))[0]) });
    const udp = dgram.createSocket('udp4').bind(process.env.UDP, host);
    process.send({ udp: told((await once(udp, 'error'))[0]) });
    process.once('message', tcp);
  },

  kill() {
    const way = process.env.WAY;
    const staying = setInterval(() => {}, 1000); // or it may be gone before the signal that worker.kill() sends
    process.on('message', () => {
      clearInterval(staying);
      leave[way]();
    });
    if (way === 'SIGUSR2') process.on('SIGUSR2', () => process.exit(5));
    net.createServer().listen(0, host);
  },

  messages() {
    const introduction = () => ({
      id: cluster.worker.id,
      argv: process.argv.slice(2),
      execArgv: process.execArgv,
      argv0: process.argv0,
      passed: process.env.PASSED,
      left: Object.keys(process.env).filter((name) => /^NODE_(UNIQUE|CHANNEL)/.test(name)),
      connected: process.connected,
    });
    process.on('message', (m, handle) => {
      if (m.introduce) process.send(introduction());
      else if (m.take === 'socket') handle.end(`from worker ${cluster.worker.id}`);
      else if (m.give) give(m.port);
      else process.send(m);
    });
    // Paused, or Node may read, into nothing, what comes before it has closed its copy.
    const give = (port) => {
      const socket = net.connect(port, host, () => process.send({ given: true }, socket)).pause();
    };
  },
};

// What a worker can do to leave.
const leave = {
  'process.disconnect': () => process.disconnect(),
  'cluster.worker.disconnect': () => cluster.worker.disconnect(),
  'cluster.worker.kill': () => cluster.worker.kill(),
  'process.exit': () => process.exit(3),
  'throw': () => { throw new Error('thrown by a worker'); },
  'killed by itself': () => process.kill(process.pid, 'SIGTERM'),
};

function worker() {
  // Whether a worker says anything before the signal that ends it is up to chance: it may learn first that the primary
  // disconnects, of itself or because what has been killed is the tap in between.
  const doomed = /kill/i.test(process.env.WAY) && !leave[process.env.WAY];
  const say = (text) => doomed || fs.writeSync(1, `${text}\n`);
  process.on('disconnect', () => say('process disconnect'));
  cluster.worker.on('disconnect', () => say('worker disconnect'));
  process.on('exit', (code) => say(`exit ${code} ${cluster.worker.exitedAfterDisconnect} ${process.connected}`));
  roles[process.env.ROLE]();
}

// ---- Both.

// once waits for an event of which the condition holds, if there is one, and returns its arguments.
function once(emitter, name, condition) {
  return new Promise((resolve) => {
    emitter.on(name, function listener(...args) {
      if (condition && !condition(...args)) return;
      emitter.removeListener(name, listener);
      resolve(args);
    });
  });
}

// all reads to the end.
function all(stream) {
  return new Promise((resolve, reject) => {
    let text = '';
    stream.setEncoding('utf8').on('data', (s) => { text += s; }).on('end', () => resolve(text)).on('error', reject);
  });
}

async function listen(server) {
  server.listen(0, host);
  await once(server, 'listening');
  return server.address().port;
}

if (cluster.isMaster) primary();
else worker();
