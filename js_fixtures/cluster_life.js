'use strict';
// A worker of a cluster that lives and ends as its argument says. Runs on Node 12 to 26.
//
//	node cluster_life.js '{"listen": [0], "stay": true}'
//
//	listen    for each an HTTP server that listens there, and answers with the worker's id and process id; with dgram a
//	          socket of that type, which binds there; with full, while its table of descriptors is
//	stay      it lives on when it is disconnected
//	ignore    the signals that do not end it
//	children  a command each, [name, ...arguments], which are started; with "detached" in front it leaves the group
//	stdio     of the children
//	env       names of variables
//
// The first message to the primary is {ready: {pid, argv, execArgv, debugPort, env, children: [pid]}}; then for each
// listen, one after the other, {address} or {error}. It does what a message says: {print: text}, then {say: value},
// which is sent back, then {close: true} its servers, {busy: true} for ever, or {exit: code}; {serve: true} with a
// connection; {give: port} sends one that it makes to that port.
//
// Without a primary it is one itself, which says the debugPort of two workers and ends.

const dgram = require('dgram');
const fs = require('fs');
const http = require('http');
const net = require('net');
const { spawn } = require('child_process');
const cluster = require('cluster');

const life = JSON.parse(process.argv[2] || '{}');
if (life.stay && cluster.isWorker) setInterval(() => {}, 1e6);
(life.ignore || []).forEach((signal) => process.on(signal, () => {}));

const server = () => http.createServer((req, res) => {
  res.setHeader('Connection', 'close');
  const answer = () => res.end(cluster.worker.id + ' ' + process.pid);
  if (req.url === '/slow') setTimeout(answer, 50);
  else answer();
});

const sockets = [];

function fillTable() {
  const filled = [];
  try {
    for (;;) filled.push(fs.openSync('/dev/null', 'r'));
  } catch (err) {
    if (err.code !== 'EMFILE') throw err;
  }
  return filled;
}

function listen(wanted) {
  if (wanted.length === 0) return;
  const where = wanted[0];
  const socket = where && where.dgram ? dgram.createSocket(where.dgram) : server();
  sockets.push(socket);
  const filled = where && where.full ? fillTable() : [];
  const next = (outcome) => {
    filled.forEach((fd) => fs.closeSync(fd));
    process.send(outcome);
    listen(wanted.slice(1));
  };
  socket.on('error', (err) => next({ error: err.code }));
  socket.on('listening', () => next({ address: socket.address() }));
  if (where && where.dgram) {
    socket.on('message', (text, from) => socket.send(String(process.pid), from.port, from.address));
    socket.bind(where);
  } else {
    socket.listen(where);
  }
}

process.on('message', (m, handle) => {
  if (m.print) process.stdout.write(m.print);
  if (m.say) process.send(m.say);
  if (m.close) sockets.forEach((socket) => socket.close());
  if (m.busy) for (;;);
  if (m.exit !== undefined) process.exit(m.exit);
  if (m.serve) server().emit('connection', handle);
  if (m.give) {
    const socket = net.connect(m.give, '127.0.0.1', () => process.send({ given: true }, socket));
  }
});

if (cluster.isMaster) {
  let ready = 0;
  cluster.on('message', (worker, m) => {
    console.log('worker %d has %d', worker.id, m.ready.debugPort);
    if (++ready === 2) process.exit();
  });
  cluster.fork();
  cluster.fork();
} else {
  live();
}

function live() {
  const children = (life.children || []).map((args) => {
    const detached = args[0] === 'detached';
    const command = detached ? args.slice(1) : args;
    return spawn(command[0], command.slice(1), { detached, stdio: life.stdio || 'ignore' });
  });

  const env = {};
  (life.env || []).forEach((name) => {
    env[name] = process.env[name];
  });
  process.send({
    ready: {
      pid: process.pid, argv: process.argv.slice(2), execArgv: process.execArgv, debugPort: process.debugPort, env,
      children: children.map((c) => c.pid),
    },
  });
  listen(life.listen || []);
}
