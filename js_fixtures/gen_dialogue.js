// Records complete dialogues of this Node's IPC channel, both directions, with the places where descriptors travel.
//
//   node gen_dialogue.js FOLDER [SCENARIO...]
//
// writes FOLDER/SCENARIO.node<major>.txtar: a comment, then one line per frame in the order seen by a relay between
// two real Node processes, which are otherwise undisturbed:
//
//   P {"cmd":...}       the primary or parent wrote this frame
//   W {"cmd":...}       the worker or child wrote it
//   P+ {"cmd":...}      the same, with a descriptor
//   W eof               the worker or child closed the channel
//
// Ports are replaced by P1, P2, ... in the order of their first appearance, also inside keys ("port":P1), the folder of
// unix sockets by DIR. Order within one direction is exact; frames that cross each other may be seen in either order.
//
// Ran on Node 12, 14, 16, 18, 20, 22, 24 and 26 on Linux. The relay reaches into Node for the raw channel.
'use strict';

const assert = require('assert');
const childProcess = require('child_process');
const cluster = require('cluster');
const dgram = require('dgram');
const fs = require('fs');
const http = require('http');
const net = require('net');
const os = require('os');
const path = require('path');

// ---------------------------------------------------------------------------------------------------- scenarios

// A scenario of the cluster has a primary and a worker, one of the plain channel a parent and a child. The first
// function gets the other process and a context: dir (for unix sockets), port (free when it was looked for).
const scenarios = {
  // ---- cluster, round robin ----
  'rr-tcp-host': {
    about: 'listen(0, "127.0.0.1"), one connection, the worker leaves',
    primary: (worker) => serveOnce(worker, (a) => ({ host: '127.0.0.1', port: a.port })),
    worker: () => greeter().listen(0, '127.0.0.1'),
  },
  'rr-tcp-nohost': {
    about: 'listen(0) without a host, one connection, the worker leaves',
    primary: (worker) => serveOnce(worker, (a) => ({ host: '127.0.0.1', port: a.port })),
    worker: () => greeter().listen(0),
  },
  'rr-tcp-port': {
    about: 'listen(port, "127.0.0.1") with a port that is not 0, one connection, the worker leaves',
    primary: (worker) => serveOnce(worker, (a) => ({ host: '127.0.0.1', port: a.port })),
    worker: (ctx) => greeter().listen(ctx.port, '127.0.0.1'),
  },
  'rr-unix': {
    about: 'listen(path), one connection, the worker leaves',
    primary: (worker) => serveOnce(worker, (a) => ({ path: a.address })),
    worker: (ctx) => greeter().listen(path.join(ctx.dir, 'w.sock')),
  },
  'rr-http': {
    about: 'http server.listen(port), one request, the primary disconnects the worker',
    primary: (worker) => worker.on('listening', (a) => {
      http.get({ host: '127.0.0.1', port: a.port, agent: false, headers: { connection: 'close' } }, (res) => {
        res.resume().on('end', () => worker.send('done?')); // the answer comes after accepted:true
        worker.on('message', () => worker.disconnect());
      });
    }),
    worker(ctx) {
      http.createServer((req, res) => res.end('hi')).listen(ctx.port);
      process.on('message', (m) => process.send(m));
    },
  },
  'rr-three-connections': {
    about: 'three connections, one after the other, the worker leaves',
    primary: (worker) => worker.on('listening', (a) => {
      const next = (n) => n === 0 ? worker.send('leave') : read({ host: '127.0.0.1', port: a.port }, () => next(n - 1));
      next(3);
    }),
    worker: () => greeter().listen(0, '127.0.0.1'),
  },
  'rr-two-listeners': {
    about: 'listen(0, "127.0.0.1") twice: index 0 and 1, different ports; the worker leaves',
    primary(worker) {
      let n = 0;
      worker.on('listening', () => { if (++n === 2) worker.send('leave'); });
    },
    worker() {
      greeter().listen(0, '127.0.0.1', () => net.createServer().listen(0, '127.0.0.1'));
    },
  },
  'rr-reopen': {
    about: 'listen, close, listen again on the same port; the worker leaves',
    primary(worker) {
      let n = 0;
      worker.on('listening', () => { if (++n === 2) worker.send('leave'); });
    },
    worker(ctx) {
      greeter().listen(ctx.port, '127.0.0.1', function () {
        setImmediate(() => this.close(() => net.createServer().listen(ctx.port, '127.0.0.1')));
      });
    },
  },
  'rr-in-use': {
    about: 'listen on a port that somebody else has: errno -98; the worker says what it saw and leaves',
    primary(worker, ctx) {
      ctx.blocker = net.createServer().listen(ctx.port, '127.0.0.1', () => worker.send('go'));
      worker.on('message', () => { ctx.blocker.close(); worker.send('leave'); });
    },
    worker(ctx) {
      process.once('message', () => greeter().on('error', (err) => {
        process.send({ code: err.code, errno: err.errno, syscall: err.syscall });
      }).listen(ctx.port, '127.0.0.1'));
    },
  },
  'rr-reopen-zero': {
    about: 'listen(0, "127.0.0.1"), close, listen(0) again: index 0 again; the worker leaves',
    primary: afterListening(2),
    worker() {
      greeter().listen(0, '127.0.0.1', function () {
        setImmediate(() => this.close(() => net.createServer().listen(0, '127.0.0.1')));
      });
    },
  },
  'rr-third-listener': {
    about: 'listen(0, "127.0.0.1") twice, close the first, listen(0) again: index 2; the worker leaves',
    primary: afterListening(3),
    worker() {
      const first = greeter().listen(0, '127.0.0.1', () => net.createServer().listen(0, '127.0.0.1', () => {
        setImmediate(() => first.close(() => net.createServer().listen(0, '127.0.0.1')));
      }));
    },
  },
  'rr-backlog': {
    about: 'listen({ port: 0, host: "127.0.0.1", backlog: 10 }); the worker leaves',
    primary: afterListening(1),
    worker: () => greeter().listen({ port: 0, host: '127.0.0.1', backlog: 10 }),
  },
  'rr-ipv6-only': {
    about: 'listen({ port: 0, host: "::", ipv6Only: true }): flags 1; the worker leaves',
    primary: afterListening(1),
    worker: () => greeter().listen({ port: 0, host: '::', ipv6Only: true }),
  },
  'rr-unix-nowhere': {
    about: 'listen(path) in a folder that does not exist: errno -13; the worker says what it saw and leaves',
    primary: (worker) => worker.on('message', () => worker.send('leave')),
    worker(ctx) {
      greeter().on('error', (err) => process.send({ code: err.code, errno: err.errno, syscall: err.syscall }))
        .listen(path.join(ctx.dir, 'no', 'w.sock'));
      process.on('message', () => {});
    },
  },
  'rr-udp': {
    about: 'a socket of dgram, bind({ port: 0, address: "127.0.0.1" }), one datagram; the worker leaves',
    primary: (worker) => worker.on('listening', (a) => {
      const socket = dgram.createSocket('udp4').on('message', () => { socket.close(); worker.send('leave'); });
      socket.send('who', a.port, '127.0.0.1');
    }),
    worker() {
      const socket = dgram.createSocket('udp4').on('message', (m, from) => socket.send('hi', from.port, from.address));
      socket.bind({ port: 0, address: '127.0.0.1' });
    },
  },
  'rr-udp-reopen': {
    about: 'a socket of dgram, bind, close, bind another: index 0 again; the worker leaves',
    primary: afterListening(2),
    worker() {
      const bind = () => dgram.createSocket('udp4').bind({ port: 0, address: '127.0.0.1' });
      bind().on('listening', function () { setImmediate(() => this.close(bind)); });
    },
  },
  'rr-messages': {
    about: 'messages of the user beside those of the cluster',
    primary(worker) {
      worker.on('listening', () => worker.send({ hello: 'worker' }));
      worker.on('message', (m) => worker.send(m.echo === null ? 'leave' : null));
    },
    worker() {
      greeter().listen(0, '127.0.0.1');
      process.on('message', (m) => { if (m !== 'leave') process.send({ echo: m }); });
    },
  },
  'worker-disconnect': {
    about: 'the worker disconnects by itself once it listens',
    primary() {},
    worker: () => greeter().listen(0, '127.0.0.1', () => setImmediate(() => cluster.worker.disconnect())),
  },
  'primary-disconnect': {
    about: 'the primary disconnects the worker once it listens',
    primary: (worker) => worker.on('listening', () => worker.disconnect()),
    worker: () => greeter().listen(0, '127.0.0.1'),
  },
  'primary-disconnect-busy': {
    about: 'the primary disconnects a worker that has a connection open: the channel closes after the connection',
    primary(worker) {
      let client;
      worker.on('listening', (a) => { client = net.connect({ host: '127.0.0.1', port: a.port }).resume(); });
      worker.on('message', (m) => {
        if (m === 'connected') worker.disconnect();
        if (m === 'disconnecting') client.end();
      });
    },
    worker() {
      net.createServer((socket) => { socket.resume(); process.send('connected'); }).listen(0, '127.0.0.1')
        .on('close', () => {});
      process.on('internalMessage', (m) => { if (m.act === 'disconnect') process.send('disconnecting'); });
    },
  },
  'primary-kill': {
    about: 'worker.kill() in the primary once the worker listens',
    primary: (worker) => worker.on('listening', () => worker.kill()),
    worker: () => greeter().listen(0, '127.0.0.1'),
  },
  'worker-kill': {
    about: 'cluster.worker.kill() in the worker once it listens',
    primary() {},
    worker: () => greeter().listen(0, '127.0.0.1', () => setImmediate(() => cluster.worker.kill())),
  },
  'worker-exit': {
    about: 'process.exit(3) in the worker once it listens',
    primary: (worker) => worker.on('listening', () => worker.send('exit')),
    worker() {
      greeter().listen(0, '127.0.0.1');
      process.on('message', (m) => { if (m === 'exit') process.exit(3); });
    },
  },

  // ---- cluster, scheduling policy none ----
  'none-tcp-host': {
    about: 'SCHED_NONE: listen(0, "127.0.0.1"), one connection, the worker leaves',
    policy: 'none',
    primary: (worker) => serveOnce(worker, (a) => ({ host: '127.0.0.1', port: a.port })),
    worker: () => greeter().listen(0, '127.0.0.1'),
  },
  'none-two-listeners': {
    about: 'SCHED_NONE: listen(0, "127.0.0.1") twice; the worker leaves',
    policy: 'none',
    primary: afterListening(2),
    worker() {
      greeter().listen(0, '127.0.0.1', () => net.createServer().listen(0, '127.0.0.1'));
    },
  },
  'none-in-use': {
    about: 'SCHED_NONE: listen on a port that somebody else has: a socket without an address; the worker says so, leaves',
    policy: 'none',
    primary(worker, ctx) {
      ctx.blocker = net.createServer().listen(ctx.port, '127.0.0.1', () => worker.send('go'));
      worker.on('message', () => { ctx.blocker.close(); worker.send('leave'); });
    },
    worker(ctx) {
      process.once('message', () => greeter().on('error', (err) => {
        process.send({ code: err.code, errno: err.errno, syscall: err.syscall });
      }).listen(ctx.port, '127.0.0.1'));
    },
  },
  'none-unix': {
    about: 'SCHED_NONE: listen(path), one connection, the worker leaves',
    policy: 'none',
    primary: (worker) => serveOnce(worker, (a) => ({ path: a.address })),
    worker: (ctx) => greeter().listen(path.join(ctx.dir, 'w.sock')),
  },

  // ---- handles from parent to child ----
  'socket-tcp': {
    about: 'a net.Socket that a server of the parent accepted (key), counted, the server closed after it',
    parent(child) {
      const server = net.createServer((socket) => child.send('socket', socket)).listen(0, '127.0.0.1', () => {
        const client = net.connect(server.address().port, '127.0.0.1');
        client.resume().on('end', () => server.close(() => child.disconnect()));
        child.on('message', (m) => {
          if (m === 'got socket') server.getConnections((err, n) => { assert.strictEqual(n, 1); client.write('end it'); });
        });
      });
    },
    child: () => process.on('message', (m, socket) => {
      process.send(`got ${m}`);
      socket.once('data', () => socket.end('bye'));
    }),
  },
  'socket-tcp-client': {
    about: 'a net.Socket that the parent connected itself (no key)',
    parent(child) {
      const server = net.createServer((peer) => {
        peer.resume().on('end', () => { server.close(); child.disconnect(); });
        peer.write('end it');
      }).listen(0, '127.0.0.1', () => {
        const socket = net.connect(server.address().port, '127.0.0.1', () => child.send('socket', socket));
      });
    },
    child: () => process.on('message', (m, socket) => socket.once('data', () => socket.end('bye'))),
  },
  'socket-unix': {
    about: 'a net.Socket of a unix server of the parent',
    parent(child, ctx) {
      const server = net.createServer((socket) => child.send({ sent: 'socket' }, socket)).listen(path.join(ctx.dir, 's.sock'), () => {
        net.connect(server.address()).resume().on('end', () => server.close(() => child.disconnect()));
      });
    },
    child: () => process.on('message', (m, socket) => socket.end('bye')),
  },
  'sockets-queued': {
    about: 'plain messages around two net.Sockets, all sent in one turn: what follows a handle waits for its ACK',
    parent(child) {
      const sockets = [];
      const server = net.createServer((socket) => {
        if (sockets.push(socket) < 2) return;
        child.send('before');
        child.send('first', sockets[0]);
        child.send('between');
        child.send('second', sockets[1]);
        child.send('after');
      }).listen(0, '127.0.0.1', () => {
        let ended = 0;
        for (let i = 0; i < 2; i++) {
          net.connect(server.address().port, '127.0.0.1').resume().on('end', () => {
            if (++ended === 2) server.close(() => child.disconnect());
          });
        }
      });
    },
    child: () => process.on('message', (m, socket) => { if (socket) socket.end('bye'); }),
  },
  'server-tcp': {
    about: 'a TCP net.Server',
    parent: (child) => sendServer(child, { port: 0, host: '127.0.0.1' }),
    child: takeServer,
  },
  'server-unix': {
    about: 'a unix net.Server',
    parent: (child, ctx) => sendServer(child, { path: path.join(ctx.dir, 's.sock') }),
    child: takeServer,
  },

  // ---- handles from child to parent ----
  'child-socket-tcp': {
    about: 'the child sends a net.Socket that it connected',
    parent(child) {
      const server = net.createServer((peer) => peer.resume().on('end', () => { server.close(); child.disconnect(); }))
        .listen(0, '127.0.0.1', () => child.send({ port: server.address().port }));
      child.on('message', (m, socket) => socket.end('bye'));
    },
    child: () => process.on('message', (m) => {
      const socket = net.connect(m.port, '127.0.0.1', () => process.send('socket', socket));
    }),
  },
  'child-server-tcp': {
    about: 'the child sends a TCP net.Server',
    parent: (child) => child.on('message', (m, server) => {
      child.send(`got ${m}`);
      server.close(() => child.disconnect());
    }),
    child: () => sendServer(process, { port: 0, host: '127.0.0.1' }),
  },
};

