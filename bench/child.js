'use strict';
// The Node child of the benchmark: what a user would write with process.on('message') and process.send.
// The parent is the Go program beside this file; argv is the mode and its counts. Runs on Node 12 and later.

const mode = process.argv[2];
const counts = process.argv.slice(3).map(Number);

const modes = {
  // Every message goes back as it came.
  echo() {
    process.on('message', (m) => process.send(m));
  },

  // Receives `warm` messages and answers once, then `count` messages and answers once. The hash depends on the
  // order, so that the one answer vouches for every message.
  sink(warm, count) {
    let total = warm;
    let left = warm;
    let hash = 0;
    process.on('message', (m) => {
      hash = (Math.imul(hash, 31) + m.id) | 0;
      if (--left === 0) {
        process.send({ count: total, hash: hash >>> 0 });
        total = left = count;
        hash = 0;
      }
    });
  },

  // Keeps the first `samples` messages. The next message makes it send `warm` messages, the one after that `count`.
  // It stops when send says that too much is queued and goes on when the last one is written. A plain loop, or going on
  // with setImmediate, costs Node up to twice as much, depending on where the parent runs.
  flood(samples, warm, count) {
    const kept = [];
    const rounds = [warm, count];
    function pump(i, n) {
      let go = true;
      while (go && i < n - 1) go = process.send(kept[i++ % samples]);
      process.send(kept[i++ % samples], () => {
        if (i < n) pump(i, n);
      });
    }
    process.on('message', (m) => {
      if (kept.length < samples) kept.push(m);
      else pump(0, rounds.shift());
    });
  },

  // Takes `warm` sockets and answers with a hash of their peers' ports, then `count` sockets and answers.
  handle(warm, count) {
    let total = warm;
    let left = warm;
    let warming = true;
    let hash = 0;
    process.on('message', (m, socket) => {
      if (warming) hash = (Math.imul(hash, 31) + socket.remotePort) | 0;
      socket.destroy();
      if (--left === 0) {
        process.send({ count: total, hash: hash >>> 0 });
        warming = false;
        total = left = count;
        hash = 0;
      }
    });
  },
};

modes[mode].apply(null, counts);
