'use strict';
// The JavaScript side of the benchmark: what a user would write with child_process and process.send.
//
//   subject.cjs VERB MODE [PROGRAM ARGUMENT...]
//
// The other end of the channel is the driver, which parses nothing: our parent or, if a program is named, our child.
// MODE is for the Go side, which does the same in subject/main.go.
// Ran on Node 12, 20 and 26, Bun 1.4.5 and Deno 2.9.6.

const [verb, , program, ...args] = process.argv.slice(2);
const peer = program ? require('child_process').spawn(program, args, { stdio: [0, 1, 2, 'ipc'] }) : process;

const verbs = {
  // Every message goes back as it came.
  echo() {
    peer.on('message', (m) => peer.send(m));
  },

  // Counts objects. Anything else is answered with their number and a hash over their ids in order, so that the one
  // answer vouches for every message.
  sink() {
    let count = 0;
    let hash = 0;
    peer.on('message', (m) => {
      if (typeof m === 'object') {
        hash = (Math.imul(hash, 31) + m.id) | 0;
        count++;
        return;
      }
      peer.send({ count, hash: hash >>> 0 });
      count = hash = 0;
    });
  },

  // Keeps the objects that come, and for each number sends as many of them, over and over. It stops when send says that
  // too much is queued and goes on when the last one is written. A plain loop, or going on with setImmediate, costs
  // Node up to twice as much, depending on where the driver runs.
  flood() {
    const kept = [];
    function pump(i, n) {
      let go = true;
      while (go && i < n - 1) go = peer.send(kept[i++ % kept.length]);
      peer.send(kept[i++ % kept.length], () => {
        if (i < n) pump(i, n);
      });
    }
    peer.on('message', (m) => {
      if (typeof m === 'object') kept.push(m);
      else pump(0, m);
    });
  },

  // Closes the sockets that come. A message without one is answered with their number and a hash over the ports at the
  // far end of those that came with 'look'.
  take() {
    let count = 0;
    let hash = 0;
    peer.on('message', (m, socket) => {
      if (socket) {
        if (m === 'look') hash = (Math.imul(hash, 31) + socket.remotePort) | 0;
        socket.destroy();
        count++;
        return;
      }
      peer.send({ count, hash: hash >>> 0 });
      count = hash = 0;
    });
  },

  // Makes `count` connections to `port` and says so; then for each number sends as many of them, over and over. They
  // stay open here.
  give() {
    const sockets = [];
    function give(i, n) {
      peer.send('s', sockets[i % sockets.length], { keepOpen: true }, () => {
        if (i + 1 < n) give(i + 1, n);
      });
    }
    function connect({ port, count }) {
      const socket = require('net').connect(port, '127.0.0.1', () => {
        sockets.push(socket);
        if (sockets.length < count) connect({ port, count });
        else peer.send('ready');
      });
    }
    peer.on('message', (m) => {
      if (typeof m === 'object') connect(m);
      else give(0, m);
    });
    peer.on('disconnect', () => sockets.forEach((s) => s.destroy()));
  },

  // A cluster primary with two workers that `serve`. It says on which port, and which processes they are.
  primary() {
    const cluster = require('cluster');
    cluster.setupMaster({ exec: __filename, args: ['serve', '-'] });
    const workers = [cluster.fork(), cluster.fork()];
    let listening = 0;
    cluster.on('listening', (worker, { port }) => {
      if (++listening === workers.length) peer.send({ Port: port, Pids: workers.map((w) => w.process.pid) });
    });
    peer.on('disconnect', () => cluster.disconnect(() => process.exit(0)));
  },

  // A worker of it.
  serve() {
    require('http').createServer((request, response) => response.end('ok')).listen(0, '127.0.0.1');
  },

  // A cluster worker that stays until the channel ends. Node says `online` by itself, before this file runs.
  online() {
    require('cluster');
    peer.on('message', () => {});
  },
};
verbs.document = verbs.graph = verbs.echo; // of one type of its own, which only matters to Go

verbs[verb]();
