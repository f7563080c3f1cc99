'use strict';

// Go programs where servers of Node are run by packages of npm: under PM2 in fork mode, behind @socket.io/sticky, and
// beside an express app. The packages come from npm as they are; what runs them is in the folder ecosystem, on the Node
// under test, NODEIPC_NODE or the one that runs this file. docs/ecosystem.md says what the programs have to say.

const assert = require('node:assert');
const { execFile, execFileSync } = require('node:child_process');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const { promisify } = require('node:util');
const { test, before, after } = require('node:test');

const run = promisify(execFile);
const root = path.join(__dirname, '..', '..');
const node = process.env.NODEIPC_NODE || process.execPath;
const major = Number(execFileSync(node, ['-p', 'process.versions.node.split(".")[0]'], { encoding: 'utf8' }));
let dir;

before(async () => {
  dir = fs.mkdtempSync(path.join(os.tmpdir(), 'servers-'));
  const programs = ['pm2', 'sticky', 'worker'].map((name) => `./examples/${name}`);
  await run('go', ['build', '-o', dir + path.sep, ...programs], { cwd: root });
}, { timeout: 300000 });

after(() => fs.rmSync(dir, { recursive: true }));

async function saw(file, args, env) {
  const script = path.join(__dirname, 'ecosystem', file);
  const { stdout } = await run(node, [script, ...args], { env: { ...process.env, ...env }, timeout: 90000 });
  const { node: version, ...rest } = JSON.parse(stdout);
  return rest;
}

const left = { code: 0, signal: null, exitedAfterDisconnect: true };

test('PM2 in fork mode', { skip: major < 16 && 'PM2 6 needs Node 16' }, async () => {
  const home = path.join(dir, 'pm2-home');
  fs.mkdirSync(home);
  try {
    const env = { PM2_HOME: home, PM2_DISABLE_VERSION_CHECK: '1', PM2_DISCRETE_MODE: '1' };
    assert.deepStrictEqual(await saw('pm2_parent.js', [path.join(dir, 'pm2')], env), {
      readyInTime: true,
      started: { status: 'online', mode: 'fork_mode', restarts: 0 },
      serves: true,
      answer: { data: { text: 'grüße' }, name: 'web' },
      slowDuringReload: true,
      reloaded: { exit: 0, status: 'online', restarts: 1, another: true, serves: true },
      failed: { code: 7, status: 'online', restarts: 2, another: true, serves: true },
      killed: { status: 'online', restarts: 3, serves: true },
      stopped: { status: 'stopped', code: 3, restarts: 3 },
      slowDuringStop: true,
      stop: { status: 'stopped', code: 0 },
      logs: { out: 2, err: true },
      // SIGINT is what PM2 calls an exit by itself.
      signals: ['0 SIGINT', '7 SIGINT', '0 SIGKILL', '3 SIGINT', '0 SIGINT'],
    });
  } finally {
    const file = path.join(home, 'pm2.pid'); // of the daemon, which takes its children with it
    if (fs.existsSync(file)) {
      try {
        process.kill(Number(fs.readFileSync(file, 'utf8')), 'SIGTERM');
      } catch (err) {
        if (err.code !== 'ESRCH') throw err;
      }
    }
  }
});

test('behind @socket.io/sticky', { skip: major < 16 && '@socket.io/sticky 2 needs Node 16' }, async () => {
  const one = { whole: true, requests: 1, connection: 'close', worker: true, sid: true };
  const forwarded = ['sticky:http-chunk-start', 'sticky:http-chunk'];
  assert.deepStrictEqual(await saw('sticky_primary.js', [path.join(dir, 'sticky')]), {
    get: { method: 'GET', size: 0, ...one, types: ['sticky:connection'] },
    addressIsTheClients: true,
    workers: [1, 2],
    stays: [2, 3, 4, 2, 3, 4],
    length: { method: 'POST', size: 300000, ...one, requests: 5, types: forwarded, stays: true },
    forwardedAddress: true,
    chunked: { method: 'POST', size: 300000, ...one, requests: 5, types: forwarded, stays: true },
    onePiece: { method: 'POST', size: 5, ...one, types: ['sticky:http-chunk-start'] },
    gone: ['sticky:http-chunk-start'], // and its abort, which is awaited
    many: 60,
    exits: [left, left],
  });
});

for (const [name, from] of [['express4', 12], ['express5', 18]]) {
  test(`beside ${name}`, { skip: major < from && `${name} needs Node ${from}` }, async () => {
    const address = { addressType: 4, address: null, port: true };
    assert.deepStrictEqual(await saw('express_primary.js', [name, path.join(dir, 'worker')]), {
      addresses: [{ ...address }, { ...address }],
      both: { 'express 1': 10, 'go 2': 10 },
      exits: [left, left],
      withoutExpress: { 'go 2': 4 },
      again: { 'express 3': 2, 'go 2': 2 },
      withoutGo: { 'express 3': 4 },
    });
  });
}
