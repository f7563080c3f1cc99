'use strict';

// The preload in an unmodified primary of the Node under test: NODEIPC_NODE, or the one that runs this file. In place
// of a Go program there is a shell script that shows what it is started with; package.test.js has a Go worker.

const assert = require('node:assert');
const { execFile, spawn } = require('node:child_process');
const { once } = require('node:events');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const { promisify } = require('node:util');
const { test, before, after } = require('node:test');

const node = process.env.NODEIPC_NODE || process.execPath;
const preload = path.join(__dirname, '..', 'preload.js');
const fixture = path.join(__dirname, '..', '..', 'js_fixtures', 'preload_primary.js');
let dir;
let script;

const program = [
  '#!/bin/sh',
  'echo go',
  'for arg; do echo "arg $arg"; done',
  'echo "OWN=$OWN EXTRA=$EXTRA"',
  'echo "NODE_UNIQUE_ID=$NODE_UNIQUE_ID NODE_CHANNEL_FD=$NODE_CHANNEL_FD"',
  '',
].join('\n');

before(() => {
  dir = fs.realpathSync(fs.mkdtempSync(path.join(os.tmpdir(), 'preload-')));
  script = path.join(dir, 'stand-in');
  fs.writeFileSync(script, program, { mode: 0o755 });
});

after(() => fs.rmSync(dir, { recursive: true }));

// primary runs a scenario; settings are those of the preload, without NODEIPC_GO_.
async function primary(args, settings, { nodeArgs = ['-r', preload], cwd = dir } = {}) {
  const env = { ...process.env };
  for (const name of Object.keys(settings)) {
    env[`NODEIPC_GO_${name}`] = settings[name];
  }
  const { stdout } = await promisify(execFile)(node, [...nodeArgs, fixture, ...args], { timeout: 60000, env, cwd });
  return JSON.parse(stdout);
}

function configure(name, config) {
  const file = path.join(dir, name);
  fs.writeFileSync(file, typeof config === 'string' ? config : JSON.stringify(config));
  return file;
}

test('every worker is Go, with its own arguments and its environment', async () => {
  const r = await primary(['one', 'two words'], { BINARY: './stand-in' });
  assert.deepStrictEqual(r.lines,
    ['go', 'arg one', 'arg two words', 'OWN=own EXTRA=', 'NODE_UNIQUE_ID=1 NODE_CHANNEL_FD=3']);
  assert.deepStrictEqual(r.spawnargs, [script, 'one', 'two words']);
  assert.strictEqual(r.isWorker, true);
});

const conditions = [
  ['all', {}, 'go go go go go go'],
  ['every second', { EVERY: '2' }, 'node go node go node go'],
  ['every third', { EVERY: '3' }, 'node node go node node go'],
  ['a count', { COUNT: '2' }, 'go go node node node node'],
  ['none', { COUNT: '0' }, 'node node node node node node'],
  ['by a value of their environment', { WHEN: 'ROLE=even' }, 'node go node go node go'],
  ['by a value that none has', { WHEN: 'ROLE=' }, 'node node node node node node'],
  ['all of these', { WHEN: 'ROLE=odd', EVERY: '2', COUNT: '1' }, 'node node go node node node'],
];
for (const [what, settings, expected] of conditions) {
  test(`forks that become Go: ${what}`, async () => {
    const r = await primary(['six'], { BINARY: script, ...settings });
    assert.strictEqual(r.kinds.join(' '), expected);
    assert.strictEqual(r.policy, 1, 'cluster was loaded before the program could choose the policy');
  });
}

test('a worker that has ended is replaced by one of Go', async () => {
  assert.deepStrictEqual((await primary(['replaced'], { BINARY: script, COUNT: '1' })).kinds, ['go', 'go', 'go']);
});

test('a file says it all, and variables precede it', async () => {
  fs.mkdirSync(path.join(dir, 'folder'));
  const binary = '../stand-in'; // seen from the file
  const file = configure('folder/go.json', { binary, args: ['-v', 'a b', ''], env: { EXTRA: 'x=y', OWN: 'theirs' } });
  const expected = ['go', 'arg -v', 'arg a b', 'arg ', 'OWN=theirs EXTRA=x=y', 'NODE_UNIQUE_ID=1 NODE_CHANNEL_FD=3'];
  assert.deepStrictEqual((await primary(['one', 'unused'], { CONFIG: file })).lines, expected);
  const r = await primary(['one'], { CONFIG: file, BINARY: script, ARGS: '["-q"]' });
  assert.deepStrictEqual(r.spawnargs, [script, '-q']);
  const odd = configure('folder/odd.json', { binary, when: { ROLE: 'odd' }, every: 2, count: 3 });
  assert.strictEqual((await primary(['six'], { CONFIG: odd })).kinds.join(' '), 'node node go node node node');
});

test('other children are left alone', async () => {
  assert.deepStrictEqual((await primary(['children'], { BINARY: script })).lines, ['node', 'child']);
});

test('forkGo beside it starts its own program', async () => {
  const other = path.join(dir, 'other');
  fs.writeFileSync(other, '#!/bin/sh\necho "other $*"\n', { mode: 0o755 });
  const r = await primary(['forkgo', other], { BINARY: script });
  assert.deepStrictEqual(r, { lines: ['other of forkGo'], kinds: ['go'] });
});

