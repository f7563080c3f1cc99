// The child that parent.js expects, in JavaScript: what a Go child must do too. It keeps parent.js honest, by
// node parent.js SCENARIO node scenario_child.js
// Go parents also ask for {type:'buffer'}, which is answered by a Buffer.
// Ran on Node 12, 14, 16, 18, 20, 22, 24 and 26, Bun 1.4 and Deno 2.9.
'use strict';

const { spawn } = require('child_process');
const net = require('net');

const servers = {};

const where = (m) => m.path ? { path: m.path } : { port: m.port, host: m.host };

function serve(socket) {
  let all = '';
  socket.setEncoding('utf8').on('data', (s) => {
    all += s;
    const end = all.indexOf('\n');
    if (end >= 0) socket.end(`echo ${all.slice(0, end)}\n`);
  });
}

const types = {
  greeting: () => process.send({ type: 'response', message: 'Hi there master!' }),
  messages() {
    for (const value of ['ready', 7, true, null, [1, 2]]) process.send(value);
  },
  run({ command }) {
    const child = spawn(command[0], command.slice(1), { stdio: ['ignore', 'pipe', 'inherit'] });
    let stdout = '';
    child.stdout.setEncoding('utf8').on('data', (s) => { stdout += s; });
    child.on('close', (code) => process.send({ stdout, code }));
  },
  buffer: () => process.send(Buffer.from('grüße')),
  pid: () => process.send({ pid: process.pid }),
  serve(m, handle) {
    if (handle instanceof net.Socket) return serve(handle);
    servers[m.kind] = handle.on('connection', serve);
    process.send(m);
  },
  close: (m) => servers[m.kind].close(() => process.send(m)),
  return: (m, handle) => process.send(m, handle),
  listen(m) {
    const server = net.createServer().listen(where(m), () => process.send(m, server, { keepOpen: true })); // for Deno
    servers[m.kind] = server;
  },
  dial(m) {
    // Paused, or Node may read, into nothing, what comes before it has closed its copy.
    const socket = net.connect(where(m), () => process.send(m, socket)).pause();
  },
  mixed(m, handle) {
    process.send(m);
    if (handle) handle.end(`${m.n}\n`);
  },
  leave: () => process.disconnect(),
  die: () => process.exit(3),
};

process.on('message', (m, handle) => {
  const type = m !== null && typeof m === 'object' && Object.prototype.hasOwnProperty.call(types, m.type) ? types[m.type] : null;
  if (type) type(m, handle);
  else process.send(m);
});
process.on('disconnect', () => process.exit(0));
