// A cluster primary, and its Node workers, that do what they are told: for the tests of package cluster.
//
//   node cluster_control.js GO_WORKER
//
// Reads a command from each line of stdin and writes an event to each line of stdout, JSON both:
//
//   {"do":"fork","kind":"node","env":{...}}       -> {"event":"forked","worker":1}; kind "go" starts GO_WORKER
//                                                 and "settings" are for cluster.setupMaster before that
//   {"do":"send","worker":1,"message":{...}}      a message for that worker
//   {"do":"disconnect","worker":1}                -> {"event":"disconnecting","worker":1}, then what comes of it
//   {"do":"call","worker":1,"method":"kill","args":["SIGTERM"]}   a method of the worker, or of "process" its process
//   {"do":"flood","worker":1,"count":n,"pad":p}   sends [0,pad] to [n-1,pad], as fast as it goes -> {"event":"flooded",...}
//   {"do":"stream","worker":1,"count":n}          sends {"echo":0} and on, and checks that [0] and on come back in order
//                                                 -> {"event":"streamed",...}
//   the worker's events                           -> {"event":"online"|"listening"|"disconnect"|"exit"|"error"|"message",
//                                                     "worker":1,...}
//
// When stdin ends it kills its workers and exits. A worker answers {"do":...,"re":n} of the test with {"re":n,...}:
//
//   {"do":"listen","name":"a","network":"tcp","host":"127.0.0.1","port":0}   serves HTTP: {"address":"127.0.0.1:4711"} or
//                                                                            {"error":"EADDRINUSE","text":...}
//                                "network" "unix" has a path in "host", "fd" a descriptor of the primary; "tls4" answers
//                                {"keys":hex} as well; "limit" is server.maxConnections; "udp4" and "udp6" answer datagrams
//   {"do":"close","name":"a"}    {"closed":true}
//   {"do":"release"}             requests for /hold, of which each is told by {"held":true}, get their answers
//   {"do":"disconnect"}          cluster.worker.disconnect()
//   {"echo":x}                   [x]
//
// and an HTTP request, or a datagram, with "<kind> <worker id> <name>\n". The Go worker in nodeipc/cluster's tests does
// the same.
// Ran on Node 12, 14, 16, 18, 20, 22, 24 and 26, Bun 1.4 and Deno 2.9.
'use strict';

const cluster = require('cluster');
const dgram = require('dgram');
const http = require('http');
const net = require('net');
const readline = require('readline');
const tls = require('tls');
const { forkGo } = require('../lib');

