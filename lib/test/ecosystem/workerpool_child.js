'use strict';

// The script that examples/ecosystem/workerpool is compared with: workerpool runs it with Node.

const workerpool = require('workerpool');

function sum(...params) {
  for (const param of params) if (typeof param !== 'number') throw new Error(`cannot add a ${typeof param}`);
  return params.reduce((a, b) => a + b, 0);
}

function wait() {
  return new Promise((resolve, reject) => {
    wait.worker.addAbortListener(async () => reject(new Error('cancelled')));
    workerpool.workerEmit('waiting');
  });
}

function hang() {
  workerpool.workerEmit('waiting');
  return new Promise(() => {});
}

workerpool.worker({
  sum,
  echo: (...params) => params,
  fail: () => { throw Object.assign(new RangeError('it did not work'), { code: 'E_FAIL' }); },
  wait,
  hang,
});