// serveOnce makes one connection once the worker listens, and lets the worker leave when it has been served.
function serveOnce(worker, where) {
  worker.on('listening', (address) => read(where(address), () => worker.send('leave')));
}

// afterListening lets the worker leave when it has listened so often.
function afterListening(times) {
  return (worker) => {
    let n = 0;
    worker.on('listening', () => { if (++n === times) worker.send('leave'); });
  };
}

function read(where, done) {
  net.connect(where).resume().on('end', done);
}

function greeter() {
  return net.createServer((socket) => socket.end('hi'));
}

function sendServer(peer, where) {
  const server = net.createServer().listen(where, () => {
    peer.send('server', server);
    peer.on('message', () => {
      server.close();
      if (peer !== process) peer.disconnect();
    });
  });
}

function takeServer() {
  process.on('message', (m, server) => {
    process.send(`got ${m}`);
    process.on('disconnect', () => server.close());
  });
}

// ---------------------------------------------------------------------------------------------------- processes

const role = process.argv[2];
const roles = {
  // The side that forks. Its child's program is the wrapper, which moves the relay in between.
  first(name, ctx) {
    const scenario = scenarios[name];
    if (scenario.primary) {
      cluster.setupMaster({ exec: __filename, execArgv: [], args: ['second', name, JSON.stringify(ctx)] });
      process.execPath = ctx.wrapper;
      scenario.primary(cluster.fork(), ctx);
    } else {
      const args = ['second', name, JSON.stringify(ctx)];
      scenario.parent(childProcess.fork(__filename, args, { execPath: ctx.wrapper, execArgv: [] }), ctx);
    }
  },

  second(name, ctx) {
    const scenario = scenarios[name];
    if (scenario.child) return scenario.child(ctx);
    scenario.worker(ctx);
    process.on('message', (m) => { if (m === 'leave') cluster.worker.disconnect(); });
  },

  relay,
};

