'use strict';

// A parent that calls the methods of a pool of processes: node workerpool_parent.js SERIALIZATION [EXECPATH].
// Ran on Node 14, 16, 18, 20, 22, 24 and 26 with workerpool 10.

const path = require('path');
const workerpool = require('workerpool');
const { report, outcome, abandon } = require('./report.js');

const [serialization, execPath = process.execPath] = process.argv.slice(2);
const advanced = serialization === 'advanced';

function start(options) {
  return workerpool.pool(path.join(__dirname, 'workerpool_child.js'), {
    workerType: 'process',
    maxWorkers: 1,
    workerTerminateTimeout: 20000, // so that a slow machine is no reason for a signal
    forkOpts: { execPath, execArgv: [], serialization },
    ...options,
  });
}

// event resolves with the first event of a call that `begin` makes with the option it is given.
function event(begin) {
  return new Promise((resolve) => begin({ on: resolve }));
}

report(process.env.ABANDON ? {
  async abandoned() {
    const pool = start();
    await event((options) => pool.exec('wait', [], options));
    abandon();
  },
} : {
  async returns() {
    const pool = start();
    const sums = [await pool.exec('sum', [1, 2]), await pool.exec('sum', []), await pool.exec('sum', [0.1, -7, 2])];
    const echoed = await pool.exec('echo', ['ä', null, { a: [true] }]);
    await pool.terminate();
    return { sums, echoed };
  },

  // The worker says which methods it has.
  async proxy() {
    const pool = start();
    const proxy = await pool.proxy();
    const methods = ['sum', 'echo', 'fail', 'wait', 'hang'].filter((name) => typeof proxy[name] === 'function');
    const sum = await proxy.sum(1, 2);
    await pool.terminate();
    return { methods, sum };
  },

  async fails() {
    const pool = start();
    const failed = await outcome(pool.exec('fail', []), 'name', 'code');
    const wrong = await outcome(pool.exec('sum', ['one']), 'name');
    const missing = await outcome(pool.exec('missing', []), 'name');
    const after = await pool.exec('sum', [2, 2]);
    await pool.terminate();
    return { failed, wrong, missing, after };
  },

  // The calls wait for the two workers.
  async many() {
    const pool = start({ minWorkers: 2, maxWorkers: 2 });
    const calls = [];
    for (let i = 0; i < 100; i++) calls.push(pool.exec('sum', [i, i]));
    const sum = (await Promise.all(calls)).reduce((a, b) => a + b);
    await pool.terminate();
    return { sum };
  },

  // A worker that can stop what it does is used again after a cancel.
  async cancels() {
    const pool = start();
    let call;
    const payload = await event((options) => { call = pool.exec('wait', [], options); });
    const cancelled = await outcome(call.cancel(), 'name');
    const after = await pool.exec('sum', [2, 2]);
    await pool.terminate();
    return { payload, cancelled, after };
  },

  async timesOut() {
    const pool = start();
    let call;
    await event((options) => { call = pool.exec('wait', [], options); });
    const timedOut = await outcome(call.timeout(1), 'name');
    const after = await pool.exec('sum', [2, 2]);
    await pool.terminate();
    return { timedOut, after };
  },

  // One that cannot is told to leave, and another is started.
  async cancelsInVain() {
    const pool = start({ workerTerminateTimeout: 2000 });
    let call;
    await event((options) => { call = pool.exec('hang', [], options); });
    const cancelled = await outcome(call.cancel(), 'name');
    const after = await pool.exec('sum', [2, 2]);
    await pool.terminate();
    return { cancelled, after };
  },

  // The end by force, while a call is unanswered.
  async terminates() {
    const pool = start();
    let call;
    await event((options) => { call = pool.exec('wait', [], options); });
    const left = outcome(call);
    await pool.terminate(true);
    return { left: await left };
  },

  ...(advanced ? {
    async values() {
      const pool = start();
      const map = new Map([['k', new Map([[1, Buffer.from('inner')]])]]);
      const values = [Buffer.from('buffer'), map, BigInt('12345678901234567890'), new Date(86400000), undefined];
      const echoed = await pool.exec('echo', values);
      const large = (await pool.exec('echo', [Buffer.alloc(1 << 20, 7)]))[0].every((byte) => byte === 7);
      await pool.terminate();
      return { echoed, large };
    },
  } : {}),
});
