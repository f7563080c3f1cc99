'use strict';

// The preload of `nodeipc tap` in real programs of the Node under test: NODEIPC_NODE, or the one that runs this file.
// In place of the tap a shell script writes down what it is started with and becomes the program, which then has the
// channel itself.

const assert = require('node:assert');
const { execFile } = require('node:child_process');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const { promisify } = require('node:util');
const { test, before, after } = require('node:test');

const node = fs.realpathSync(process.env.NODEIPC_NODE || process.execPath); // as it calls itself
const fixtures = path.join(__dirname, '..', '..', 'js_fixtures');
const programs = path.join(fixtures, 'tap_programs.js');
let dir;
let standIn;
let preload;
let other; // a preload of the program
let bin; // with a node in it, the one under test

before(() => {
  dir = fs.realpathSync(fs.mkdtempSync(path.join(os.tmpdir(), 'tap-')));
  standIn = path.join(dir, 'stand-in');
  fs.writeFileSync(standIn, [
    '#!/bin/sh',
    'IFS="|"; log=$1; shift',
    'printf "%s\\n" "$*" >> "$log"',
    'while [ "$1" != -- ]; do shift; done; shift',
    'exec "$@"',
    '',
  ].join('\n'), { mode: 0o755 });
  const folder = path.join(dir, 'a "private" föld\\er');
  fs.mkdirSync(folder);
  preload = path.join(folder, 'tap.js');
  fs.copyFileSync(path.join(__dirname, '..', 'tap.js'), preload);
  other = path.join(folder, 'other.js');
  fs.writeFileSync(other, 'global.other = "loaded";\n');
  bin = path.join(dir, 'bin');
  fs.mkdirSync(bin);
  fs.symlinkSync(node, path.join(bin, 'node'));
});

after(() => fs.rmSync(dir, { recursive: true }));

const quote = (s) => `"${s.replace(/["\\]/g, '\\$&')}"`;
const required = (file) => `--require ${quote(file)}`;

// run runs a program below the preload and returns what it printed, and the arguments of each tap that was started.
let runs = 0;
async function run(args, { script = programs, file = preload, options = required(file), env } = {}) {
  const log = path.join(dir, `log${runs++}`);
  const { stdout, stderr } = await promisify(execFile)(node, [script, ...args], {
    timeout: 60000,
    env: {
      ...process.env,
      PATH: `${bin}:${process.env.PATH}`,
      NODE_OPTIONS: options,
      NODEIPC_TAP: JSON.stringify({ command: [standIn, log], preload: file, report: '/nowhere' }),
      ...env,
    },
  });
  const lines = fs.existsSync(log) ? fs.readFileSync(log, 'utf8').trimEnd().split('\n') : [];
  return { result: JSON.parse(stdout), stderr, taps: lines.map((line) => line.split('|')) };
}

// untapped runs it without.
async function untapped(args) {
  const r = await run(args, { options: '', env: { NODEIPC_TAP: undefined } });
  assert.deepStrictEqual(r.taps, []);
  return r.result;
}

test('fork', async () => {
  const { result, taps } = await run(['fork']);
  assert.deepStrictEqual(taps, [['--', node, '--no-warnings', programs, 'child', 'a', 'b c', '']]);
  assert.deepStrictEqual(result.message, {
    args: ['a', 'b c', ''], argv0: node, execArgv: ['--no-warnings'], options: required(preload), tapped: true,
  });
  assert.deepStrictEqual([result.code, result.signal, result.spawnfile], [0, null, node]);
  assert.deepStrictEqual(result.spawnargs, [node, '--no-warnings', programs, 'child', 'a', 'b c', '']);
});

test('spawn with a channel at any place, found in PATH, with another argv[0]', async () => {
  const { result, taps } = await run(['spawn']);
  const names = ['node', 'another name', '--'];
  const found = path.join(bin, 'node');
  assert.deepStrictEqual(taps, names.map((name) => [`--argv0=${name}`, '--', found, programs, 'child']));
  assert.deepStrictEqual(result.map((r) => [r.spawnfile, r.spawnargs]),
    names.map((name) => ['node', [name, programs, 'child']]));
});

test('spawn without a channel gets the environment and no tap', async () => {
  const { result, taps } = await run(['channelless']);
  assert.deepStrictEqual(taps, []);
  assert.deepStrictEqual([result.options, result.tapped, result.argv0], [required(preload), true, 'node']);
});

test('a cluster worker', async () => {
  const { result, taps } = await run(['cluster']);
  assert.deepStrictEqual(taps, [['--', node, programs, 'child', 'in a cluster']]);
  assert.strictEqual(result.message.worker, 1);
});

test('a worker of forkGo', async () => {
  const worker = path.join(dir, 'worker');
  fs.writeFileSync(worker, '#!/bin/sh\necho "$NODE_UNIQUE_ID $NODE_CHANNEL_FD"\n', { mode: 0o755 });
  const script = path.join(fixtures, 'forkgo_primary.js');
  const { result, taps } = await run(['started', worker], { script });
  assert.deepStrictEqual(taps, [['--', worker, 'one', 'two words']]);
  assert.deepStrictEqual([result.stdout, result.restored, result.spawnfile], ['1 3\n', true, worker]);
});

