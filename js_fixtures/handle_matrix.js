// The far side of every kind of handle, for Go on the other side of the channel.
//
//   node handle_matrix.js                                                as the child
//   node handle_matrix.js [--serialization=advanced] --parent COMMAND [ARGUMENT...]     as the parent of COMMAND
//
// As the parent it exits with the code of COMMAND, whose output goes to stderr. Commands, each with a number n that the
// answers repeat:
//
//   {do:'take',n,use} with a handle
//       answers {n,is} (see below) and uses the handle once: from a connection it reads a line and answers
//       "node <n> <line>\n", a listener does so with one connection, a datagram socket answers one datagram "<line>" with
//       "node <n> <line>"; then closes it and sends {n,done:true}. use is 'socket', 'server' or 'dgram', or 'http', which
//       answers requests over a connection with "node <n> <method> <url>" until it ends. A native handle is wrapped
//       the way cluster does it. head, in Base64, was read from the connection before. A datagram socket sends "hello"
//       to the address to first.
//   {do:'hold',n} with a net.Socket
//       answers {n,is} and keeps it
//   {do:'return',n} with a handle
//       sends it back with {n,is}, and closes its own copy
//   {do:'make',n,type,net,where,keep}
//       makes a handle of that type and sends it with {n,at}, at being its address. net is tcp4, tcp6, udp4, udp6 or
//       unix; where is a port and host, or a path, to connect to (to), to listen at (listen) or to bind to (bind).
//       Without keep it closes its own copy once the handle is sent. With keep it uses it, too: a connection writes
//       "kept <n>\n", a listener and a datagram socket answer as above, all they get.
//   {do:'close',n}
//       closes what was kept and answers {n,done:true}
//   {do:'listen',n,where,peek}
//       listens, answers {n,at}, and sends each connection as {n} with the socket; with peek as {n,head} once
//       something was read from it, which head is in Base64
//   {do:'count',n}
//       answers {n,count}: server.getConnections
//   {do:'stop',n}
//       closes the server: answers {n,closing:true} at once and {n,done:true} at the end
//   anything else
//       is answered by itself
//
// is = {class,family,type,bound,listening,connected}: what the handle is in JavaScript's eyes. A failure is {n,error}.
// Ran on Node 12, 14, 16, 18, 20, 22, 24 and 26, and with datagram sockets and lists of sockets in JSON mode on Bun 1.4
// and Deno 2.9.
'use strict';

const childProcess = require('child_process');
const dgram = require('dgram');
const fs = require('fs');
const http = require('http');
const net = require('net');

const argv = process.argv.slice(2);
let serialization = 'json';
while (argv.length && argv[0].startsWith('--serialization=')) serialization = argv.shift().split('=')[1];

let peer = process;
if (argv[0] === '--parent') {
  peer = childProcess.spawn(argv[1], argv.slice(2), { stdio: ['ignore', 2, 2, 'ipc'], serialization });
  peer.on('exit', (code, signal) => process.exit(signal ? 1 : code));
}

const kept = {}; // by n, what {do:'close'} closes
const servers = {};

function nativeName(handle) {
  const out = {};
  return handle.getsockname && handle.getsockname(out) === 0 ? out : {};
}

// describe tells what a handle is.
function describe(handle) {
  const is = { class: handle.constructor.name, family: '', type: '', bound: false, listening: false, connected: false };
  if (handle instanceof net.Socket) {
    is.family = handle._handle.constructor.name === 'Pipe' ? 'unix' : handle.remoteFamily;
    is.bound = is.family === 'unix' || handle.localPort > 0;
    is.connected = is.family === 'unix' ? !handle.connecting && handle.writable : handle.remotePort > 0;
  } else if (handle instanceof net.Server) {
    const at = handle.address();
    // Of a received unix listener Node does not know the path.
    is.family = handle._handle.constructor.name === 'Pipe' ? 'unix' : at.family;
    is.listening = handle.listening;
    is.bound = is.family === 'unix' || at.port > 0;
  } else if (handle instanceof dgram.Socket) {
    const at = handle.address();
    Object.assign(is, { family: at.family, type: handle.type, bound: at.port > 0 });
    try {
      is.connected = handle.remoteAddress().port > 0;
    } catch (err) {
      // not connected
    }
  } else if (net.BoundSocket && handle instanceof net.BoundSocket) {
    const at = handle.address();
    Object.assign(is, { family: at.family, bound: at.port > 0 });
  } else if (is.class === 'Pipe') {
    is.family = 'unix';
    is.bound = true;
  } else {
    const at = nativeName(handle);
    is.family = at.family || '';
    is.bound = at.port > 0;
    is.connected = Boolean(handle.getpeername) && handle.getpeername({}) === 0;
  }
  if (typeof is.family === 'number') is.family = `IPv${is.family}`; // Node 18.0 to 18.3 had numbers
  return is;
}

