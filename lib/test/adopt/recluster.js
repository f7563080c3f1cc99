'use strict';

// recluster with two workers that are adopted by a Go worker, which it reloads under load: node recluster.js. Prints what
// happened as JSON. Ran with recluster 1.0.0 on Node 12, 14, 16, 18, 20, 22, 24 and 26.

const cluster = require('cluster');
const { once } = require('events');
const path = require('path');
const recluster = require('recluster');
const { row, all, load, freePort } = require('./client.js');

(async () => {
  const result = { exits: [] };
  const port = await freePort();
  process.env.PORT = port;
  const balancer = recluster(path.join(__dirname, 'worker.js'), { workers: 2, timeout: 5, log: { respawns: false } });
  cluster.on('exit', (worker, code, signal) => result.exits.push([code, signal, worker.exitedAfterDisconnect]));
  balancer.run();
  const before = await all(port, 2);
  result.row = await row(port, 8);

  const traffic = load(port);
  const reloaded = new Promise((resolve) => balancer.reload(resolve));
  await reloaded;
  while (result.exits.length < 2) {
    await once(cluster, 'exit');
  }
  const { requests, errors, pids } = await traffic.end();
  const after = await all(port, 2);
  result.reload = {
    some: requests > 20,
    errors,
    served: pids.length > 2,
    replaced: !after.some((pid) => before.includes(pid)),
  };
  console.log(JSON.stringify(result));
  // Without its callback, which may not come: a killed worker may exit before it disconnects, as the Go worker has to see
  // first that its wrapper is gone.
  balancer.terminate();
})().catch((err) => {
  console.error(err);
  process.exit(1);
});
