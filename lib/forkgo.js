'use strict';

// forkGo adds a worker written in Go to the cluster of an otherwise unchanged Node primary. See index.d.ts.

const path = require('path');
const { checkBinary } = require('./binary');
const { asGo, isFork, onSpawn } = require('./instead');

function forkGo(cluster, pathToBinary, envOrOptions) {
  // A worker's cluster has no fork(), so this comes first: it is what somebody who lands here can act on.
  if (cluster && cluster.isWorker) {
    throw new Error('forkGo: this process is a cluster worker; only the primary can fork workers');
  }
  if (!cluster || typeof cluster.fork !== 'function') {
    throw new TypeError("forkGo: the first argument must be Node's cluster module, " +
      "as in forkGo(require('cluster'), './bin/worker')");
  }
  if (typeof pathToBinary !== 'string' || pathToBinary === '') {
    throw new TypeError('forkGo: the second argument must be the path of a Go binary, a non-empty string');
  }
  const { args, env } = optionsOf(envOrOptions);
  const binary = path.resolve(pathToBinary);
  checkBinary('forkGo', binary);

  // It starts the worker before it returns, so that no other fork can see this.
  const end = onSpawn((options) => isFork(options) && asGo(options, binary, args));
  try {
    return cluster.fork(env);
  } finally {
    end();
  }
}

// optionsOf tells options from an environment, whose values are never arrays or objects.
function optionsOf(given) {
  const isObject = (value) => value !== null && typeof value === 'object';
  if (!isObject(given) || !(Array.isArray(given.args) || isObject(given.env))) {
    return { env: given };
  }
  const { args, env, ...others } = given;
  if (Object.keys(others).length > 0) {
    throw new TypeError(`forkGo: ${Object.keys(others)[0]} is not an option; variables belong into env`);
  }
  if (args !== undefined && !(Array.isArray(args) && args.every((s) => typeof s === 'string' && !s.includes('\0')))) {
    throw new TypeError('forkGo: args must be an array of strings without null bytes');
  }
  if (env !== undefined && !isObject(env)) {
    throw new TypeError('forkGo: env must be an object');
  }
  return { args, env };
}

module.exports = { forkGo };
