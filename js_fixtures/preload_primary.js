// A cluster primary that knows nothing of Go, for lib/test/preload.test.js.
//
//   node -r ../lib/preload.js preload_primary.js SCENARIO [ARGUMENT]...
//
// Prints one JSON line: which workers were Node and which were the program of the preload, and what that one printed.
// Ran on Node 12, 14, 16, 18, 20, 22, 24 and 26.
'use strict';

process.env.NODE_CLUSTER_SCHED_POLICY = 'none'; // loading cluster before this line would change what it does
const cluster = require('cluster');
const { fork } = require('child_process');

// run forks a worker and waits for its end; the result is what it printed, a Node worker "node" and its arguments.
function run(env) {
  const worker = cluster.fork(env);
  let stdout = '';
  worker.process.stdout.setEncoding('utf8').on('data', (s) => { stdout += s; });
  worker.ended = new Promise((resolve) => {
    worker.on('error', (err) => resolve(err.code));
    worker.process.on('close', () => resolve(stdout.trimEnd().split('\n')));
  });
  return worker;
}

const kinds = async (workers) => (await Promise.all(workers.map((worker) => worker.ended))).map((lines) => lines[0]);

const scenarios = {
  // Six at once, of which those with an odd id have a role.
  async six() {
    const workers = [1, 2, 3, 4, 5, 6].map((i) => run({ ROLE: i % 2 ? 'odd' : 'even' }));
    return { kinds: await kinds(workers), policy: cluster.schedulingPolicy };
  },

  async one() {
    const worker = run({ OWN: 'own' });
    const { spawnargs } = worker.process;
    return { lines: await worker.ended, spawnargs, isWorker: worker instanceof cluster.Worker };
  },

  // One after the other, each forked when the one before has ended: never more than one is alive.
  async replaced() {
    const lines = [];
    for (let i = 0; i < 3; i++) lines.push((await run().ended)[0]);
    return { kinds: lines };
  },

  // A child that is no worker, and one of a worker.
  async children() {
    const child = fork(__filename, ['child'], { stdio: ['ignore', 'pipe', 2, 'ipc'] });
    const lines = await new Promise((resolve) => {
      let stdout = '';
      child.stdout.on('data', (s) => { stdout += s; });
      child.on('close', () => resolve(stdout.trimEnd().split('\n')));
    });
    return { lines };
  },

  // forkGo beside the preload: the program of each is its own.
  async forkgo(binary) {
    const { forkGo } = require('../lib');
    const worker = forkGo(cluster, binary, { args: ['of forkGo'] });
    let stdout = '';
    worker.process.stdout.setEncoding('utf8').on('data', (s) => { stdout += s; });
    await new Promise((resolve) => worker.process.on('close', resolve));
    return { lines: stdout.trimEnd().split('\n'), kinds: await kinds([run()]) };
  },

  // The workers run in another folder.
  async elsewhere() {
    cluster.setupMaster({ cwd: '/' });
    return { kinds: await kinds([run(), run()]) };
  },

  // What a mistake does in a primary with a channel, which may be a worker as far as the preload knows.
  async mistaken() {
    const errors = [0, 1].map(() => {
      try {
        return run();
      } catch (err) {
        return err.message;
      }
    });
    return { errors, workers: Object.keys(cluster.workers).length };
  },

  // The program is gone when it is needed.
  async gone(binary) {
    require('fs').unlinkSync(binary);
    return { ends: await Promise.all([run().ended, run().ended]), last: await run().ended };
  },
};

if (cluster.isMaster && process.argv[2] !== 'child') {
  cluster.setupMaster({ silent: true });
  scenarios[process.argv[2]](process.argv[3]).then((result) => {
    process.stdout.write(`${JSON.stringify(result)}\n`);
    if (process.connected) process.disconnect();
  });
} else {
  process.stdout.write(`node\n${process.argv.slice(2).join('\n')}\n`);
  process.disconnect();
}
