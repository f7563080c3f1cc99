// A cluster primary with a worker that says whatever it likes: for the tests of package cluster.
//
//   node cluster_victim.js GO_WORKER [early]
//
// Forks GO_WORKER, makes a connection once it listens, and prints what the worker sends, {"done":...}. With early it
// forks a Node worker beside it, which listens on the same address after it; makes a connection, which the first worker
// takes with it to its end; then another one; and prints {"second":"hi","first":...}, where first is what has become of
// the first connection: "open" is open and without an answer.
//
// Ran on Node 12, 14, 16, 18, 20, 22, 24 and 26.
'use strict';

const cluster = require('cluster');
const net = require('net');
const { forkGo } = require('../lib');

const host = '127.0.0.1';

if (cluster.isMaster) primary(process.argv[2], process.argv[3] === 'early');
else net.createServer((socket) => socket.end('hi')).listen(0, host);

function primary(binary, early) {
  cluster.setupMaster({ stdio: ['ignore', 2, 2, 'ipc'] }); // stdout is for the result
  const worker = forkGo(cluster, binary);
  let first;
  worker.on('listening', ({ port }) => {
    const connect = () => {
      first = net.connect(port, host).resume().on('error', (err) => { first.state = err.code; })
        .on('end', () => { first.state = 'end'; }).on('data', () => { first.state = 'answered'; });
    };
    if (!early) return connect();
    cluster.fork().on('listening', connect);
    worker.on('exit', () => {
      net.connect(port, host).setEncoding('utf8').on('data', (second) => {
        // What has happened to the first one until now has been seen in the next turn.
        setImmediate(() => finish({ second, first: first.state || 'open' }));
      });
    });
  });
  worker.on('message', finish);
}

function finish(result) {
  for (const id of Object.keys(cluster.workers)) cluster.workers[id].process.kill('SIGKILL');
  process.stdout.write(JSON.stringify(result) + '\n', () => process.exit(0));
}
