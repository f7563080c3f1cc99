'use strict';

// A cluster with an express app as the Node worker and examples/worker as the Go worker on one port, for
// lib/test/servers.test.js:
//
//   node express_primary.js express4|express5 BINARY
//
// Prints one JSON line. Ran with express 4.22.3 on Node 12, 14, 16, 20 and 26, with express 5.3.0 on Node 20 and 26.

const cluster = require('cluster');
const http = require('http');
const net = require('net');

if (cluster.isMaster) {
  main().catch((err) => {
    console.error(err);
    for (const id of Object.keys(cluster.workers)) cluster.workers[id].process.kill('SIGKILL');
    process.exit(1);
  });
} else {
  const express = require(process.argv[2]);
  const app = express();
  app.use(express.json());
  app.get('/', (req, res) => res.send(`express ${cluster.worker.id}\n`));
  app.listen(process.env.PORT);
}

async function main() {
  const { forkGo } = require('../../index.js');
  const once = (emitter, name) => new Promise((resolve) => emitter.once(name, (...args) => resolve(args)));
  const port = await new Promise((resolve, reject) => {
    const server = net.createServer().on('error', reject).listen(0, () => {
      const { port: free } = server.address();
      server.close(() => resolve(free));
    });
  });
  const get = () => new Promise((resolve, reject) => {
    http.get({ host: '127.0.0.1', port, agent: false }, (res) => {
      let body = '';
      res.setEncoding('utf8').on('error', reject).on('data', (s) => { body += s; });
      res.on('end', () => resolve(body.trim()));
    }).on('error', reject);
  });
  const row = async (n) => {
    const served = {};
    for (let i = 0; i < n; i++) {
      const by = await get();
      served[by] = (served[by] || 0) + 1;
    }
    return served;
  };

  const workers = [cluster.fork({ PORT: port }), forkGo(cluster, process.argv[3], { PORT: port })];
  const exits = workers.map((worker) => once(worker, 'exit')
    .then(([code, signal]) => ({ code, signal, exitedAfterDisconnect: worker.exitedAfterDisconnect })));
  // A worker that ends before it listens is a failure of this program, not a wait without end.
  workers.forEach((worker) => worker.once('exit', (code, signal) => {
    if (worker.exitedAfterDisconnect) return;
    console.error(`worker ${worker.id} ended: ${code} ${signal}`);
    workers.forEach((other) => other.process.kill('SIGKILL'));
    process.exit(1);
  }));
  const addresses = await Promise.all(workers.map((worker) => once(worker, 'listening').then(([address]) => address)));
  const out = { node: process.version };
  out.addresses = addresses.map((address) => ({ ...address, port: address.port === port }));
  out.both = await row(20);

  // Each goes, and another like it comes: the one that stays serves meanwhile.
  workers[0].disconnect();
  out.exits = [await exits[0]];
  out.withoutExpress = await row(4);
  const next = cluster.fork({ PORT: port });
  await once(next, 'listening');
  out.again = await row(4);
  workers[1].disconnect();
  out.exits.push(await exits[1]);
  out.withoutGo = await row(4);
  const over = once(next, 'exit');
  next.disconnect();
  await over;
  console.log(JSON.stringify(out));
}
