// A Node cluster primary with a Node worker and a Go worker on one port: node primary.js GO_WORKER. Nothing in it is
// special but forkGo. Prints what it sees, and fails if that is not what a cluster of two Node workers shows.
'use strict';

const assert = require('assert');
const cluster = require('cluster');
const http = require('http');
const { forkGo } = require('../../lib'); // require('@nodeipc/go') in a project of yours

const requests = 40;

if (cluster.isMaster) {
  primary();
} else {
  http.createServer((req, res) => res.end(`node ${cluster.worker.id}\n`)).listen(process.env.PORT);
  process.on('message', (m) => process.send({ echo: m, from: 'node' }));
}

process.on('unhandledRejection', (err) => { throw err; });

async function primary() {
  setTimeout(() => { throw new Error('the demo takes too long'); }, 30000).unref();
  const port = await freePort();
  const workers = [
    { name: 'Node', worker: cluster.fork({ PORT: port }) },
    { name: 'Go', worker: forkGo(cluster, process.argv[2], { PORT: port }) },
  ];
  await Promise.all(workers.map(({ worker }) => event(worker, 'listening')));
  console.log(`  both workers listen on port ${port}`);

  const served = {};
  for (let i = 0; i < requests; i++) {
    const by = await get(port);
    served[by] = (served[by] || 0) + 1;
  }
  for (const by of Object.keys(served)) console.log(`  ${served[by]} of ${requests} requests served by worker "${by}"`);
  assert.deepStrictEqual(served, { 'node 1': requests / 2, 'go 2': requests / 2 });

  for (const { name, worker } of workers) {
    const answer = event(worker, 'message');
    worker.send({ hello: name });
    const text = JSON.stringify(await answer);
    console.log(`  ${name} worker: sent {"hello":"${name}"}, it answered ${text}`);
    assert.strictEqual(text, JSON.stringify({ echo: { hello: name }, from: name.toLowerCase() }));
  }

  for (const { name, worker } of workers) {
    const exit = event(worker, 'exit');
    worker.disconnect();
    const code = await exit;
    console.log(`  ${name} worker: disconnected, exitedAfterDisconnect ${worker.exitedAfterDisconnect}, exit code ${code}`);
    assert.strictEqual(worker.exitedAfterDisconnect, true);
    assert.strictEqual(code, 0);
  }
}

function event(emitter, name) {
  return new Promise((resolve, reject) => {
    emitter.once(name, resolve);
    emitter.once('error', reject);
  });
}

function freePort() {
  return new Promise((resolve, reject) => {
    const server = http.createServer().on('error', reject).listen(0, () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
}

function get(port) {
  return new Promise((resolve, reject) => {
    http.get({ host: '127.0.0.1', port, agent: false }, (res) => {
      let body = '';
      res.setEncoding('utf8').on('data', (s) => { body += s; }).on('end', () => resolve(body.trim()));
    }).on('error', reject);
  });
}