// rawChannel returns the pipe below a channel: process's own, or that of a child.
function rawChannel(target) {
  if (typeof target.channel.readStart === 'function') return target.channel; // Node 12
  const symbol = Object.getOwnPropertySymbols(target).find((s) => String(s) === 'Symbol(kChannelHandle)');
  return target[symbol];
}

// relay starts the second process and passes every frame on, in order and with its descriptor, writing each down.
function relay() {
  const { streamBaseState, kLastWriteWasAsync, kReadBytesOrError, WriteWrap } = process.binding('stream_wrap');
  const env = Object.assign({}, process.env);
  if (env.RELAY_UNIQUE_ID) env.NODE_UNIQUE_ID = env.RELAY_UNIQUE_ID;
  delete env.RELAY_UNIQUE_ID;
  const child = childProcess.spawn(process.execPath, process.argv.slice(3), { stdio: [0, 1, 2, 'ipc'], env });
  const up = rawChannel(process);
  const down = rawChannel(child);
  const log = (line) => fs.appendFileSync(process.env.RELAY_LOG, line + '\n');

  function pass(from, to, mark) {
    let rest = Buffer.alloc(0);
    const handles = [];
    from.onread = function (data) {
      if (from.pendingHandle) handles.push(from.pendingHandle);
      from.pendingHandle = null;
      if (!data) {
        assert(streamBaseState[kReadBytesOrError] < 0);
        assert(rest.length === 0 && handles.length === 0, `${mark} ended inside a frame`);
        if (!from.relayed) log(`${mark} eof`);
        close(from);
        close(to);
        return;
      }
      rest = Buffer.concat([rest, Buffer.from(data)]);
      for (let end = rest.indexOf(10); end >= 0; end = rest.indexOf(10)) {
        const line = rest.slice(0, end).toString();
        rest = rest.slice(end + 1);
        const handle = line.startsWith('{"cmd":"NODE_HANDLE","type":') ? handles.shift() : undefined;
        log(`${mark}${handle ? '+' : ''} ${line}`);
        write(to, line + '\n', handle);
      }
    };
  }

  function write(to, frame, handle) {
    if (to.relayed) return;
    const req = new WriteWrap();
    const done = () => { if (handle) handle.close(); };
    req.oncomplete = done;
    const err = handle ? to.writeUtf8String(req, frame, handle) : to.writeUtf8String(req, frame);
    // A peer that has just gone is part of some dialogues; the frame has been written down.
    if (err || !streamBaseState[kLastWriteWasAsync]) done();
  }

  function close(pipe) {
    if (pipe.relayed) return;
    pipe.relayed = true; // closed by us or by its peer: no second eof
    pipe.close();
  }

  pass(up, down, 'P');
  pass(down, up, 'W');
  up.ref();
  process.on('SIGTERM', () => child.kill('SIGTERM'));
  child.on('exit', (code, signal) => {
    if (!signal) process.exit(code);
    process.removeAllListeners(signal);
    process.kill(process.pid, signal);
  });
}

