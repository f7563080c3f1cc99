'use strict';

const fs = require('fs');
const path = require('path');

// forkGo adds a worker written in Go to the cluster of an otherwise unchanged Node primary. See index.d.ts.
function forkGo(cluster, pathToBinary, env) {
  // A worker's cluster has no fork(), so this comes first: it is what somebody who lands here can act on.
  if (cluster && cluster.isWorker) {
    throw new Error('forkGo: this process is a cluster worker; only the primary can fork workers');
  }
  if (!cluster || typeof cluster.fork !== 'function') {
    throw new TypeError("forkGo: the first argument must be Node's cluster module, as in forkGo(require('cluster'), './bin/worker')");
  }
  if (typeof pathToBinary !== 'string' || pathToBinary === '') {
    throw new TypeError('forkGo: the second argument must be the path of a Go binary, a non-empty string');
  }
  if (process.versions.deno) {
    throw new Error('forkGo: Deno ignores process.execPath, so that its cluster cannot start a Go worker');
  }
  const binary = path.resolve(pathToBinary);
  checkBinary(binary);

  // cluster.fork() starts process.execPath and has no option for another program. It reads the property before it
  // returns, so that no other fork can see the swap.
  const execPath = process.execPath;
  process.execPath = binary;
  try {
    return cluster.fork(env);
  } finally {
    process.execPath = execPath;
  }
}

// checkBinary throws for what cannot be started. Without it the caller would get a worker that emits 'error' later,
// with nothing but "spawn ENOENT" to go by.
function checkBinary(binary) {
  let stat;
  try {
    stat = fs.statSync(binary);
  } catch (err) {
    if (err.code === 'ENOENT') {
      throw failure(err.code, binary, `there is no Go binary at ${binary}; build it first: go build -o ${binary} <package>`);
    }
    throw failure(err.code, binary, `cannot look at ${binary}: ${err.message}`);
  }
  if (stat.isDirectory()) {
    throw failure('EACCES', binary,
      `${binary} is a directory, not a Go binary; build one into it and name that: go build -o ${path.join(binary, 'worker')} <package>`);
  }
  try {
    fs.accessSync(binary, fs.constants.X_OK);
  } catch (err) {
    throw failure(err.code, binary,
      `${binary} is not executable; is it the binary, not its source? build it first: go build -o <binary> <package>, or chmod +x it`);
  }
}

function failure(code, binary, text) {
  const err = new Error(`forkGo: ${text}`);
  err.code = code;
  err.path = binary;
  return err;
}

module.exports = { forkGo };
