'use strict';

// A worker of a cluster that leaves loses no request, also of clients that keep their connections:
//
//   node -r @nodeipc/go/orderly primary.js      or, in the program of a worker,      require('@nodeipc/go/orderly')
//
// It does nothing in any other process, and nothing in a worker before that is asked to leave: by its primary, as
// worker.disconnect() there does, by itself, or by PM2. From then on
//
// - the answers of its HTTP servers say Connection: close, those too that are being made and have not begun yet, so
//   that clients send the next request to somebody else;
// - server.close() leaves kept connections alone on which no request is being answered. Since Node 19 it closes them,
//   without a look at whether the next request has come. They end with their next answer, by their keepAliveTimeout, or
//   when nothing has come for five seconds.
//
// Connections that were upgraded, and HTTP/2, are not its concern. `nodeipc run` puts this file in front of programs;
// so it needs no other. For Node 12 and later.

const second = 1000;
const silence = 5; // seconds until a connection is closed on which nothing comes, as many as keepAliveTimeout has
const mark = Symbol.for('nodeipc.orderly'); // a second copy of this file does nothing

// Only workers have loaded this when a program begins. What is no worker does not have to load cluster, which would be
// too early for a program that sets NODE_CLUSTER_SCHED_POLICY.
if ((process.moduleLoadList || []).includes('NativeModule internal/cluster/child')) {
  const { worker } = require('cluster');
  if (worker && !worker[mark]) {
    Object.defineProperty(worker, mark, { value: true });
    attempt(disinherit);
    attempt(() => watch(worker));
  }
}

// attempt is for all that is done here: a program is never to fail of it, with no version of Node.
function attempt(f) {
  try {
    return f();
  } catch (err) {
    return undefined;
  }
}

// disinherit takes this file out of what the children of a worker are started with.
function disinherit() {
  const isThis = (name) => attempt(() => require.resolve(name)) === __filename;
  const args = process.execArgv;
  for (let i = args.length - 1; i >= 0; i--) {
    const [, joined] = /^--require=(.*)$/s.exec(args[i]) || [];
    if (joined !== undefined && isThis(joined)) {
      args.splice(i, 1);
    } else if ((args[i] === '-r' || args[i] === '--require') && i + 1 < args.length && isThis(args[i + 1])) {
      args.splice(i, 2);
    }
  }
}

// watch calls leave when the worker is asked to. Node sets the property before it closes the servers.
function watch(worker) {
  let value = worker.exitedAfterDisconnect;
  let leaving = false;
  const begin = () => {
    if (!leaving) {
      leaving = true;
      attempt(leave);
    }
  };
  Object.defineProperty(worker, 'exitedAfterDisconnect', {
    configurable: true,
    enumerable: true,
    get: () => value,
    set: (to) => {
      value = to;
      if (to) {
        begin();
      }
    },
  });
  if (value) {
    begin();
  }
  // In cluster mode PM2 sends a signal, and SIGKILL after its kill_timeout. A program that does nothing about it would
  // end in the middle of its answers.
  if (process.env.pm2_env !== undefined || process.env.exec_mode === 'cluster_mode') {
    process.once('SIGINT', () => {
      begin();
      if (process.listenerCount('SIGINT') === 0) {
        process.once('disconnect', () => process.exit());
        worker.disconnect();
      }
    });
  }
}

function leave() {
  const http = require('http');
  const { prototype } = http.ServerResponse;
  const storeHeader = prototype._storeHeader;
  // All answers come by here, those of frameworks and of writeHead functions that were replaced before.
  prototype._storeHeader = function _storeHeader() {
    const last = attempt(() => isLast(this));
    if (last) {
      this.shouldKeepAlive = false;
      this._removedConnection = false; // a client that is not told loses the race
    }
    Reflect.apply(storeHeader, this, arguments);
    if (last) {
      attempt(() => sayLast(this));
      attempt(() => linger(this.socket));
    }
  };
  keepIdle(http.Server.prototype);
  if (process.moduleLoadList.includes('NativeModule https')) {
    keepIdle(require('https').Server.prototype);
  }
}

// isLast reports whether an answer, whose header is to be made, can be the last of its connection. Before Node 15.7
// answers do not know their request.
function isLast({ socket, statusCode, req }) {
  if (!socket || statusCode === 101) {
    return false;
  }
  const next = socket.parser && socket.parser.incoming;
  return !req || !next || req === next; // or the client has sent another request, without waiting for this answer
}

// sayLast makes an answer the last that has said itself that it is not.
function sayLast(res) {
  const keep = /\r\nConnection: *keep-alive *(?=\r\n)/i;
  if (!res._last && typeof res._header === 'string' && keep.test(res._header)) {
    res._header = res._header.replace(keep, '\r\nConnection: close');
    res._last = true;
    res.shouldKeepAlive = false;
  }
}

// linger lets a client finish that is still sending the body of its request. Node closes the connection behind the last
// answer; the system then resets it, and the answer is lost.
function linger(socket) {
  const { destroySoon, parser } = socket;
  const req = parser && parser.incoming;
  if (!req || req.complete || !hasBody(req.headers) || typeof destroySoon !== 'function') {
    return;
  }
  socket.destroySoon = function () {
    socket.destroySoon = destroySoon;
    if (req.complete || socket.destroyed) {
      return Reflect.apply(destroySoon, socket, arguments);
    }
    setTimeout(() => socket.destroy(), silence * second).unref();
    return socket.end();
  };
}

function hasBody(headers) {
  const { 'content-length': length = '0', 'transfer-encoding': coding } = headers;
  return length !== '0' || coding !== undefined;
}

// keepIdle has close of a server, from Node 19 on, close no connections; only those on which nothing comes, later. What
// somebody else has put in the place of closeIdleConnections, or calls it for, is as it was.
function keepIdle(prototype) {
  const { close, closeIdleConnections } = prototype;
  if (typeof closeIdleConnections !== 'function') {
    return;
  }
  let closing;
  prototype.close = function () {
    const before = closing;
    closing = this;
    try {
      return Reflect.apply(close, this, arguments);
    } finally {
      closing = before;
      attempt(() => closeSilent(this));
    }
  };
  prototype.closeIdleConnections = function () {
    if (this !== closing) {
      Reflect.apply(closeIdleConnections, this, arguments);
    }
  };
}

const watched = new WeakSet(); // servers

// closeSilent closes the connections of a server on which nothing is answered, and nothing has come for some seconds.
function closeSilent(server) {
  const symbols = Object.getOwnPropertySymbols(server);
  const list = server[symbols.find((symbol) => String(symbol) === 'Symbol(http.server.connections)')];
  if (!list || typeof list.all !== 'function' || watched.has(server)) {
    return;
  }
  watched.add(server);
  let before = new Map();
  const look = () => {
    const now = new Map();
    const connections = list.all();
    for (const { socket } of connections) {
      if (!socket || socket.destroyed || socket._httpMessage) {
        continue;
      }
      const { bytesRead } = socket;
      const last = before.get(socket);
      const times = last && last.bytesRead === bytesRead ? last.times + 1 : 0;
      now.set(socket, { bytesRead, times });
      if (times >= silence) {
        socket.destroySoon();
      }
    }
    before = now;
    if (connections.length > 0 || server.listening) {
      again();
    }
  };
  // A timer runs before what has come is read, and an immediate behind it.
  const again = () => setTimeout(() => setImmediate(attempt, look), second).unref();
  again();
}