// ---------------------------------------------------------------------------------------------------- generator

async function generate(folder, names) {
  fs.mkdirSync(folder, { recursive: true });
  for (const name of names.length ? names : Object.keys(scenarios)) {
    if (!scenarios[name]) throw new Error(`no scenario ${name}; there are: ${Object.keys(scenarios).join(' ')}`);
    const text = await record(name);
    fs.writeFileSync(path.join(folder, `${name}.node${process.versions.node.split('.')[0]}.txtar`), text);
  }
}

async function record(name) {
  const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'dialogue-'));
  try {
    const wrapper = path.join(dir, 'relay.sh');
    fs.writeFileSync(wrapper, [
      '#!/bin/sh',
      '# As a cluster worker the relay would write "online" itself.',
      'if [ -n "$NODE_UNIQUE_ID" ]; then export RELAY_UNIQUE_ID="$NODE_UNIQUE_ID"; fi',
      'unset NODE_UNIQUE_ID',
      `exec '${process.execPath}' '${__filename}' relay "$@"`,
      '',
    ].join('\n'), { mode: 0o755 });
    const log = path.join(dir, 'log');
    const ctx = { dir, wrapper, port: await freePort() };
    await run(name, ctx, log);
    return header(name) + normalise(fs.readFileSync(log, 'utf8'), dir);
  } finally {
    for (const file of fs.readdirSync(dir)) fs.unlinkSync(path.join(dir, file));
    fs.rmdirSync(dir);
  }
}

