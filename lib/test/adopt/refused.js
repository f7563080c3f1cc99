'use strict';

// What adopt refuses, in a worker that goes on as if nothing had been: node refused.js. Prints the errors as JSON.
// Ran on Node 12, 14, 16, 18, 20, 22, 24 and 26.

const cluster = require('cluster');
const http = require('http');
const { adopt } = require('../../index.js');
const { get, freePort } = require('./client.js');

const tried = (f) => {
  try {
    f();
    return 'no error';
  } catch (err) {
    return err.message;
  }
};

if (cluster.isMaster) {
  const errors = { primary: tried(() => adopt(process.execPath)), path: tried(() => adopt('')) };
  freePort().then((port) => {
    const worker = cluster.fork({ PORT: port });
    const messages = [];
    worker.on('message', (m) => messages.push(m));
    worker.on('listening', () => get(port).then((answer) => worker.send(answer)));
    worker.on('exit', (code) => console.log(JSON.stringify({ errors, messages, code })));
  });
} else {
  const symbol = Object.getOwnPropertySymbols(process).find((s) => String(s) === 'Symbol(kChannelHandle)');
  const handle = symbol ? process[symbol] : process.channel;
  process.send(tried(() => adopt('./missing')));
  process.send(tried(() => adopt(__filename)));
  process.send(tried(() => adopt(__dirname)));
  handle.readStop = undefined;
  process.send(tried(() => adopt(process.execPath)));
  delete handle.readStop;
  http.createServer((req, res) => res.end(`${process.pid} 0`)).listen(process.env.PORT, '127.0.0.1');
  process.on('message', (m) => process.send(m[0] === process.pid, () => process.disconnect()));
}
