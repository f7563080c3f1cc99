// A cluster primary that calls forkGo and reports what came of it, for lib/test/forkgo.test.js and the tests of package
// cluster.
//
//   node forkgo_primary.js SCENARIO BINARY
//
// Prints one JSON line. BINARY is any program; a shell script will do, as nothing here needs it to speak the protocol.
// Ran on Node 12, 14, 16, 18, 20, 22, 24 and 26, Bun 1.4 and Deno 2.9.
'use strict';

const cluster = require('cluster');
const { ChildProcess } = require('child_process');
const { forkGo } = require('../lib');

const scenario = process.argv[2];
const binary = process.argv[3];

function describe(err) {
  return { name: err.name, code: err.code, path: err.path, message: err.message };
}

function attempt(f) {
  try {
    f();
    return null;
  } catch (err) {
    return describe(err);
  }
}

const { spawn } = ChildProcess.prototype;

function isRestored() {
  return ChildProcess.prototype.spawn === spawn;
}

function print(result) {
  process.stdout.write(JSON.stringify(result) + '\n');
}

const scenarios = {
  // What the binary was started with, as it printed it itself.
  started() {
    cluster.setupMaster({ silent: true, args: ['one', 'two words'], execArgv: ['--no-warnings'] });
    const worker = forkGo(cluster, binary, { FORKGO_TEST: 'a b' });
    const restored = isRestored();
    let stdout = '';
    worker.process.stdout.setEncoding('utf8').on('data', (s) => { stdout += s; });
    worker.process.on('close', (code, signal) => {
      print({
        restored, stdout, code, signal, script: process.argv[1], id: worker.id,
        isWorker: worker instanceof cluster.Worker, spawnfile: worker.process.spawnfile,
      });
    });
  },

  // Node workers forked right before and right after, in the same turn.
  mixed() {
    cluster.setupMaster({ silent: true }); // what the stand-in prints is not for our stdout
    const execPaths = [];
    const ask = () => cluster.fork().on('message', function (m) {
      execPaths.push(m.execPath);
      this.disconnect();
    });
    ask();
    const go = forkGo(cluster, binary);
    ask();
    let exits = 0;
    cluster.on('exit', () => {
      if (++exits === 3) {
        print({ execPath: process.execPath, execPaths, spawnfile: go.process.spawnfile });
      }
    });
  },

  // Options of one worker precede the settings of the cluster, also when they are empty.
  options() {
    cluster.setupMaster({ silent: true, args: ['settings'], execArgv: ['--no-warnings'] });
    const own = { args: ['one', '', '--three'], env: { FORKGO_TEST: 'a b' } };
    const given = [own, { args: [] }, { env: { FORKGO_TEST: 'only' } }, {}, { args: 'a variable' }];
    const workers = given.map((options) => forkGo(cluster, binary, options));
    const stdout = workers.map(() => '');
    let closed = 0;
    workers.forEach((worker, i) => {
      worker.process.stdout.setEncoding('utf8').on('data', (s) => { stdout[i] += s; });
      worker.process.on('close', () => {
        if (++closed === workers.length) {
          print({ stdout, spawnargs: workers[3].process.spawnargs });
        }
      });
    });
  },

  // Whatever is wrong with the binary: an error now, nothing changed, no worker.
  refused() {
    const error = attempt(() => forkGo(cluster, binary));
    print({ error, restored: isRestored(), workers: Object.keys(cluster.workers).length });
  },

  // cluster.fork() itself throws.
  throwing() {
    cluster.setupMaster({ cwd: 42 });
    const error = attempt(() => forkGo(cluster, binary));
    print({ error, restored: isRestored() });
  },

  arguments() {
    print({
      noCluster: attempt(() => forkGo(binary)),
      noPath: attempt(() => forkGo(cluster)),
      emptyPath: attempt(() => forkGo(cluster, '')),
      mixed: attempt(() => forkGo(cluster, binary, { args: ['one'], PORT: 8000 })),
      wrongArgs: attempt(() => forkGo(cluster, binary, { args: 'one', env: {} })),
      nullByte: attempt(() => forkGo(cluster, binary, { args: ['a\0b'] })),
      wrongEnv: attempt(() => forkGo(cluster, binary, { args: [], env: 'PORT=8000' })),
      workers: Object.keys(cluster.workers).length,
    });
  },

  // forkGo called in a worker.
  worker() {
    cluster.fork().on('message', function (m) {
      print({ error: m.error });
      this.disconnect();
    });
  },
};

if (cluster.isMaster) {
  scenarios[scenario]();
} else {
  process.send({ execPath: process.execPath, error: attempt(() => forkGo(cluster, binary)) });
}
