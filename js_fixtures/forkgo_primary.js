// A cluster primary that calls forkGo and reports what came of it, for lib/test/forkgo.test.js and the tests of package
// cluster.
//
//   node forkgo_primary.js SCENARIO BINARY
//
// Prints one JSON line. BINARY is any program; a shell script will do, as nothing here needs it to speak the protocol.
// Ran on Node 12, 14, 16, 18, 20, 22, 24 and 26 and Bun 1.4; on Deno 2.9 as far as it needs no Go worker.
'use strict';

const cluster = require('cluster');
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

function print(result) {
  process.stdout.write(JSON.stringify(result) + '\n');
}

const scenarios = {
  // What the binary was started with, as it printed it itself.
  started() {
    cluster.setupMaster({ silent: true, args: ['one', 'two words'], execArgv: ['--no-warnings'] });
    const execPath = process.execPath;
    const worker = forkGo(cluster, binary, { FORKGO_TEST: 'a b' });
    const restored = process.execPath === execPath;
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

  // What forkGo does, without its checks: does this runtime start what process.execPath says?
  swapped() {
    cluster.setupMaster({ silent: true });
    const execPath = process.execPath;
    process.execPath = binary;
    const worker = cluster.fork();
    process.execPath = execPath;
    let stdout = '';
    worker.process.stdout.setEncoding('utf8').on('data', (s) => { stdout += s; });
    worker.on('message', () => worker.process.kill('SIGKILL')); // it is this script
    worker.process.on('close', () => print({ stdout }));
  },

  // Whatever is wrong with the binary: an error now, the property restored, no worker.
  refused() {
    const execPath = process.execPath;
    const error = attempt(() => forkGo(cluster, binary));
    print({ error, restored: process.execPath === execPath, workers: Object.keys(cluster.workers).length });
  },

  // cluster.fork() itself throws.
  throwing() {
    const execPath = process.execPath;
    cluster.setupMaster({ cwd: 42 });
    const error = attempt(() => forkGo(cluster, binary));
    print({ error, restored: process.execPath === execPath });
  },

  arguments() {
    print({
      noCluster: attempt(() => forkGo(binary)),
      noPath: attempt(() => forkGo(cluster)),
      emptyPath: attempt(() => forkGo(cluster, '')),
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
