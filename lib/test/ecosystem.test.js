'use strict';

// execa, jest-worker and workerpool, as they come from npm, each with a child in Go, examples/ecosystem, and with one
// in Node that has the same methods: both have to look the same to the library. The parents are in the folder
// ecosystem; they run on the Node under test, NODEIPC_NODE or the one that runs this file. docs/ecosystem.md says what
// a child has to say.
//
// A row that passes has left no process: the children have the parent's stderr, whose end is awaited.

const assert = require('node:assert');
const { execFile, execFileSync, spawn } = require('node:child_process');
const { createHash } = require('node:crypto');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const { promisify } = require('node:util');
const v8 = require('node:v8');
const { test, before, after } = require('node:test');

const root = path.join(__dirname, '..', '..');
const node = process.env.NODEIPC_NODE || process.execPath;
let binaries;

before(async () => {
  binaries = fs.mkdtempSync(path.join(os.tmpdir(), 'ecosystem-'));
  await promisify(execFile)('go', ['build', '-o', binaries + path.sep, './examples/ecosystem/...'], { cwd: root });
}, { timeout: 300000 });

after(() => fs.rmSync(binaries, { recursive: true }));

// run runs a parent to its end and to that of its children.
function run(file, args, env) {
  return new Promise((resolve, reject) => {
    const parent = spawn(file, args, { stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, ...env } });
    let stdout = '';
    let stderr = '';
    let late = '';
    parent.stdout.on('data', (data) => { stdout += data; });
    parent.stderr.on('data', (data) => { stderr += data; });
    const timer = setTimeout(() => {
      late = parent.exitCode === null && parent.signalCode === null ? 'the parent still runs' : 'a child still runs';
      parent.kill('SIGKILL');
      parent.stdout.destroy();
      parent.stderr.destroy();
    }, 240000);
    parent.on('error', reject);
    parent.on('close', (code, signal) => {
      clearTimeout(timer);
      if (late) reject(new Error(`${late}\n${stderr}`));
      else resolve({ code, signal, stdout, stderr });
    });
  });
}

const sha256 = (text) => createHash('sha256').update(text).digest();
const disconnected = { exitCode: 0, ends: [0] };
const failure = { error: true, message: 'it did not work', code: 'E_FAIL' };
const buffers = [Buffer.from('buffer'), new Map([['k', new Map([[1, Buffer.from('inner')]])]]), 12345678901234567890n,
  new Date(86400000), undefined];

// What the parents of execa see. Strict messages of execa 9 have BigInts for ids, which are not for JSON.
function execa(name, serialization) {
  const advanced = serialization === 'advanced';
  const values = [null, true, 1.5, 'ä', [1, [2]], { a: { b: [] } }];
  if (advanced) {
    values.push([12345678901234567890n, undefined], new Date(86400000), Buffer.from('buffer'),
      new Map([['k', new Set([1])]]));
  }
  const answers = (...messages) => ({ ipcOutput: messages, ...disconnected });
  const cancelled = (reason) => ({
    exitCode: 0, isCanceled: true, isGracefullyCanceled: true, ipcOutput: ['waiting'],
    stdout: `cancelled: Error: ${reason}`, originalMessage: reason, ends: [0],
  });
  return {
    one: { echoed: values, ...answers(...values) },
    each: { echoed: [0, 1, 2], ...answers(0, 1, 2) },
    ...(advanced || name !== 'execa9' ? {
      strict: { sent: { value: 'acknowledged' }, echoed: [1, 2, 3], ...answers(1, 2, 3) },
      asked: { messages: ['are you there?', 'acknowledged'], ...answers('are you there?', 'acknowledged') },
      unheard: { stdout: 'nobody listens', ...answers() },
    } : {}),
    input: { exitCode: 3, ipcOutput: ['leaving'], ends: [3] },
    cancel: {
      signal: 'SIGTERM', isCanceled: true, isTerminated: true, ipcOutput: ['waiting'], originalMessage: 'enough',
      ends: ['SIGTERM'],
    },
    ...(advanced ? {
      error: { error: true, message: 'it did not work', name: 'Error', ends: [0] },
      gracefulCancel: cancelled('enough'),
      gracefulCancelWithoutReason: cancelled('This operation was aborted'),
    } : {}),
  };
}

