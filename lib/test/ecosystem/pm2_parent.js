'use strict';

// PM2 in fork mode with one Go program, examples/pm2, in a PM2_HOME of its own, for lib/test/servers.test.js:
//
//   PM2_HOME=… node pm2_parent.js BINARY
//
// Prints one JSON line with what happened. The caller ends PM2's daemon if this does not.
// Ran with pm2 6.0.14 on Node 20 and 26.

const { execFile } = require('child_process');
const { EventEmitter } = require('events');
const fs = require('fs');
const http = require('http');
const net = require('net');
const path = require('path');
const { promisify } = require('util');
const pm2 = require('pm2');

const call = (name, ...args) => promisify(pm2[name]).apply(pm2, args);
const cli = path.join(path.dirname(require.resolve('pm2/package.json')), 'bin', 'pm2');
const command = (...args) => promisify(execFile)(process.execPath, [cli, ...args]);

const freePort = () => new Promise((resolve, reject) => {
  const server = net.createServer().on('error', reject).listen(0, () => {
    const { port } = server.address();
    server.close(() => resolve(port));
  });
});

function get(port, url) {
  return new Promise((resolve, reject) => {
    http.get({ host: '127.0.0.1', port, path: url || '/', agent: false }, (res) => {
      let body = '';
      res.setEncoding('utf8').on('error', reject).on('data', (s) => { body += s; });
      res.on('end', () => resolve(body.trim()));
    }).on('error', reject);
  });
}

async function main() {
  const binary = path.resolve(process.argv[2]);
  const port = await freePort();
  await call('connect');
  const bus = await call('launchBus');
  // next is the next event of the bus. (The bus's own off takes all listeners of a name away.)
  const events = new EventEmitter();
  for (const name of ['process:event', 'log:out', 'web:greeting']) bus.on(name, (packet) => events.emit(name, packet));
  const next = (name, which = () => true) => new Promise((resolve) => {
    const listener = (packet) => {
      if (!which(packet)) return;
      events.removeListener(name, listener);
      resolve(packet);
    };
    events.on(name, listener);
  });
  // Events of the bus may come later than the answer to a call: restarts tells them apart.
  const process_ = (what, restarts) => next('process:event', (packet) => packet.event === what &&
    packet.process.restart_time === restarts);
  const app = async () => {
    const [{ pid, pm2_env: env }] = await call('describe', 'web');
    return { pid, status: env.status, mode: env.exec_mode, restarts: env.restart_time, code: env.exit_code };
  };
  const out = { node: process.version };

  // start returns when the program has said that it is ready, hence listens.
  const start = Date.now();
  await call('start', {
    name: 'web', script: binary, interpreter: 'none', exec_mode: 'fork', wait_ready: true, listen_timeout: 60000,
    shutdown_with_message: true, kill_timeout: 30000, stop_exit_codes: [3], env: { PORT: port },
  });
  out.readyInTime = Date.now() - start < 30000;
  const first = await app();
  out.started = { status: first.status, mode: first.mode, restarts: first.restarts };
  out.serves = await get(port) === `go ${first.pid}`;

  // Messages, each way.
  const answer = next('web:greeting');
  await call('sendDataToProcessId', 0, { topic: 'greeting', data: { text: 'grüße' }, type: 'process:msg', id: 0 });
  const { data, process: from } = await answer;
  out.answer = { data, name: from.name };

  // A reload in fork mode is a stop and a start: what runs ends well.
  let busy = next('log:out', ({ data: text }) => text.includes('sleeping'));
  let slow = get(port, '/?sleep=300ms');
  await busy;
  let exited = process_('exit', 0);
  await call('reload', 'web');
  const second = await app();
  out.slowDuringReload = await slow === `go ${first.pid}`;
  out.reloaded = {
    exit: (await exited).process.exit_code, status: second.status, restarts: second.restarts,
    another: second.pid !== first.pid, serves: await get(port) === `go ${second.pid}`,
  };

  // An exit code that is none of stop_exit_codes is followed by a start.
  exited = process_('exit', 1);
  let online = process_('online', 2);
  await call('sendDataToProcessId', 0, { topic: 'exit', data: 7, type: 'process:msg', id: 0 });
  const code = (await exited).process.exit_code;
  await online;
  const third = await app();
  out.failed = {
    code, status: third.status, restarts: third.restarts, another: third.pid !== second.pid,
    serves: await get(port) === `go ${third.pid}`,
  };

  // Killed.
  exited = process_('exit', 2);
  online = process_('online', 3);
  process.kill(third.pid, 'SIGKILL');
  await exited;
  await online;
  const fourth = await app();
  out.killed = { status: fourth.status, restarts: fourth.restarts, serves: await get(port) === `go ${fourth.pid}` };

  exited = process_('exit', 3);
  await call('sendDataToProcessId', 0, { topic: 'exit', data: 3, type: 'process:msg', id: 0 });
  await exited;
  const { status, code: last, restarts } = await app();
  out.stopped = { status, code: last, restarts };

  // stop lets requests finish, too.
  await call('restart', 'web');
  const fifth = await app();
  busy = next('log:out', ({ data: text }) => text.includes('sleeping'));
  slow = get(port, '/?sleep=300ms');
  await busy;
  await call('stop', 'web');
  out.slowDuringStop = await slow === `go ${fifth.pid}`;
  const sixth = await app();
  out.stop = { status: sixth.status, code: sixth.code };

  // The last lines before an exit may be missing: PM2 closes its files then. Those of reload and stop came earlier.
  const logs = await command('logs', 'web', '--nostream', '--raw', '--lines', '100');
  out.logs = {
    out: logs.stdout.split('\n').filter((line) => line === 'sleeping').length,
    err: logs.stderr.split('\n').filter((line) => / draining$/.test(line)).length >= 2,
  };
  const home = process.env.PM2_HOME;
  const log = fs.readFileSync(path.join(home, 'pm2.log'), 'utf8');
  out.signals = log.match(/exited with code \[\d+\] via signal \[\w+\]/g)
    .map((line) => line.replace(/[^[]*\[(\w+)\][^[]*\[(\w+)\].*/, '$1 $2'));
  await call('killDaemon');
  console.log(JSON.stringify(out));
  process.exit();
}

main().catch((err) => {
  console.error(err);
  process.exit(1);
});
