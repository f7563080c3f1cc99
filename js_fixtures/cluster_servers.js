// A cluster worker with ordinary servers, which need not know what their primary is: for the tests of package cluster.
//
// It writes what it sees to the file that the variable REPORT names, a line for each event: who emitted it, its name
// and its arguments in JSON. That is all that cluster and cluster.worker emit, how process ends, and of the servers
// what is not about a connection. It begins with "start":
//
//   start {"id":1,...}
//   server a: listening {"address":"127.0.0.1","family":"IPv4","port":4711}
//   cluster.worker: disconnect {"meant":true,"connected":false,"channel":false}
//   process: exit {"code":0,"meant":true,"connected":false,"channel":false}
//
// where meant is exitedAfterDisconnect, and connected and channel are worker.isConnected() and process.connected.
//
// It answers {"do":...,"re":n} of the primary with {"re":n,...}:
//
//   {"do":"listen","name":"a","kind":"net","options":{"port":0}}  options are for listen, or for bind of a socket; kind
//                                is "http", "net", "tls" (with the files CERT and KEY), "udp4" or "udp6", and "server"
//                                has maxConnections, or options of dgram.createSocket: {"address":...} of
//                                server.address(), or {"error":"EADDRINUSE"}
//   {"do":"brief","options":{"port":0}}  a server that is closed before it listens: {} a while after that
//   {"do":"close","name":"a"}    {} when it is closed
//   {"do":"hold"}                {}; connections of net stay open until the client ends them, and after "release" not
//   {"do":"stay"}                {}; a signal finds it alive, whatever becomes of its servers
//   {"do":"catch"}               {}; on SIGTERM it exits with code 7
//   {"do":"echo","value":x}      {"value":x}
//   "disconnect", "kill"         those of cluster.worker; "leave" is process.disconnect()
//   "exit", "crash"              process.exit(3), an exception
//
// A connection, request or datagram gets a line of JSON: which worker and server, and where it arrived. The primary
// gets {"re":"held"} for each connection that is held, and {"re":"leaving"} if the worker holds any when it is asked to
// disconnect or does so itself.
// Ran on Node 12, 14, 16, 18, 20, 22, 24 and 26.
'use strict';

const cluster = require('cluster');
const dgram = require('dgram');
const fs = require('fs');
const http = require('http');
const net = require('net');
const tls = require('tls');

const note = (who, what) => {
  const text = what === undefined ? '' : ` ${JSON.stringify(what)}`;
  fs.appendFileSync(process.env.REPORT, `${who}${text}\n`);
};
const worker = cluster.worker;
const servers = {};
let holding = false;
let held = 0;

const ourVariables = Object.keys(process.env).filter((name) => /^NODE_(CHANNEL|UNIQUE)|^TEST_/.test(name)).sort();
note('start', {
  id: worker.id,
  worker: cluster.isWorker,
  master: cluster.isMaster,
  connected: worker.isConnected(),
  dead: worker.isDead(),
  meant: worker.exitedAfterDisconnect,
  env: ourVariables.map((name) => `${name}=${process.env[name]}`),
  argv: process.argv.slice(2),
  execArgv: process.execArgv,
  sent: typeof process.send,
});

// Everything that an emitter emits.
function watch(emitter, who, show) {
  const { emit } = emitter;
  emitter.emit = function(name, ...args) {
    const what = show(name, args);
    if (what !== false) note(`${who}: ${String(name)}`, what);
    return emit.call(this, name, ...args);
  };
}
const state = () => {
  return { meant: worker.exitedAfterDisconnect, connected: worker.isConnected(), channel: process.connected };
};
const shown = (name, args) => {
  if (name === 'newListener') return false;
  return name === 'message' ? { do: args[0].do } : state();
};
watch(cluster, 'cluster', shown);
watch(worker, 'cluster.worker', shown);
for (const name of ['disconnect', 'exit', 'beforeExit']) {
  process.on(name, (code) => note(`process: ${name}`, Object.assign({ code }, state())));
}

const place = (socket) => ({ address: socket.localAddress, port: socket.localPort });
const line = (name, where) => JSON.stringify(Object.assign({ worker: worker.id, server: name }, where)) + '\n';

function hold(socket) {
  held++;
  socket.on('close', () => held--);
  socket.resume();
  process.send({ re: 'held' });
}

function leaving() {
  if (held > 0) process.send({ re: 'leaving' });
}

const makers = {
  net: (name) => net.createServer((socket) => {
    socket.on('error', (err) => note(`connection of ${name}: ${err.code}`));
    if (!holding) return socket.end(line(name, place(socket)));
    socket.write(line(name, place(socket)));
    hold(socket);
  }),
  http: (name) => http.createServer((req, res) => {
    res.end(line(name, Object.assign(place(req.socket), { url: req.url })));
  }),
  tls: (name) => {
    const options = { cert: fs.readFileSync(process.env.CERT), key: fs.readFileSync(process.env.KEY) };
    return tls.createServer(options, (socket) => {
      socket.on('error', (err) => note(`connection of ${name}: ${err.code}`));
      socket.end(line(name, Object.assign(place(socket), { reused: socket.isSessionReused() })));
    });
  },
};

function open({ kind, name, server }) {
  if (!kind.startsWith('udp')) return Object.assign(makers[kind](name), server);
  const socket = dgram.createSocket(Object.assign({ type: kind }, server));
  const where = () => ({ address: socket.address().address, port: socket.address().port });
  socket.on('message', (m, from) => socket.send(line(name, where()), from.port, from.address));
  return socket;
}

function watchServer(server, name) {
  watch(server, `server ${name}`, (event, args) => {
    if (event === 'listening') return server.address();
    if (event === 'close') return undefined;
    if (event !== 'error') return false;
    const { message, code, errno, syscall, address, port } = args[0];
    return { message, code, errno, syscall, address, port };
  });
}

const commands = {
  listen(c, answer) {
    const server = servers[c.name] = open(c);
    server.once('listening', () => answer({ address: server.address() }));
    server.once('error', (err) => answer({ error: err.code }));
    watchServer(server, c.name);
    server[server.listen ? 'listen' : 'bind'](c.options);
  },
  brief(c, answer) {
    const server = net.createServer();
    watchServer(server, 'brief');
    server.listen(c.options);
    server.close((err) => note('server brief: close says', err && err.code));
    // What the primary says of a later one comes after what it says of this one.
    const later = net.createServer().listen(0, '127.0.0.1', () => later.close(() => answer({})));
  },
  close: (c, answer) => servers[c.name].close(() => answer({})),
  hold(c, answer) {
    holding = true;
    answer({});
  },
  release(c, answer) {
    holding = false;
    answer({});
  },
  stay(c, answer) {
    setInterval(() => {}, 1000);
    answer({});
  },
  catch(c, answer) {
    process.on('SIGTERM', () => {
      note('process: SIGTERM', state());
      process.exit(7);
    });
    answer({});
  },
  echo: (c, answer) => answer({ value: c.value }),
  disconnect() {
    worker.disconnect();
    leaving();
  },
  kill: () => worker.kill(),
  leave: () => process.disconnect(),
  exit: () => process.exit(3),
  crash() { throw new Error('crash'); },
};

process.on('message', (c) => {
  if (commands[c.do]) commands[c.do](c, (more) => process.send(Object.assign({ re: c.re }, more)));
});
process.on('internalMessage', (m) => {
  if (m.act === 'disconnect') leaving();
});