function jestworker(name, serialization) {
  const end = { forceExited: false };
  return {
    returns: { sums: [3, 0, -4.9], echoed: ['ä', null, { a: [true] }], end, ends: [0] },
    throws: {
      failed: { ...failure, type: 'RangeError', name: 'RangeError' },
      wrong: { error: true, message: 'cannot add a string', type: 'Error', name: 'Error' },
      after: 4, end, ends: [0],
    },
    many: { sum: 9900, end, ends: [0] },
    two: { sums: [1, 2, 3], end, ends: [0, 0] },
    reports: { custom: 'half way', value: 'done', end, ends: [0] },
    memory: { sums: [1, 2, 3], end, ends: [0, 'SIGTERM', 0] },
    crashes: {
      crashed: {
        error: true, type: 'WorkerError',
        message: 'Jest worker encountered 2 child process exceptions, exceeding retry limit',
      },
      end, ends: [7, 7, 0],
    },
    busy: { end: { forceExited: true }, ends: ['SIGTERM'] },
    ...(serialization === 'advanced' ? {
      values: {
        echoed: buffers, empty: [Buffer.alloc(0), new Map()], large: true,
        digest: new Map([['a', sha256('abc')], ['b', sha256('')]]),
        end, ends: [0],
      },
    } : {}),
  };
}

function workerpool(name, serialization) {
  const cancelled = { error: true, message: 'promise cancelled', name: 'CancellationError' };
  return {
    returns: { sums: [3, 0, -4.9], echoed: ['ä', null, { a: [true] }], ends: [0] },
    proxy: { methods: ['sum', 'echo', 'fail', 'wait', 'hang'], sum: 3, ends: [0] },
    fails: {
      failed: { ...failure, name: 'Error' },
      wrong: { error: true, message: 'cannot add a string', name: 'Error' },
      missing: { error: true, message: 'Unknown method "missing"', name: 'Error' },
      after: 4, ends: [0],
    },
    many: { sum: 9900, ends: [0, 0] },
    cancels: { payload: 'waiting', cancelled, after: 4, ends: [0] },
    timesOut: {
      timedOut: { error: true, message: 'Promise timed out after 1 ms', name: 'TimeoutError' }, after: 4, ends: [0],
    },
    cancelsInVain: { cancelled, after: 4, ends: [0, 0] },
    terminates: { left: { error: true, message: 'Worker terminated' }, ends: [0] },
    ...(serialization === 'advanced' ? { values: { echoed: buffers, large: true, ends: [0] } } : {}),
  };
}

// from is the oldest Node that the package runs on.
const libraries = [
  { name: 'execa9', title: 'execa 9', from: 18, sees: execa },
  { name: 'execa10', title: 'execa 10', from: 22, sees: execa },
  { name: 'jest-worker', title: 'jest-worker 30', from: 18, sees: jestworker },
  { name: 'workerpool', title: 'workerpool 10', from: 14, sees: workerpool },
];

// under is what runs the parents of a library, or why nothing does: the Node under test, but if nobody chose one and
// the one of the PATH is too old, one that is not.
function under({ title, from }) {
  const version = execFileSync(node, ['-p', 'process.versions.node'], { encoding: 'utf8' }).trim();
  const on = { node, title: `${title}, Node ${version}` };
  if (parseInt(version, 10) >= from) return on;
  if (process.env.NODEIPC_NODE || process.platform !== 'linux' || process.arch !== 'x64') {
    return { ...on, skip: `${title} needs Node ${from} or later` };
  }
  const script = path.join(root, 'scripts', 'runtimes.sh');
  const newer = execFileSync(script, ['path', String(from)], { encoding: 'utf8' }).trim();
  return { node: newer, title: `${title}, Node ${from}, which it needs` };
}

for (const library of libraries) {
  const { title, skip, node: parent } = under(library);
  const isExeca = library.sees === execa;
  const script = path.join(__dirname, 'ecosystem', isExeca ? 'execa_parent.mjs' : `${library.sees.name}_parent.js`);

  for (const serialization of ['json', 'advanced']) {
    const args = [script, ...(isExeca ? [library.name] : []), serialization];
    const children = {
      Node: () => (isExeca ? [parent, path.join(__dirname, 'ecosystem', 'execa_child.mjs'), library.name] : []),
      Go: () => [path.join(binaries, library.sees.name)],
    };
    for (const child of ['Node', 'Go']) {
      test(`${title}, ${serialization}: a child in ${child}`, { skip }, async () => {
        const { code, stdout, stderr } = await run(parent, [...args, ...children[child]()]);
        assert.strictEqual(code, 0, stderr);
        assert.strictEqual(stderr, '');
        const saw = v8.deserialize(Buffer.from(stdout, 'base64'));
        assert.deepStrictEqual(saw, library.sees(library.name, serialization));
      });
    }
    test(`${title}, ${serialization}: a child in Go whose parent is killed`, { skip }, async () => {
      const { signal, stderr } = await run(parent, [...args, ...children.Go()], { ABANDON: '1' });
      assert.strictEqual(signal, 'SIGKILL', stderr);
      assert.strictEqual(stderr, '');
    });
  }
}
