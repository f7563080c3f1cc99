'use strict';

// adopt under real managers, run by the Node under test: NODEIPC_NODE, or the one that runs this file. PM2 has a Node of
// its own, NODEIPC_PM2_NODE or the one that runs this file: it takes longer, and does not support each.

const assert = require('node:assert');
const { execFile, spawn } = require('node:child_process');
const { once } = require('node:events');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const readline = require('node:readline');
const { promisify } = require('node:util');
const { test, before, after } = require('node:test');
const { row, gone, freePort } = require('./adopt/client.js');

const run = promisify(execFile);
const node = process.env.NODEIPC_NODE || process.execPath;
const root = path.join(__dirname, '..', '..');
const skip = process.platform === 'win32' && 'adopt does not work on Windows';
let dir;
let env;

before(async () => {
  dir = fs.mkdtempSync(path.join(os.tmpdir(), 'adopt-'));
  const binary = path.join(dir, 'worker');
  await run('go', ['build', '-o', binary, './lib/test/adopt/worker'], { cwd: root });
  env = { ...process.env, ADOPT_BINARY: binary, PM2_HOME: dir, PM2_DISABLE_VERSION_CHECK: 'true' };
}, { timeout: 300000 });

after(() => fs.rmSync(dir, { recursive: true }));

const script = (name) => path.join(__dirname, 'adopt', `${name}.js`);

// result returns what a script has printed as JSON, behind the output of its workers.
async function result(runtime, name, ...args) {
  try {
    const { stdout } = await run(runtime, [script(name), ...args], { cwd: dir, env, timeout: 60000 });
    return JSON.parse(stdout.split('\n').filter((line) => line.startsWith('{')).pop());
  } catch (err) {
    throw new Error(`${err.message}\n${err.stdout}`);
  }
}

// alternate checks that two processes have answered in turn, as they do under round robin.
function alternate(pids) {
  const [a, b] = pids;
  assert.notStrictEqual(a, b);
  assert.deepStrictEqual(pids, [a, b, a, b, a, b, a, b]);
}

for (const serialization of ['json', 'advanced']) {
  test(`a primary sees one worker, ${serialization}`, { skip }, async () => {
    const r = await result(node, 'primary', serialization);
    alternate(r.row);
    assert.ok(r.parents, 'the Go workers are children of the processes that the primary knows');
    const ids = [1, 2, 3, 4, 5];
    for (const id of ids) {
      const events = r.log.filter((line) => line.split(' ')[1] === String(id));
      assert.deepStrictEqual(events, [`online ${id}`, `listening ${id} true`, `disconnect ${id}`]);
    }
    for (const id of ids.slice(0, 4)) { // the output of the last may die with its wrapper
      assert.match(r.output[id], /^höhe of \d+: \["an" "argument"\]$/m);
      assert.match(r.output[id], /^error of \d+$/m);
    }
    // What the wrapper sends comes through the Go worker, which alone reads what the primary sends.
    assert.deepStrictEqual(r.said, [{ from: 'wrapper', text: 'höhe\n' }, null, 'pid',
      'adopt: the channel of this process has been given away already', 'told null', { ping: serialization }]);
    assert.deepStrictEqual(r.signals, [{ signal: 'hangup' }, { signal: 'user defined signal 2' }]);
    assert.match(r.output[1], /^left of \d+\nend of \d+$/m);
    assert.match(r.output[2], /^stopped of \d+\nend of \d+$/m);
    assert.deepStrictEqual(r.exits, {
      disconnect: [0, null],
      SIGTERM: [0, null],
      code: [7, null],
      signal: [null, 'SIGKILL'],
      SIGKILL: [null, 'SIGKILL'], // of the wrapper; the Go worker ended, too
    });
  });
}

test('refuses what it cannot do before anything has changed', { skip }, async () => {
  const r = await result(node, 'refused');
  assert.match(r.errors.primary, /not a worker of a cluster/);
  assert.match(r.errors.path, /non-empty/);
  const [missing, source, folder, hidden, served] = r.messages;
  assert.match(missing, /^adopt: there is no Go binary at .*missing; build it first/);
  assert.match(source, /refused\.js is not executable/);
  assert.match(folder, /is a directory/);
  assert.match(hidden, /^adopt: Node v\d.* does not show the handle of process\.channel with readStop$/);
  assert.strictEqual(served, true);
  assert.strictEqual(r.code, 0);
});

test('throng', { skip }, async () => {
  const port = await freePort();
  const manager = spawn(node, [script('throng')], { env: { ...env, PORT: port }, stdio: ['ignore', 'pipe', 'inherit'] });
  try {
    const lines = [];
    await new Promise((resolve) => {
      readline.createInterface({ input: manager.stdout }).on('line', (line) => {
        lines.push(line);
        if (lines.filter((l) => l.startsWith('listening')).length === 2) {
          resolve();
        }
      });
    });
    const pids = await row(port, 8);
    alternate(pids);
    manager.kill('SIGTERM');
    const [code, signal] = await once(manager, 'close');
    await Promise.all(pids.map(gone));
    assert.deepStrictEqual([code, signal], [0, null]);
    for (const pid of pids) {
      assert.ok(lines.includes(`stopped of ${pid}`) && lines.includes(`end of ${pid}`), lines.join('\n'));
    }
  } finally {
    manager.kill('SIGKILL');
  }
});

test('recluster reloads under load', { skip }, async () => {
  const r = await result(node, 'recluster');
  alternate(r.row);
  assert.deepStrictEqual(r.exits, [[0, null, true], [0, null, true]]);
  assert.deepStrictEqual(r.reload, { some: true, errors: [], served: true, replaced: true });
});

test('PM2 in cluster mode', { skip }, async () => {
  const runtime = process.env.NODEIPC_PM2_NODE || process.execPath;
  try {
    const r = await result(runtime, 'pm2');
    assert.deepStrictEqual(r.started, [['online', 'cluster_mode'], ['online', 'cluster_mode']]);
    alternate(r.row);
    assert.deepStrictEqual(r.reload, { some: true, errors: [], served: true });
    assert.deepStrictEqual(r.reloaded, [['online', false], ['online', false]]);
    assert.deepStrictEqual(r.codes, [7]);
    assert.deepStrictEqual(r.logs, ['höhe', 'error', 'stopped', 'end']);
    assert.deepStrictEqual(r.stopped, [['stopped', 0], ['stopped', 0]]);
  } finally {
    if (fs.existsSync(path.join(dir, 'pm2.pid'))) { // the script was not able to end PM2
      await run(runtime, [path.join(root, 'node_modules', 'pm2', 'bin', 'pm2'), 'kill'], { env });
    }
  }
});