function run(name, ctx, log) {
  const env = Object.assign({}, process.env, {
    RELAY_LOG: log, NODE_CLUSTER_SCHED_POLICY: scenarios[name].policy || 'rr',
  });
  return new Promise((resolve, reject) => {
    const args = [__filename, 'first', name, JSON.stringify(ctx)];
    // A process group of its own, so that a scenario that hangs leaves nothing behind.
    const child = childProcess.spawn(process.execPath, args, { stdio: ['ignore', 'inherit', 'inherit'], env, detached: true });
    const limit = setTimeout(() => process.kill(-child.pid, 'SIGKILL'), 30000);
    child.on('error', reject);
    child.on('exit', (code, signal) => {
      clearTimeout(limit);
      if (code === 0) resolve();
      else reject(new Error(`${name}: ${signal || code}; so far:\n${fs.existsSync(log) ? fs.readFileSync(log, 'utf8') : ''}`));
    });
  });
}

function header(name) {
  const s = scenarios[name];
  return [
    'Made by js_fixtures/gen_dialogue.js; do not edit.',
    `node: ${process.version}`,
    `scenario: ${name}`,
    `about: ${s.about}`,
    `P: ${s.primary ? 'primary' : 'parent'}; W: ${s.primary ? 'worker' : 'child'}; +: with a descriptor`,
    '-- frames --',
    '',
  ].join('\n');
}

function normalise(text, dir) {
  const ports = [];
  const port = (p) => {
    if (!ports.includes(p)) ports.push(p);
    return `P${ports.indexOf(p) + 1}`;
  };
  return text.split(dir).join('DIR')
    .replace(/("port":)(\d{2,5})\b/g, (all, key, p) => key + port(p))
    .replace(/("key":"[^":]*:)(\d{2,5})(:[46])/g, (all, before, p, after) => before + port(p) + after);
}

function freePort() {
  return new Promise((resolve) => {
    const server = net.createServer().listen(0, '127.0.0.1', () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
}

if (roles[role]) {
  roles[role](process.argv[3], role === 'relay' ? undefined : JSON.parse(process.argv[4]));
} else if (role) {
  generate(path.resolve(role), process.argv.slice(3)).catch((err) => {
    console.error(err.message);
    process.exit(1);
  });
} else {
  console.error('usage: node gen_dialogue.js FOLDER [SCENARIO...]');
  process.exit(2);
}
