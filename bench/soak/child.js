'use strict';
// The Node child of the soak; the Go one, which does the same, is in child.go. Runs on Node 12 and later.

const net = require('net');

function where(m) {
  if (m.network === 'unix') return { path: m.address };
  const colon = m.address.lastIndexOf(':');
  return { host: m.address.slice(0, colon), port: Number(m.address.slice(colon + 1)) };
}
const hello = (m) => `hello ${m.id}\n`;

const servers = new Map(); // sent ones, by the id of the message
let total = 0;
let hash = 0;

const acts = {
  echo: (m) => process.send(m),
  count(m) {
    total++;
    hash = (Math.imul(hash, 31) + m.n) | 0;
  },
  total(m) {
    process.send({ id: m.id, n: total, hash: hash >>> 0 });
    total = hash = 0;
  },
  // Sends n messages, and then says so; with exit, it ends the process before the last one.
  flood(m) {
    const text = m.text || '';
    let i = 0;
    (function more() {
      let go = true;
      // Without the second limit it would not notice that the parent is gone: send returns true then.
      for (let left = 200; go && left > 0 && i < m.n; left--) {
        go = process.send({ id: m.id, n: i++, text });
        if (m.exit && i === m.n) process.exit(m.exit);
      }
      process.send(i < m.n ? { id: m.id, pause: true } : { id: m.id, done: true }, (err) => err || i === m.n || more());
    })();
  },
  // Takes a connection or a listener and says hello on it, once.
  take(m, handle) {
    if (!handle) return process.send({ id: m.id, fault: 'no handle' });
    handle.on('error', () => {}); // the other end may be gone
    if (handle instanceof net.Socket) return handle.end(hello(m));
    handle.on('connection', (socket) => {
      socket.on('error', () => {}).end(hello(m));
      handle.close();
    });
    process.send({ id: m.id });
  },
  dial(m) {
    const socket = net.connect(where(m), () => process.send({ id: m.id }, socket));
    socket.on('error', () => {});
  },
  listen(m) {
    const server = net.createServer((socket) => socket.on('error', () => {}).end(hello(m)));
    server.listen(where(m), () => process.send({ id: m.id }, server));
    servers.set(m.id, server);
  },
  close(m) {
    servers.get(m.n).close(() => process.send({ id: m.id }));
    servers.delete(m.n);
  },
  disconnect: () => process.disconnect(),
  exit: (m) => process.exit(m.exit),
};

process.on('message', (m, handle) => acts[m.do](m, handle));
process.on('error', () => {}); // what is sent when the parent is gone
process.on('disconnect', () => process.exit());
