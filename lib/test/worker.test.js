'use strict';

// The example worker, written in Go, in the cluster of a Node primary: js_fixtures/cluster_primary.js, run by
// NODEIPC_NODE or the Node that runs this file.

const assert = require('node:assert');
const { execFile } = require('node:child_process');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const { promisify } = require('node:util');
const { test, before, after } = require('node:test');

const run = promisify(execFile);
const node = process.env.NODEIPC_NODE || process.execPath;
const root = path.join(__dirname, '..', '..');
let dir;
let binary;

before(async () => {
  dir = fs.mkdtempSync(path.join(os.tmpdir(), 'forkgo-worker-'));
  binary = path.join(dir, process.platform === 'win32' ? 'worker.exe' : 'worker');
  await run('go', ['build', '-o', binary, './examples/worker'], { cwd: root });
}, { timeout: 300000 });

after(() => fs.rmSync(dir, { recursive: true }));

async function cluster(policy) {
  const script = path.join(root, 'js_fixtures', 'cluster_primary.js');
  const env = { ...process.env, NODE_CLUSTER_SCHED_POLICY: policy };
  try {
    return JSON.parse((await run(node, [script, binary], { env, timeout: 90000 })).stdout);
  } catch (err) {
    throw new Error(`${err.message}\n${err.stdout}`); // the primary says there what went wrong
  }
}

function check(r) {
  const exit = { code: 0, signal: null, exitedAfterDisconnect: true };
  assert.deepStrictEqual(r.exits, { node: exit, go: exit });
  for (const from of ['node', 'go']) {
    assert.deepStrictEqual(r.answers[from], r.messages.map((echo) => ({ echo, from })));
  }
}

test('a Go worker shares the port with a Node worker, round robin', async () => {
  const r = await cluster('rr');
  // One connection at a time, so that the primary alternates.
  assert.deepStrictEqual(r.served, { [`node ${r.id.node}`]: 20, [`go ${r.id.go}`]: 20 });
  check(r);
});

test('a Go worker shares the port with a Node worker, without scheduling', async () => {
  const r = await cluster('none');
  // Whoever accepts first serves: only the sum is certain.
  const { [`node ${r.id.node}`]: byNode = 0, [`go ${r.id.go}`]: byGo = 0, ...others } = r.served;
  assert.deepStrictEqual(others, {});
  assert.strictEqual(byNode + byGo, 40);
  check(r);
});