test('a grandchild behind a shell, all with an environment of their own', async () => {
  const { result, taps } = await run(['grandchild']);
  assert.deepStrictEqual(taps, [['--', node, programs, 'child']]);
  assert.deepStrictEqual([result.message.options, result.message.tapped], [required(preload), true]);
});

test('programs are found as execvp finds them', async () => {
  const folder = path.join(dir, 'programs');
  fs.mkdirSync(folder);
  fs.writeFileSync(path.join(folder, 'script'), '#!/bin/sh\necho "$0 $1"\n', { mode: 0o755 });
  const script = path.join(folder, 'script');
  const { result, taps } = await run(['lookup', folder, 'script']);
  const pwd = fs.existsSync('/bin/pwd') ? '/bin/pwd' : '/usr/bin/pwd';
  assert.deepStrictEqual(taps, [
    ['--', './script', 'x'], ['--', script, 'x'],
    ['--argv0=script', '--', './script', 'x'], ['--argv0=script', '--', script, 'x'], ['--argv0=pwd', '--', pwd, 'x'],
  ]);
  assert.deepStrictEqual(result, ['./script x', `${script} x`, './script x', `${script} x`, folder]);
});

test('errors are those of Node', async () => {
  const args = ['errors', dir, programs];
  const [{ result, taps }, expected] = await Promise.all([run(args), untapped(args)]);
  assert.deepStrictEqual(taps, []);
  assert.deepStrictEqual(result, expected);
  assert.deepStrictEqual(result.slice(0, 4).map((r) => r[3].error.code), ['ENOENT', 'ENOENT', 'EACCES', 'EACCES']);
});

test('what a program sees of spawn', async () => {
  const [{ result, taps }, expected] = await Promise.all([run(['surface']), untapped(['surface'])]);
  assert.strictEqual(taps.length, 1);
  assert.deepStrictEqual(result, expected);
  assert.deepStrictEqual([result.calls, result.returned, result.code, result.sameArgs], [1, 0, 3, true]);
});

test('a detached child leads a process group', async () => {
  const { result, taps } = await run(['detached']);
  assert.strictEqual(taps.length, 1);
  assert.deepStrictEqual(result, { code: null, signal: 'SIGKILL' });
});

test('advanced serialization', async () => {
  const { result, taps } = await run(['advanced']);
  assert.strictEqual(taps.length, 1);
  assert.deepStrictEqual(result, [['a', '1970-01-01T00:00:00.000Z']]);
});

test('forks in a worker thread and beside it', async () => {
  const { result, taps } = await run(['threads']);
  assert.deepStrictEqual(taps, ['thread', 'main'].map((arg) => ['--', node, programs, 'child', arg]));
  assert.deepStrictEqual(result.map((r) => r.message.args), [['thread'], ['main']]);
});

test('what else is in NODE_OPTIONS stays and works', async () => {
  const options = `--max-old-space-size=100 --require ${quote(other)}`;
  const { result } = await run(['fork'], { options: `${options} ${required(preload)}` });
  assert.strictEqual(result.message.options, `${required(preload)} ${options} `);
  assert.strictEqual(result.message.other, 'loaded');
});

test('the preload is in NODE_OPTIONS once', async () => {
  const ours = required(preload);
  const pairs = [
    ['', ours],
    ['--a', `${ours} --a`],
    [`${ours} ${ours}`, ours],
    [`--a  "b \\" c" -r ${quote(preload)} --d`, `${ours} --a  "b \\" c" --d`],
    [`--"require="${quote(preload)} --e`, `${ours} --e`],
    ['--require "unterminated', `${ours} --require "unterminated`],
  ];
  const { result } = await run(['options', ...pairs.map(([given]) => given)]);
  assert.deepStrictEqual(result, pairs.map(([, got]) => got));
});

test('two preloads make one tap', async () => {
  const copy = path.join(dir, 'copy.js');
  fs.copyFileSync(preload, copy);
  const { taps } = await run(['fork'], { options: `${required(preload)} ${required(copy)}` });
  assert.deepStrictEqual(taps.map((argv) => argv.filter((arg) => arg === '--').length), [1]);
});

test('children work when the tap has gone', async () => {
  const file = path.join(dir, 'gone.js');
  fs.copyFileSync(preload, file);
  const { result, taps } = await run(['gone', file], { file });
  assert.deepStrictEqual(taps, []);
  assert.deepStrictEqual([result.code, result.message.options, result.message.tapped], [0, undefined, false]);
});

test('a child of another user is left alone', { skip: process.getuid() !== 0 && 'needs root' }, async () => {
  const { result, taps } = await run(['user']);
  assert.deepStrictEqual(taps, []);
  assert.deepStrictEqual(result, { stdout: '', code: 0, signal: null });
});

test('without NODEIPC_TAP there is no tap, and a complaint if it is broken', async () => {
  const complaint = 'nodeipc tap: NODEIPC_TAP is not what nodeipc tap has set, and this process is not tapped\n';
  for (const [value, said] of [[undefined, ''], ['{', complaint], ['{"command":["x"]}', complaint]]) {
    const { result, stderr } = await run(['options', '--a'], { env: { NODEIPC_TAP: value } });
    assert.deepStrictEqual([stderr, result], [said, ['--a']]);
  }
});
