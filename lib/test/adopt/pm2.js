'use strict';

// PM2 in cluster mode with two workers that are adopted by a Go worker, in a PM2_HOME of its own: node pm2.js. Prints
// what happened as JSON. PM2 loads @pm2/io into them, as it does by default.
// Ran with pm2 6.0.14 on Node 18, 20, 22, 24 and 26.

const { execFile } = require('child_process');
const path = require('path');
const { promisify } = require('util');
const pm2 = require('pm2');
const { get, row, all, load, gone, freePort } = require('./client.js');

const call = (name, ...args) => promisify(pm2[name]).apply(pm2, args);

async function workers() {
  return (await call('list')).map((p) => ({
    pid: p.pid,
    status: p.pm2_env.status,
    mode: p.pm2_env.exec_mode,
    restarts: p.pm2_env.restart_time,
    exit: p.pm2_env.exit_code,
    metrics: p.pm2_env.axm_monitor,
  }));
}

// until asks PM2 again and again: it has no event for what it does by itself.
async function until(what) {
  for (;;) {
    const list = await workers();
    if (what(list)) {
      return list;
    }
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

async function main() {
  const result = {};
  const port = await freePort();
  await call('connect');
  const bus = await call('launchBus');
  const live = [];
  bus.on('log:out', (packet) => live.push(packet.data));

  await call('start', {
    name: 'adopted',
    script: path.join(__dirname, 'worker.js'),
    exec_mode: 'cluster',
    instances: 2,
    args: ['an', 'argument'],
    env: { PORT: port },
  });
  let list = await workers();
  result.started = list.map((w) => [w.status, w.mode]);
  await all(port, 2);
  result.row = await row(port, 8);
  const before = list.map((w) => w.pid);

  const traffic = load(port);
  await call('reload', 'adopted');
  await Promise.all(before.map(gone));
  await Promise.all(result.row.map(gone));
  const { requests, errors, pids } = await traffic.end();
  result.reload = { some: requests > 20, errors, served: pids.length > 2 };
  list = await workers();
  result.reloaded = list.map((w) => [w.status, before.includes(w.pid)]);

  // The wrapper is killed: the Go worker goes with it, and PM2 starts another one.
  const [child, wrapper] = await get(port);
  process.kill(wrapper, 'SIGKILL');
  await gone(child);
  list = await until((l) => l.every((w) => w.status === 'online' && w.pid !== wrapper));
  await all(port, 2);

  // The exit code is the Go worker's.
  const restarts = list.reduce((sum, w) => sum + w.restarts, 0);
  await get(port, '/exit/7').catch(() => {});
  list = await until((l) => l.every((w) => w.status === 'online') && l.reduce((sum, w) => sum + w.restarts, 0) > restarts);
  result.codes = list.map((w) => w.exit).filter((code) => code === 7);
  const last = await all(port, 2);

  // The lines of the output are in the log files, and on the bus from which `pm2 logs` follows them: as long as the Go
  // worker has its channel.
  const cli = path.join(path.dirname(require.resolve('pm2')), 'bin', 'pm2');
  const { stdout } = await promisify(execFile)(process.execPath, [cli, 'logs', '--nostream', '--lines', '100']);
  const everyPid = (text) => [...new Set(result.row)].every((pid) => stdout.includes(text(pid)));
  result.logs = ['höhe', 'error', 'stopped', 'end'].filter((word) => everyPid((pid) => `${word} of ${pid}`));
  await until(() => last.every((pid) => live.includes(`höhe of ${pid}: ["an" "argument"]\n`)));
  // So are the metrics that @pm2/io sends every second.
  await until((l) => l.every((w) => Object.keys(w.metrics || {}).length > 0));
  await call('stop', 'adopted');
  result.stopped = (await workers()).map((w) => [w.status, w.exit]);
  await Promise.all(last.map(gone));
  return result;
}

main().then((result) => console.log(JSON.stringify(result)), (err) => {
  console.error(err);
  process.exitCode = 1;
}).then(() => call('killDaemon')).then(() => process.exit());
