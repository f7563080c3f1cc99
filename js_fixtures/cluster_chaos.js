// A primary with two Node and two Go workers, of which one after the other goes and another comes, for TestChaos of
// package cluster.
//
//   node cluster_chaos.js BINARY SEED kill|leave
//
// as a child with a channel. Each worker serves TCP connections: it writes "hello PID\n" as soon as it has one, reads a
// line, answers "LINE PID\n" and ends it. Every now and then one of those that listen is sent SIGKILL, or told to
// disconnect; "leave" has the second alone. Whatever ends is replaced. Messages: {port} when all listen; {gone: PID, kind,
// how, code, signal, voluntary} for each worker that was to go; for {stop: true}, when all listen again, {descriptors: N};
// for {end: true} the rest is told to disconnect, and this process ends.
// Ran on Node 12, 20 and 26.
'use strict';

const cluster = require('cluster');
const fs = require('fs');
const net = require('net');
const { forkGo } = require('../lib');

const [binary, seed, mode] = process.argv.slice(2);

if (cluster.isMaster) primary();
else serve();

function serve() {
  net.createServer({ allowHalfOpen: true }, (socket) => {
    socket.on('error', () => {}); // the client's end
    socket.write(`hello ${process.pid}\n`);
    let line = '';
    socket.setEncoding('utf8').on('data', (s) => {
      line += s;
      if (line.endsWith('\n')) socket.end(`${line.slice(0, -1)} ${process.pid}\n`);
    });
  }).listen(Number(process.env.NODEIPC_PORT), '127.0.0.1');
}

function primary() {
  const random = generator(Number(seed));
  const workers = new Map(); // to {kind, listening, how}
  let port;
  let running = true;
  let ending = false;
  let idle; // called when all listen

  function start(kind) {
    const env = { NODEIPC_PORT: String(port) };
    const worker = kind === 'go' ? forkGo(cluster, binary, env) : cluster.fork(env);
    workers.set(worker, { kind, listening: false, how: null });
    worker.on('error', () => {}); // to one that has been killed
    worker.on('listening', () => {
      workers.get(worker).listening = true;
      settled();
    });
    worker.on('exit', (code, signal) => {
      const { kind, how } = workers.get(worker);
      workers.delete(worker);
      if (how || !ending) process.send({ gone: worker.process.pid, kind, how, code, signal, voluntary: worker.exitedAfterDisconnect });
      if (!ending) start(kind);
      else if (workers.size === 0) process.exit(); // connections that Node has lost may be open still
    });
  }

  function settled() {
    const all = [...workers.values()];
    if (all.length === 4 && all.every((w) => w.listening && !w.how) && idle) {
      const f = idle;
      idle = undefined;
      f();
    }
  }

  function next() {
    if (!running) return;
    const able = [...workers].filter(([, w]) => w.listening && !w.how);
    if (able.length > 1) {
      const [worker, state] = able[Math.floor(random() * able.length)];
      state.how = mode === 'kill' && random() < 0.5 ? 'kill' : 'leave';
      if (state.how === 'kill') process.kill(worker.process.pid, 'SIGKILL');
      else worker.disconnect();
    }
    setTimeout(next, 20 + random() * 80); // so that it comes at any time
  }

  process.on('message', (m) => {
    if (m.stop) {
      running = false;
      idle = () => process.send({ descriptors: descriptors() });
      settled();
    } else {
      ending = true;
      for (const worker of workers.keys()) worker.disconnect();
    }
  });

  // A port that is free: workers share one only by its number.
  const probe = net.createServer().listen(0, '127.0.0.1', () => {
    port = probe.address().port;
    probe.close(() => ['node', 'go', 'node', 'go'].forEach(start));
  });
  idle = () => {
    process.send({ port, descriptors: descriptors() });
    next();
  };
}

function descriptors() {
  try {
    return fs.readdirSync('/proc/self/fd').length;
  } catch (err) {
    return 0; // they cannot be counted here
  }
}

// generator returns random numbers from 0 to 1 that are the same for the same seed (mulberry32).
function generator(a) {
  return () => {
    a = (a + 0x6d2b79f5) | 0;
    let t = Math.imul(a ^ (a >>> 15), 1 | a);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}