test('loaded twice, or after cluster, or by NODE_OPTIONS, it is the same', async () => {
  const copy = path.join(dir, 'copy');
  fs.mkdirSync(copy);
  for (const file of ['preload.js', 'instead.js', 'binary.js']) {
    fs.copyFileSync(path.join(__dirname, '..', file), path.join(copy, file));
  }
  const nodeArgs = ['-r', preload, '-r', path.join(copy, 'preload.js')];
  const expected = 'node go node go node go';
  assert.strictEqual((await primary(['six'], { BINARY: script, EVERY: '2' }, { nodeArgs })).kinds.join(' '), expected);
  const cluster = configure('cluster.js', "process.env.NODE_CLUSTER_SCHED_POLICY = 'none'; require('cluster');");
  const r = await primary(['six'], { BINARY: script, EVERY: '2' }, { nodeArgs: ['-r', cluster, '-r', preload] });
  assert.strictEqual(r.kinds.join(' '), expected);
});

test('a program that has gone is an error of the worker', async () => {
  const gone = path.join(dir, 'gone');
  fs.writeFileSync(gone, program, { mode: 0o755 });
  const r = await primary(['gone', gone], { BINARY: gone, COUNT: '1' });
  assert.deepStrictEqual(r, { ends: ['ENOENT', 'ENOENT'], last: 'ENOENT' }); // none of them counts as alive
});

test('paths are those of the primary, wherever its workers run', async () => {
  configure('relative.json', { binary: './stand-in', every: 2 });
  assert.deepStrictEqual((await primary(['elsewhere'], { CONFIG: 'relative.json' })).kinds, ['node', 'go']);
});

test('a primary with a channel learns of a mistake when it forks', async () => {
  const env = { ...process.env, NODEIPC_GO_BINARY: 'x', NODEIPC_GO_EVERY: '0' };
  const child = spawn(node, ['-r', preload, fixture, 'mistaken'], { env, stdio: ['ignore', 'pipe', 'inherit', 'ipc'] });
  let stdout = '';
  child.stdout.setEncoding('utf8').on('data', (s) => { stdout += s; });
  await once(child, 'close');
  const { errors, workers } = JSON.parse(stdout);
  const message = '@nodeipc/go/preload: every, or NODEIPC_GO_EVERY, must be an integer from 1 on';
  assert.deepStrictEqual([errors, workers], [[message, message], 0]);
});

const mistakes = [
  ['nothing', {}, /set either NODEIPC_GO_BINARY, .* or NODEIPC_GO_PACKAGE, or/],
  ['both', { BINARY: 'x', PACKAGE: 'x' }, /NODEIPC_GO_BINARY and NODEIPC_GO_PACKAGE are both set/],
  ['a program that is not there', { BINARY: './missing' }, /there is no Go binary at .*missing/],
  ['a source', { BINARY: fixture }, /is not executable/],
  ['a package that is not there', { PACKAGE: '@acme/missing' }, /@acme\/missing is not installed/],
  ['every', { BINARY: 'x', EVERY: '0' }, /every, or NODEIPC_GO_EVERY, must be an integer from 1 on/],
  ['every', { BINARY: 'x', EVERY: 'second' }, /every, or NODEIPC_GO_EVERY, must be an integer from 1 on/],
  ['count', { BINARY: 'x', COUNT: '-1' }, /count, or NODEIPC_GO_COUNT, must be an integer from 0 on/],
  ['when', { BINARY: 'x', WHEN: 'ROLE' }, /NODEIPC_GO_WHEN is not NAME=VALUE: ROLE/],
  ['args', { BINARY: 'x', ARGS: '-v' }, /NODEIPC_GO_ARGS: .*JSON/],
  ['args', { BINARY: 'x', ARGS: '[1]' }, /args must be an array of strings/],
  ['a file that is not there', { CONFIG: 'missing.json' }, /NODEIPC_GO_CONFIG: ENOENT/],
  ['a file that is not JSON', { CONFIG: ['{'] }, /mistake.json: .*JSON/],
  ['a file with something else', { CONFIG: [[]] }, /is not a JSON object/],
  ['an unknown key', { CONFIG: [{ binary: 'x', evry: 2 }] }, /unknown key: evry; there are binary, /],
  ['an environment', { CONFIG: [{ binary: 'x', env: { A: 1 } }] }, /env must be an object of strings/],
];
test('a mistake in the configuration ends the process', async (t) => {
  for (const [what, settings, message] of mistakes) {
    await t.test(what, async () => {
      const config = Array.isArray(settings.CONFIG) ? { CONFIG: configure('mistake.json', settings.CONFIG[0]) } : {};
      const err = await primary(['one'], { ...settings, ...config }).then(() => null, (e) => e);
      assert.strictEqual(err && err.code, 1);
      assert.strictEqual(err.stdout, '');
      assert.match(err.stderr, message);
      assert.match(err.stderr, /@nodeipc\/go\/preload: |findBinary: /);
    });
  }
});
