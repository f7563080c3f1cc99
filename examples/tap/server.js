// A cluster of two workers that answers four requests of its own and ends: nodeipc tap -- node server.js
'use strict';

const cluster = require('cluster');
const http = require('http');

if (cluster.isMaster) {
  primary();
} else {
  const server = http.createServer((req, res) => res.end(`Hello from worker ${cluster.worker.id}`));
  server.listen(0, '127.0.0.1', () => process.send({ type: 'ready', port: server.address().port }));
}

async function primary() {
  const workers = [cluster.fork(), cluster.fork()];
  const ready = await Promise.all(workers.map((worker) => new Promise((resolve) => worker.on('message', resolve))));
  for (let i = 0; i < 4; i++) console.log(await get(ready[0].port)); // the workers share a port
  for (const worker of workers) worker.disconnect();
}

function get(port) {
  return new Promise((resolve, reject) => {
    http.get({ host: '127.0.0.1', port, agent: false }, (res) => {
      let text = '';
      res.setEncoding('utf8').on('data', (s) => { text += s; }).on('end', () => resolve(text));
    }).on('error', reject);
  });
}