function primary(binary) {
  const workers = {}; // cluster.workers forgets those that disconnect
  const tell = (event, worker, more) => process.stdout.write(JSON.stringify(Object.assign({ event, worker: worker.id }, more)) + '\n');
  cluster.setupMaster({ stdio: ['ignore', 2, 2, 'ipc'], serialization: process.env.NODEIPC_SERIALIZATION || 'json' }); // stdout is for the events

  const commands = {
    fork({ kind, env, settings }) {
      if (settings) cluster.setupMaster(settings);
      const worker = kind === 'go' ? forkGo(cluster, binary, env) : cluster.fork(env);
      workers[worker.id] = worker;
      worker.on('online', () => tell('online', worker));
      worker.on('listening', (address) => tell('listening', worker, { address }));
      worker.on('message', (message) => { if (!worker.streaming) tell('message', worker, { message }); });
      worker.on('error', (err) => tell('error', worker, { message: String(err) }));
      worker.on('disconnect', () => tell('disconnect', worker, { exitedAfterDisconnect: worker.exitedAfterDisconnect }));
      worker.on('exit', (code, signal) => {
        tell('exit', worker, { code, signal, exitedAfterDisconnect: worker.exitedAfterDisconnect });
      });
      tell('forked', worker);
    },
    send: ({ worker, message }) => workers[worker].send(message),
    disconnect({ worker }) {
      workers[worker].disconnect();
      tell('disconnecting', workers[worker]);
    },
    call({ worker, method, args, process }) {
      const w = workers[worker];
      (process ? w.process : w)[method](...args);
    },
    flood({ worker, count, pad }) {
      const to = workers[worker];
      let next = 0;
      const burst = () => {
        const end = Math.min(next + 1000, count);
        while (next < end - 1) to.send([next++, pad]);
        // The callback comes when it is with the kernel: what waits here stays little.
        to.send([next++, pad], () => { if (next < count) setImmediate(burst); else tell('flooded', to); });
      };
      burst();
    },
    stream({ worker, count }) {
      const to = workers[worker];
      to.streaming = true;
      let back = 0;
      to.on('message', function take(m) {
        const ok = Array.isArray(m) && m[0] === back;
        if (ok && ++back < count) return;
        to.removeListener('message', take);
        to.streaming = false;
        tell('streamed', to, ok ? {} : { error: `${JSON.stringify(m)} came after ${back} messages` });
      });
      let next = 0;
      const burst = () => {
        for (const end = Math.min(next + 20, count); next < end; next++) to.send({ echo: next });
        if (next < count) setImmediate(burst);
      };
      burst();
    },
  };
  readline.createInterface({ input: process.stdin })
    .on('line', (line) => {
      const command = JSON.parse(line);
      commands[command.do](command);
    })
    .on('close', () => {
      for (const id of Object.keys(workers)) workers[id].process.kill('SIGKILL');
      process.exit(0);
    });
}

// Bun's http servers do not ask the primary, and share their port by SO_REUSEPORT; its net servers do.
const createServer = !process.versions.bun ? http.createServer : (handle) => net.createServer((socket) => {
  socket.on('error', () => {}).once('data', (head) => handle({ url: String(head).split(' ')[1] }, {
    setHeader() {},
    end: (body) => socket.end(`HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: ${body.length}\r\n\r\n${body}`),
  }));
});

function worker() {
  const servers = {};
  let held = [];
  const serve = (name) => (req, res) => {
    res.setHeader('Connection', 'close');
    const answer = () => res.end(`node ${cluster.worker.id} ${name}\n`);
    if (req.url !== '/hold') return answer();
    held.push(answer);
    process.send({ held: true });
  };
  const commands = {
    listen({ name, network, host, port, limit }, done) {
      const failed = (err) => done({ error: err.code, text: err.message });
      const text = (a) => typeof a === 'string' ? a : (a.address.includes(':') ? `[${a.address}]` : a.address) + ':' + a.port;
      if (network.startsWith('udp')) {
        const socket = servers[name] = dgram.createSocket(network);
        socket.on('message', (m, from) => socket.send(`node ${cluster.worker.id} ${name}\n`, from.port, from.address));
        socket.on('error', failed).bind({ port, address: host || undefined }, () => done({ address: text(socket.address()) }));
        return;
      }
      let where = { port };
      if (host) where.host = host;
      if (network === 'tcp6') where.ipv6Only = true;
      if (network === 'unix') where = { path: host };
      if (network === 'fd') where = { fd: Number(host) };
      const server = servers[name] = network.startsWith('tls') ? tls.createServer({}) : createServer(serve(name));
      if (limit) server.maxConnections = limit;
      server.on('error', failed).listen(where, () => {
        const answer = { address: text(server.address()) };
        if (server.getTicketKeys) answer.keys = server.getTicketKeys().toString('hex');
        done(answer);
      });
    },
    close: ({ name }, done) => servers[name].close(() => done({ closed: true })),
    release() {
      for (const answer of held) answer();
      held = [];
    },
    disconnect: () => cluster.worker.disconnect(),
  };
  process.on('message', (m) => {
    if ('echo' in m) process.send([m.echo]);
    else commands[m.do](m, (answer) => process.send(Object.assign({ re: m.re }, answer)));
  });
}

if (cluster.isMaster) primary(process.argv[2]);
else worker();
