'use strict';

// forkGo against real primaries of the Node under test: NODEIPC_NODE, or the one that runs this file. The worker is a
// shell script here, which shows what a program is started with; a Go worker serves requests in worker.test.js.

const assert = require('node:assert');
const { execFile } = require('node:child_process');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const { promisify } = require('node:util');
const { test, before, after } = require('node:test');

const node = process.env.NODEIPC_NODE || process.execPath;
const fixture = path.join(__dirname, '..', '..', 'js_fixtures', 'forkgo_primary.js');
let dir;
let script;

before(() => {
  dir = fs.realpathSync(fs.mkdtempSync(path.join(os.tmpdir(), 'forkgo-')));
  script = path.join(dir, 'stand-in');
  fs.writeFileSync(script, [
    '#!/bin/sh',
    'for arg; do echo "arg $arg"; done',
    'echo "FORKGO_TEST=$FORKGO_TEST"',
    'echo "FORKGO_OUTER=$FORKGO_OUTER"',
    'echo "NODE_UNIQUE_ID=$NODE_UNIQUE_ID"',
    'echo "NODE_CHANNEL_FD=$NODE_CHANNEL_FD"',
    '',
  ].join('\n'), { mode: 0o755 });
});

after(() => fs.rmSync(dir, { recursive: true }));

async function primary(scenario, binary, options) {
  const { stdout } = await promisify(execFile)(node, [fixture, scenario, binary], { timeout: 60000, ...options });
  return JSON.parse(stdout);
}

test('starts the binary with the arguments of a worker, without those of Node, and its environment', async () => {
  const r = await primary('started', script, { env: { ...process.env, FORKGO_OUTER: 'outer' } });
  assert.deepStrictEqual(r.stdout.split('\n'), [
    'arg one', 'arg two words',
    'FORKGO_TEST=a b', 'FORKGO_OUTER=outer', 'NODE_UNIQUE_ID=1', 'NODE_CHANNEL_FD=3', '',
  ]);
  assert.deepStrictEqual([r.code, r.signal, r.id, r.isWorker, r.restored], [0, null, 1, true, true]);
});

test('options are the arguments and the environment of one worker', async () => {
  const r = await primary('options', script);
  const started = (args, value = '') => [...args.map((arg) => `arg ${arg}`), `FORKGO_TEST=${value}`].join('\n');
  const shown = r.stdout.map((s) => s.slice(0, s.indexOf('\nFORKGO_OUTER')));
  assert.deepStrictEqual(shown, [
    started(['one', '', '--three'], 'a b'), started([]), started(['settings'], 'only'), started(['settings']),
    started(['settings']),
  ]);
  assert.deepStrictEqual(r.spawnargs, [script, 'settings']);
});

test('a relative path is resolved against the working directory', async () => {
  const r = await primary('started', 'stand-in', { cwd: dir });
  assert.strictEqual(r.spawnfile, script);
  assert.strictEqual(r.code, 0);
});

test('forks before and after start Node', async () => {
  const r = await primary('mixed', script);
  assert.deepStrictEqual(r.execPaths, [r.execPath, r.execPath]);
  assert.strictEqual(r.spawnfile, script);
});

test('changes nothing for later forks when cluster.fork() throws', async () => {
  const r = await primary('throwing', script);
  assert.strictEqual(r.error.code, 'ERR_INVALID_ARG_TYPE');
  assert.strictEqual(r.restored, true);
});

const refusals = [
  ['a missing file', () => path.join(dir, 'missing'), 'ENOENT', /no Go binary at .*missing; build it first: go build -o /],
  ['a file that is not executable', () => fixture, 'EACCES', /not executable.*go build -o /],
  ['a directory', () => dir, 'EACCES', /is a directory.*go build -o /],
  ['a path through a file', () => path.join(script, 'worker'), 'ENOTDIR', /cannot look at .*ENOTDIR/],
];
for (const [what, binary, code, message] of refusals) {
  test(`refuses ${what} at once`, async () => {
    const r = await primary('refused', binary());
    assert.strictEqual(r.error.code, code);
    assert.strictEqual(r.error.path, binary());
    assert.match(r.error.message, message);
    assert.ok(r.error.message.includes(binary()));
    assert.deepStrictEqual([r.restored, r.workers], [true, 0]);
  });
}

test('refuses wrong arguments', async () => {
  const r = await primary('arguments', script);
  assert.match(r.noCluster.message, /first argument must be Node's cluster module/);
  assert.match(r.noPath.message, /second argument must be the path of a Go binary/);
  assert.match(r.emptyPath.message, /non-empty/);
  assert.match(r.mixed.message, /PORT is not an option; variables belong into env/);
  assert.match(r.wrongArgs.message, /args must be an array of strings/);
  assert.match(r.nullByte.message, /without null bytes/);
  assert.match(r.wrongEnv.message, /env must be an object/);
  const { workers, ...errors } = r;
  assert.deepStrictEqual([...new Set(Object.values(errors).map((err) => err.name))], ['TypeError']);
  assert.strictEqual(workers, 0);
});

test('refuses to fork in a worker', async () => {
  const r = await primary('worker', script);
  assert.match(r.error.message, /this process is a cluster worker; only the primary/);
});
