'use strict';

// A Go program in the place of the Node worker that cluster.fork starts: what forkGo and the preload have in common.
//
// cluster.fork has no option for another program, and puts execArgv and the script before the worker's arguments. But
// every way of starting a child ends in ChildProcess.prototype.spawn, whenever the cluster module was loaded; its
// options are what the system gets.

const { ChildProcess } = require('child_process');

const replaced = Symbol.for('nodeipc.go'); // in the options: whoever comes next leaves them alone

// onSpawn lets change(options, child) return other options for each child that is started, or nothing. It returns a
// function that ends this.
function onSpawn(change) {
  const prototype = ChildProcess.prototype;
  const original = prototype.spawn;
  const wrapper = function (options) {
    const changed = change(options, this);
    return Reflect.apply(original, this, changed ? [changed] : arguments);
  };
  prototype.spawn = Object.defineProperties(wrapper, Object.getOwnPropertyDescriptors(original));
  return () => {
    prototype.spawn = original;
  };
}

// isFork reports whether this is a worker of cluster.fork that is still to be a Node worker. A worker removes the
// variable from its own environment, so that no other child has it but what takes the place of a worker.
function isFork(options) {
  return options !== null && typeof options === 'object' && !options[replaced] && Array.isArray(options.args) &&
    variable(options, 'NODE_UNIQUE_ID') !== undefined && !require('cluster').isWorker;
}

// variable returns what a child finds in its environment. Node has it in pairs, Bun as an object.
function variable({ envPairs, env }, name) {
  if (Array.isArray(envPairs)) {
    const pair = envPairs.find((p) => String(p).startsWith(`${name}=`));
    return pair === undefined ? undefined : String(pair).slice(name.length + 1);
  }
  return env ? env[name] : undefined;
}

// asGo returns the options of a worker with the binary in the place of Node. Without args its arguments are those that
// a Node worker finds in process.argv from the third on: the cluster's settings are there by now, and their args last.
function asGo(options, binary, args) {
  const own = require('cluster').settings.args;
  const rest = Array.isArray(own) && own.length > 0 ? options.args.slice(-own.length) : [];
  return Object.assign(Object.create(Object.getPrototypeOf(options)), options, {
    file: binary, args: [binary, ...(args || rest)], [replaced]: true,
  });
}

module.exports = { onSpawn, isFork, variable, asGo };
