'use strict';

// The preload that gives an unmodified cluster primary Go workers:
//
//   NODEIPC_GO_BINARY=./worker NODEIPC_GO_EVERY=2 node -r @nodeipc/go/preload server.js
//
// Which of the workers that cluster.fork starts are to be Go, and what they get, is in variables of the environment or
// in a JSON file, which NODEIPC_GO_CONFIG names; a variable precedes what the file says:
//
//   variable             in the file
//   NODEIPC_GO_BINARY    "binary": "./worker"       the Go program; in a file relative to the file's folder
//   NODEIPC_GO_PACKAGE   "package": "@acme/worker"  or the npm package that has it, as findBinary finds it
//   NODEIPC_GO_WHEN      "when": {"ROLE": "go"}     those whose environment has these values; as a variable, ROLE=go
//   NODEIPC_GO_EVERY     "every": 2                 of these every second: the 2nd, 4th, 6th ... fork
//   NODEIPC_GO_COUNT     "count": 2                 of these no more than two at a time; one that ends is replaced
//   NODEIPC_GO_ARGS      "args": ["-v"]             arguments, as JSON; otherwise those of the cluster's settings
//                        "env": {"NAME": "value"}   variables for Go workers only
//
// Without a condition all are Go. A configuration with a mistake in it ends the process: nobody is to get Node workers
// in the place of Go workers unawares. Node workers load this file as well; where they run in a folder of their own, -r
// needs an absolute path.
//
// Ran on Node 12, 14, 16, 18, 20, 22, 24 and 26, Bun 1.4 and, as deno run --preload, Deno 2.9.

const fs = require('fs');
const path = require('path');
const { ChildProcess } = require('child_process');
const { checkBinary, findBinary } = require('./binary');
const { asGo, isFork, onSpawn, variable } = require('./instead');

const mark = Symbol.for('nodeipc.go.preload'); // a second copy of this file does nothing
if (!ChildProcess.prototype[mark]) {
  Object.defineProperty(ChildProcess.prototype, mark, { value: true });
  start(Object.assign({}, process.env), process.cwd());
}

function start(environment, cwd) {
  let config;
  const load = () => {
    config = read(environment, cwd);
    config.binary = config.binary || findBinary(config.package);
  };
  // Workers load this as well, as they get the same execArgv, but start nobody, and perhaps run in another folder. A
  // primary may be told from them only by loading cluster, which would be too early for a program that sets
  // NODE_CLUSTER_SCHED_POLICY. A primary with a channel of its own learns of mistakes from its first fork.
  if (!process.channel) {
    load();
    checkBinary('@nodeipc/go/preload', config.binary);
  }

  let forks = 0;
  let workers = [];
  onSpawn((options, child) => {
    if (!isFork(options)) {
      return null;
    }
    if (!config) {
      load();
    }
    if (!Object.keys(config.when).every((name) => variable(options, name) === config.when[name])) {
      return null;
    }
    forks++;
    workers = workers.filter(isAlive);
    if (forks % config.every !== 0 || workers.length >= config.count) {
      return null;
    }
    workers.push(child);
    return withEnv(asGo(options, config.binary, config.args), config.env);
  });
}

// isAlive is false also for a child that could not be started; that one has no 'exit' and may have no 'error'.
function isAlive(child) {
  return child.pid !== undefined && child.exitCode === null && child.signalCode === null;
}

// withEnv adds variables to those of a child.
function withEnv(options, env) {
  const names = Object.keys(env);
  if (Array.isArray(options.envPairs)) {
    const others = options.envPairs.filter((pair) => !names.some((name) => String(pair).startsWith(`${name}=`)));
    options.envPairs = [...others, ...names.map((name) => `${name}=${env[name]}`)];
  } else {
    options.env = Object.assign({}, options.env, env);
  }
  return options;
}

// read returns the configuration, all of it set, or throws.
function read(environment, cwd) {
  const given = {};
  const file = environment.NODEIPC_GO_CONFIG;
  if (file) {
    Object.assign(given, readFile(path.resolve(cwd, file)));
  }
  const take = (key, convert) => {
    const name = `NODEIPC_GO_${key.toUpperCase()}`;
    if (environment[name]) {
      given[key] = convert(environment[name], name);
    }
  };
  if (environment.NODEIPC_GO_BINARY && environment.NODEIPC_GO_PACKAGE) {
    fail('NODEIPC_GO_BINARY and NODEIPC_GO_PACKAGE are both set');
  } else if (environment.NODEIPC_GO_BINARY) {
    delete given.package;
  } else if (environment.NODEIPC_GO_PACKAGE) {
    delete given.binary;
  }
  take('binary', (text) => path.resolve(cwd, text));
  take('package', (text) => text);
  take('every', Number);
  take('count', Number);
  take('args', parse);
  take('when', (text, name) => {
    const at = text.indexOf('=');
    return at > 0 ? { [text.slice(0, at)]: text.slice(at + 1) } : fail(`${name} is not NAME=VALUE: ${text}`);
  });
  return check(given);
}

function readFile(file) {
  let text;
  try {
    text = fs.readFileSync(file, 'utf8');
  } catch (err) {
    fail(`NODEIPC_GO_CONFIG: ${err.message}`);
  }
  const config = parse(text, file);
  if (!isRecord(config)) {
    fail(`${file} is not a JSON object`);
  }
  const keys = ['binary', 'package', 'when', 'every', 'count', 'args', 'env'];
  const unknown = Object.keys(config).find((key) => !keys.includes(key));
  if (unknown !== undefined) {
    fail(`${file} has an unknown key: ${unknown}; there are ${keys.join(', ')}`);
  }
  if (typeof config.binary === 'string') {
    config.binary = path.resolve(path.dirname(file), config.binary);
  }
  return config;
}

function check({ binary, package: name, when = {}, every = 1, count = Infinity, args, env = {} }) {
  const isText = (value) => typeof value === 'string' && value !== '' && !value.includes('\0');
  const isTexts = (value) => isRecord(value) && Object.keys(value).every((key) => typeof value[key] === 'string');
  const must = (right, what) => right || fail(what);
  must((binary === undefined) !== (name === undefined), 'set either NODEIPC_GO_BINARY, the path of a Go program, or ' +
    'NODEIPC_GO_PACKAGE, or have one of them in the file that NODEIPC_GO_CONFIG names');
  must(binary === undefined || isText(binary), 'binary must be a path');
  must(name === undefined || isText(name), 'package must be the name of an npm package');
  must(isTexts(when), 'when must be an object of strings');
  must(Number.isInteger(every) && every > 0, 'every, or NODEIPC_GO_EVERY, must be an integer from 1 on');
  must(count === Infinity || (Number.isInteger(count) && count >= 0), 'count, or NODEIPC_GO_COUNT, must be an integer from 0 on');
  must(args === undefined || (Array.isArray(args) && args.every((s) => typeof s === 'string' && !s.includes('\0'))),
    'args must be an array of strings');
  must(isTexts(env), 'env must be an object of strings');
  return { binary, package: name, when, every, count, args, env };
}

function isRecord(value) {
  return value !== null && typeof value === 'object' && !Array.isArray(value);
}

function parse(text, where) {
  try {
    return JSON.parse(text);
  } catch (err) {
    return fail(`${where}: ${err.message}`);
  }
}

function fail(text) {
  throw new Error(`@nodeipc/go/preload: ${text}`);
}
