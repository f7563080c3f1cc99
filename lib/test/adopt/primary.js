'use strict';

// A primary whose workers are adopted by a Go worker: node primary.js json|advanced. Prints what happened as JSON.
// Ran on Node 12, 14, 16, 18, 20, 22, 24 and 26.

const cluster = require('cluster');
const { once } = require('events');
const path = require('path');
const { get, row, gone, freePort } = require('./client.js');

const serialization = process.argv[2];
cluster.setupMaster({ exec: path.join(__dirname, 'worker.js'), args: ['an', 'argument'], serialization, silent: true });
const log = [];
const output = {};
let port;

function start(env) {
  const worker = cluster.fork(Object.assign({ PORT: port }, env));
  worker.on('online', () => log.push(`online ${worker.id}`));
  worker.on('listening', (address) => log.push(`listening ${worker.id} ${address.port === port}`));
  worker.on('disconnect', () => log.push(`disconnect ${worker.id}`));
  output[worker.id] = '';
  for (const stream of [worker.process.stdout, worker.process.stderr]) {
    stream.setEncoding('utf8').on('data', (text) => { output[worker.id] += text; });
  }
  const messages = [];
  worker.on('message', (m) => messages.push(m));
  worker.received = async (n) => {
    while (messages.length < n) {
      await once(worker, 'message');
    }
    return messages;
  };
  return once(worker, 'listening').then(() => worker);
}

// end resolves to what exit was emitted with, after everything else.
async function end(worker, how) {
  const exited = once(worker, 'exit');
  const closed = once(worker.process, 'close');
  how();
  const [code, signal] = await exited;
  await closed;
  return [code, signal];
}

(async () => {
  port = await freePort();
  const result = { exits: {} };
  const a = await start({ SAY: '1' });
  const b = await start();
  result.row = await row(port, 8);
  const [first] = result.row;
  const pids = [(await get(port)), (await get(port))];
  result.parents = pids.map((p) => p[1]).sort().join() === [a, b].map((w) => w.process.pid).sort().join();
  const childOfA = pids.find((p) => p[1] === a.process.pid)[0];

  const count = 5;
  await a.received(count);
  a.send({ ping: serialization });
  const said = (await a.received(count + 1)).slice();
  result.said = said.map((m) => (m === childOfA ? 'pid' : m));

  b.process.kill('SIGHUP');
  await b.received(1);
  b.process.kill('SIGUSR2');
  result.signals = await b.received(2);
  result.exits.disconnect = await end(a, () => a.disconnect());
  result.exits.SIGTERM = await end(b, () => b.process.kill('SIGTERM'));

  const c = await start();
  result.exits.code = await end(c, () => get(port, '/exit/7').catch(() => {}));
  const d = await start();
  result.exits.signal = await end(d, () => get(port, '/kill/9').catch(() => {}));
  const e = await start();
  const [child, parent] = await get(port);
  result.exits.SIGKILL = await end(e, () => process.kill(parent, 'SIGKILL'));
  await gone(child);
  console.log(JSON.stringify(Object.assign(result, { log, output, first })));
})().catch((err) => {
  console.log(JSON.stringify({ log, output }));
  console.error(err);
  process.exit(1);
});