// answerLine reads a line from a connection, answers it and calls then once the answer is out.
function answerLine(socket, n, then) {
  let all = '';
  socket.setEncoding('utf8').on('data', (s) => {
    const had = all.indexOf('\n') >= 0;
    all += s;
    const end = all.indexOf('\n');
    if (!had && end >= 0) socket.write(`node ${n} ${all.slice(0, end)}\n`, then);
  }).resume();
}

const failed = (n) => (err) => peer.send({ n, error: `${err.code || ''} ${err.message}` });
const isNative = (handle) => ![net.Socket, net.Server, dgram.Socket].some((type) => handle instanceof type);

// Each use wraps the handle if need be, and calls then when it has been used once and is closed.
const use = {
  socket(handle, n, then) {
    const socket = isNative(handle) ? new net.Socket({ handle, readable: true, writable: true }) : handle;
    socket.on('error', failed(n));
    answerLine(socket, n, () => socket.destroy()); // not end(): other copies of the connection must live on
    socket.on('close', then);
  },
  server(handle, n, then) {
    const server = isNative(handle) ? net.createServer().listen(handle) : handle;
    server.on('error', failed(n)).once('connection', (socket) => {
      answerLine(socket, n, () => socket.end());
      server.close(then);
    });
  },
  http(socket, n, then) {
    const server = http.createServer((request, response) => response.end(`node ${n} ${request.method} ${request.url}`));
    socket.on('error', failed(n)).on('close', then);
    server.emit('connection', socket);
  },
  dgram(handle, n, then) {
    let socket = handle;
    if (isNative(handle)) {
      socket = dgram.createSocket(nativeName(handle).family === 'IPv6' ? 'udp6' : 'udp4');
      socket.bind(handle);
    }
    socket.on('error', failed(n)).once('message', (data, from) => {
      socket.send(`node ${n} ${data}`, from.port, from.address, (err) => {
        if (err) failed(n)(err);
        socket.close(then);
      });
    });
  },
};

// stopReading makes a socket that reads ready to be sent: pause() alone lets Node go on reading, into nothing, until the
// other side has acknowledged it.
function stopReading(socket) {
  socket.pause();
  socket._handle.readStop();
}

// closedByNode tells whether Node itself closes what was sent.
const closedByNode = (handle) => [net.Socket, net.BoundSocket].some((type) => type && handle instanceof type);

function closeCopy(handle, { path } = {}) {
  if (handle instanceof net.Socket) return handle.destroy();
  if (!path) return handle.close(); // a server, a datagram socket, a native handle
  // The name must stay for who has the socket now. Node removes it at once.
  fs.renameSync(path, `${path}~`);
  handle.close();
  return fs.renameSync(`${path}~`, path);
}

// What {do:'make'} can make: each calls done with the handle to be sent and what holds it here, if that is another.
const make = {
  'net.Socket'({ to }, done) {
    // Paused, or Node may read, into nothing, what is meant for the other side.
    const socket = net.connect(to, () => done(socket)).pause();
    return socket;
  },
  'net.Server'({ listen }, done) {
    const server = net.createServer({ pauseOnConnect: true });
    return server.listen(listen, () => done(server));
  },
  'net.Native'(where, done) {
    if (where.to) return make['net.Socket'](where, (socket) => done(socket._handle, socket));
    if (where.listen) return make['net.Server'](where, (server) => done(server._handle, server));
    const { host, port, path } = where.bind;
    const handle = path ? net._createServerHandle(path, -1, -1) : net._createServerHandle(host, port, net.isIP(host));
    return typeof handle === 'number' ? failed(where.n)(new Error(`bind: ${handle}`)) : done(handle);
  },
  'dgram.Socket'({ bind, to, net: network }, done) {
    const socket = dgram.createSocket(network);
    if (to) return socket.connect(to.port, to.host, () => done(socket));
    return bind ? socket.bind(bind.port, bind.host, () => done(socket)) : done(socket);
  },
  'dgram.Native': (where, done) => make['dgram.Socket'](where, (socket) => done(nativeOf(socket), socket)),
  'net.BoundSocket': ({ bind }, done) => done(new net.BoundSocket(bind)),
};

