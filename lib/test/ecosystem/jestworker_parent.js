'use strict';

// A parent that calls the methods of a jest-worker: node jestworker_parent.js SERIALIZATION [EXECPATH].
// Ran on Node 18, 20, 22, 24 and 26 with jest-worker 30.

const path = require('path');
const { Worker } = require('jest-worker');
const { report, outcome, nextEnd, abandon } = require('./report.js');

const [serialization, execPath = process.execPath] = process.argv.slice(2);
const advanced = serialization === 'advanced';

function start(options) {
  return new Worker(path.join(__dirname, 'jestworker_child.js'), {
    exposedMethods: ['sum', 'echo', 'digest', 'fail', 'report', 'crash', 'wait'],
    numWorkers: 1,
    workerGracefulExitTimeout: 20000, // so that a slow machine is no reason for a signal
    forkOptions: { execPath, execArgv: [], serialization, silent: false },
    ...options,
  });
}

console.warn = () => {}; // of silent: false it says that it cannot see when V8 runs out of memory

// With a limit it asks for the memory of a child that has just ended, if it sees the exit before the end of the channel,
// and complains that it could not. Which comes first is up to the system.
const { error } = console;
console.error = (text, err) => {
  if (text === 'Unable to check memory usage' && err && err.code === 'EPIPE') return;
  error(text, err);
};

const failure = ['type', 'name'];

report(process.env.ABANDON ? {
  async abandoned() {
    const worker = start();
    await worker.sum(1, 2);
    abandon();
  },
} : {
  async returns() {
    const worker = start();
    const sums = [await worker.sum(1, 2), await worker.sum(), await worker.sum(0.1, -7, 2)];
    const echoed = await worker.echo('ä', null, { a: [true] });
    return { sums, echoed, end: await worker.end() };
  },

  async throws() {
    const worker = start();
    const failed = await outcome(worker.fail(), ...failure, 'code');
    const wrong = await outcome(worker.sum('one'), ...failure);
    const after = await worker.sum(2, 2);
    return { failed, wrong, after, end: await worker.end() };
  },

  // The calls wait for the one worker, and are done in order.
  async many() {
    const worker = start();
    const calls = [];
    for (let i = 0; i < 100; i++) calls.push(worker.sum(i, i));
    return { sum: (await Promise.all(calls)).reduce((a, b) => a + b), end: await worker.end() };
  },

  async two() {
    const worker = start({ numWorkers: 2 });
    await worker.start(); // asks each for its setup
    return { sums: await Promise.all([worker.sum(1), worker.sum(2), worker.sum(3)]), end: await worker.end() };
  },

  async reports() {
    const worker = start();
    const call = worker.report();
    const custom = new Promise((resolve) => call.UNSTABLE_onCustomMessage(resolve));
    return { custom: await custom, value: await call, end: await worker.end() };
  },

  // With a limit jest-worker asks for the memory after each call; what uses more is started anew.
  async memory() {
    const little = start({ idleMemoryLimit: 2 ** 40 });
    const sums = [await little.sum(1), await little.sum(2)];
    await little.end();
    const much = start({ idleMemoryLimit: 2 });
    const ended = nextEnd();
    sums.push(await much.sum(3));
    await ended;
    return { sums, end: await much.end() };
  },

  // The worker is started once more for the call that it did not survive, and then given up.
  async crashes() {
    const worker = start({ maxRetries: 1 });
    const crashed = await outcome(worker.crash(), 'type');
    return { crashed, end: await worker.end() };
  },

  // A worker that is busy at the end gets SIGTERM. (The promise of its call is never settled.)
  async busy() {
    const worker = start({ workerGracefulExitTimeout: 1 });
    const call = worker.wait();
    await new Promise((resolve) => call.UNSTABLE_onCustomMessage(resolve));
    return { end: await worker.end() };
  },

  ...(advanced ? {
    async values() {
      const worker = start();
      const map = new Map([['k', new Map([[1, Buffer.from('inner')]])]]);
      return {
        echoed: await worker.echo(Buffer.from('buffer'), map, 12345678901234567890n, new Date(86400000), undefined),
        digest: await worker.digest(new Map([['a', Buffer.from('abc')], ['b', Buffer.alloc(0)]])),
        empty: await worker.echo(Buffer.alloc(0), new Map()),
        large: (await worker.echo(Buffer.alloc(1 << 20, 7)))[0].every((byte) => byte === 7),
        end: await worker.end(),
      };
    },
  } : {}),
});
