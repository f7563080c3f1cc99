// A cluster primary with one Node worker and one Go worker on one port, for lib/test/worker.test.js.
//
//   node cluster_primary.js GO_WORKER [REQUESTS=40]
//
// Forks both, sends the requests one after the other with a connection each, sends every worker the messages below,
// disconnects both and waits for them to exit. Prints one JSON line:
//
//   {"ok":true,"node":"v20.1.2","id":{"node":1,"go":2},"served":{"node 1":20,"go 2":20},"answers":{"node":[...],"go":[...]},
//    "exits":{"node":{"code":0,"signal":null,"exitedAfterDisconnect":true},"go":{...}}}
//
// or {"ok":false,"error":"..."} with exit code 1. The contract of a worker, Node's below and the Go one alike: it
// listens on port $PORT, answers every HTTP request with "<node or go> <worker id>\n", and every message m of the
// primary with {"echo":m,"from":"<node or go>"}. NODE_CLUSTER_SCHED_POLICY=none works as in any primary.
// Ran on Node 12, 14, 16, 18, 20, 22, 24 and 26.
'use strict';

const cluster = require('cluster');
const http = require('http');
const net = require('net');
const { forkGo } = require('../lib');

const messages = ['hello', 7, true, null, [1, 2], { text: 'grüße \u2028 <b>', nested: { a: [{}] } }];

let stage = 'start';

if (cluster.isMaster) {
  const limit = setTimeout(() => finish(new Error(`not done within a minute, at: ${stage}`)), 60000);
  limit.unref();
  primary(process.argv[2], Number(process.argv[3] || 40)).then((result) => finish(null, result), finish);
} else {
  http.createServer((req, res) => res.end(`node ${cluster.worker.id}\n`)).listen(process.env.PORT);
  process.on('message', (m) => process.send({ echo: m, from: 'node' }));
}

function finish(err, result) {
  const out = err ? { ok: false, error: err.stack || String(err) } : Object.assign({ ok: true }, result);
  for (const id of Object.keys(cluster.workers)) cluster.workers[id].process.kill('SIGKILL');
  process.stdout.write(JSON.stringify(out) + '\n', () => process.exit(err ? 1 : 0));
}

async function primary(binary, requests) {
  const port = await freePort();
  const env = { PORT: port };
  const workers = { node: cluster.fork(env), go: forkGo(cluster, binary, env) };
  const names = Object.keys(workers);

  const exits = {};
  const allExited = Promise.all(names.map((name) => new Promise((resolve) => {
    workers[name].on('exit', (code, signal) => {
      exits[name] = { code, signal, exitedAfterDisconnect: workers[name].exitedAfterDisconnect };
      resolve();
    });
  })));

  stage = 'listening';
  await Promise.all(names.map((name) => new Promise((resolve, reject) => {
    workers[name].on('listening', resolve);
    workers[name].on('error', reject);
    workers[name].on('exit', (code, signal) => reject(new Error(`the ${name} worker exited before it listened: ${code} ${signal}`)));
  })));

  stage = 'requests';
  const served = {};
  for (let i = 0; i < requests; i++) {
    const body = (await get(port)).trim();
    served[body] = (served[body] || 0) + 1;
  }

  stage = 'messages';
  const answers = {};
  await Promise.all(names.map((name) => new Promise((resolve) => {
    answers[name] = [];
    workers[name].on('message', (m) => {
      if (answers[name].push(m) === messages.length) resolve();
    });
    for (const m of messages) workers[name].send(m);
  })));

  stage = 'disconnect';
  for (const name of names) workers[name].disconnect();
  await allExited;
  return { node: process.version, id: { node: workers.node.id, go: workers.go.id }, served, messages, answers, exits };
}

function freePort() {
  return new Promise((resolve, reject) => {
    const server = net.createServer().on('error', reject).listen(0, () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
}

function get(port) {
  return new Promise((resolve, reject) => {
    http.get({ host: '127.0.0.1', port, agent: false }, (res) => {
      let body = '';
      res.setEncoding('utf8').on('data', (s) => { body += s; }).on('end', () => resolve(body)).on('error', reject);
    }).on('error', reject);
  });
}