// keep uses what was sent, and keeps it for {do:'close'}.
function keep(holder, n) {
  if (holder instanceof net.Socket) {
    holder.write(`kept ${n}\n`);
  } else if (holder instanceof net.Server) {
    holder.on('connection', (socket) => answerLine(socket, n, () => socket.end()));
  } else if (holder instanceof dgram.Socket) {
    holder.on('message', (data, from) => holder.send(`node ${n} ${data}`, from.port, from.address));
  } else {
    holder = net.createServer().listen(holder);
    holder.on('connection', (socket) => answerLine(socket, n, () => socket.end()));
  }
  kept[n] = holder;
}

// nativeOf returns the UDP wrap of a datagram socket, which has no name any more in Node 26.
function nativeOf(socket) {
  const state = Object.getOwnPropertySymbols(socket).find((symbol) => String(symbol) === 'Symbol(state symbol)');
  return socket[state].handle;
}

const addressOf = (holder) => {
  if (holder instanceof net.Socket) return { port: holder.localPort, host: holder.localAddress };
  const at = typeof holder.address === 'function' ? holder.address() : nativeName(holder);
  return typeof at === 'string' ? { path: at } : { port: at.port, host: at.address };
};

const commands = {
  take({ n, use: how, head, to }, handle) {
    const is = describe(handle);
    if (head) handle.unshift(Buffer.from(head, 'base64'));
    use[how](handle, n, () => peer.send({ n, done: true }));
    peer.send({ n, is }); // now it listens
    if (to) handle.send('hello', to.port, to.host);
  },
  hold({ n }, handle) {
    kept[n] = handle;
    peer.send({ n, is: describe(handle) });
  },
  return({ n }, handle) {
    const is = describe(handle);
    if (handle instanceof net.Socket) stopReading(handle);
    peer.send({ n, is }, handle, () => {
      if (!closedByNode(handle)) closeCopy(handle);
    });
  },
  make(m) {
    const { n, type } = m;
    const sender = make[type](Object.assign({ n, net: m.net }, m.where), (handle, holder = handle) => {
      const answer = { n, at: addressOf(holder) };
      const sent = (err) => {
        if (err) return failed(n)(err);
        if (m.keep) return keep(holder, n);
        if (!closedByNode(handle)) closeCopy(holder, m.where.listen || m.where.bind);
        return undefined;
      };
      try {
        peer.send(answer, handle, { keepOpen: Boolean(m.keep) }, sent);
      } catch (err) {
        failed(n)(err);
      }
    });
    if (sender && sender.on) sender.on('error', failed(n));
  },
  close({ n }) {
    const done = () => peer.send({ n, done: true });
    const holder = kept[n];
    delete kept[n];
    if (holder instanceof net.Socket) holder.on('close', done).destroy();
    else holder.close(done);
  },
  listen({ n, where, peek }) {
    const server = net.createServer({ pauseOnConnect: !peek });
    servers[n] = server;
    server.on('error', failed(n)).on('connection', (socket) => {
      if (!peek) return peer.send({ n }, socket);
      return socket.once('data', (head) => {
        stopReading(socket);
        peer.send({ n, head: head.toString('base64') }, socket);
      });
    });
    server.listen(where, () => peer.send({ n, at: addressOf(server) }));
  },
  count({ n }) {
    servers[n].getConnections((err, count) => err ? failed(n)(err) : peer.send({ n, count }));
  },
  stop({ n }) {
    servers[n].close(() => peer.send({ n, done: true }));
    peer.send({ n, closing: true });
  },
};

peer.on('message', (m, handle) => {
  const command = m !== null && typeof m === 'object' && commands[m.do];
  if (!command) return peer.send(m);
  try {
    return command(m, handle);
  } catch (err) {
    return failed(m.n)(err);
  }
});
if (peer === process) process.on('disconnect', () => process.exit(0));
