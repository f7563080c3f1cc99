'use strict';

// A primary with @socket.io/sticky in front of two workers in Go, for lib/test/servers.test.js:
//
//   node sticky_primary.js examples/sticky's BINARY
//
// Prints one JSON line with what its clients saw.
// Ran on Node 16, 20 and 26; @socket.io/sticky 2 needs cluster.isPrimary, of Node 16.

const cluster = require('cluster');
const { createHash } = require('crypto');
const http = require('http');
const net = require('net');
const { setupMaster } = require('@socket.io/sticky');
const { forkGo } = require('../../index.js');

const once = (emitter, name) => new Promise((resolve) => emitter.once(name, (...args) => resolve(args)));
const digest = (body) => createHash('sha256').update(body).digest('base64');

cluster.setupPrimary({ serialization: 'advanced' });
const server = http.createServer();
setupMaster(server, { loadBalancingMethod: 'round-robin' });
const exits = [];
const forks = [1, 2].map(() => forkGo(cluster, process.argv[2], {}));
const over = Promise.all(forks.map((worker) => once(worker, 'exit').then(([code, signal]) => {
  exits.push({ code, signal, exitedAfterDisconnect: worker.exitedAfterDisconnect });
})));

const sent = [];
const send = cluster.Worker.prototype.send;
cluster.Worker.prototype.send = function (message, ...rest) {
  sent.push(message.type);
  return send.call(this, message, ...rest);
};
// An abort also follows a response when its client closes the socket before the worker has said that this was all.
const types = () => [...new Set(sent.splice(0))].filter((type) => type !== 'sticky:abort');

// request writes the parts of the body one after the other, each when the one before has been forwarded.
function request(method, url, parts = [], headers = {}) {
  return new Promise((resolve, reject) => {
    const { port } = server.address();
    const req = http.request({ host: '127.0.0.1', port, method, path: url, headers, agent: false }, (res) => {
      let text = '';
      res.setEncoding('utf8').on('error', reject).on('data', (s) => { text += s; });
      const { connection } = res.headers;
      res.on('end', () => resolve({ ...JSON.parse(text), connection, mine: req.socket.localPort }));
    }).on('error', reject);
    const next = () => (parts.length ? req.write(parts.shift(), () => setImmediate(next)) : req.end());
    next();
  });
}

// raw writes a request as it is.
function raw(text) {
  return new Promise((resolve, reject) => {
    const socket = net.connect(server.address().port, '127.0.0.1');
    let answer = '';
    socket.setEncoding('utf8').on('error', reject).on('data', (s) => { answer += s; }).on('end', () => resolve(answer));
    socket.write(text);
  });
}

const seen = ({ worker, sid, requests, method, size, sha256, connection }, body) => ({
  method, size, whole: sha256 === digest(body), requests, connection,
  worker: [1, 2].includes(worker), sid: /^[\w-]{20}$/.test(sid),
});

async function main() {
  const out = { node: process.version };
  await Promise.all(forks.map((worker) => once(worker, 'online')));
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));

  // A session stays with its worker, whose turn it would not be.
  const begun = [await request('GET', '/a'), await request('GET', '/b')];
  out.get = { ...seen(begun[0], ''), types: types() };
  out.addressIsTheClients = begun.every((r) => r.remote === `127.0.0.1:${r.mine}`);
  out.workers = begun.map((r) => r.worker).sort();
  out.stays = [];
  for (const { sid, worker } of begun) {
    for (let i = 0; i < 3; i++) {
      const r = await request('GET', `/?sid=${sid}`);
      out.stays.push(r.worker === worker && r.requests);
    }
  }
  types();

  const body = Buffer.alloc(300000, 'grüße ');
  const parts = () => [body.slice(0, 10), body.slice(10, 100000), body.slice(100000)];
  const posted = await request('POST', `/?sid=${begun[1].sid}`, parts(), { 'Content-Length': body.length });
  out.length = { ...seen(posted, body), types: types(), stays: posted.worker === begun[1].worker };
  out.forwardedAddress = posted.remote === `127.0.0.1:${posted.mine}`;
  const chunked = await request('POST', `/?sid=${begun[0].sid}`, parts());
  out.chunked = { ...seen(chunked, body), types: types(), stays: chunked.worker === begun[0].worker };

  // Head and body in one piece.
  const one = await raw('POST /one HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello');
  out.onePiece = { ...seen({ ...JSON.parse(one.split('\r\n\r\n')[1]), connection: 'close' }, 'hello'), types: types() };

  // A client that goes in the middle of its body.
  const { port } = server.address();
  const socket = net.connect(port, '127.0.0.1');
  socket.write('POST /gone HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\nhello');
  while (!sent.includes('sticky:http-chunk-start')) await new Promise(setImmediate);
  socket.destroy();
  while (sent[sent.length - 1] !== 'sticky:abort') await new Promise(setImmediate);
  out.gone = types();

  // Many at a time.
  const many = await Promise.all(Array.from({ length: 60 }, (_, i) => (i % 3
    ? request('POST', '/many', parts(), i % 3 === 1 ? { 'Content-Length': body.length } : {})
    : request('GET', '/many'))));
  out.many = many.filter((r, i) => r.sha256 === digest(i % 3 ? body : '')).length;

  for (const worker of forks) worker.disconnect();
  await over;
  server.close();
  out.exits = exits;
  console.log(JSON.stringify(out));
}

main().catch((err) => {
  console.error(err);
  for (const worker of forks) worker.kill('SIGKILL');
  process.exit(1);
});
