'use strict';

// The module that examples/ecosystem/jestworker is compared with: jest-worker runs it with Node.

const { createHash } = require('crypto');
const { messageParent } = require('jest-worker');

exports.sum = (...args) => {
  for (const arg of args) if (typeof arg !== 'number') throw new Error(`cannot add a ${typeof arg}`);
  return args.reduce((a, b) => a + b, 0);
};
exports.echo = (...args) => args;
exports.digest = (files) => {
  const sums = new Map();
  for (const [name, data] of files) sums.set(name, createHash('sha256').update(data).digest());
  return sums;
};
exports.fail = () => { throw Object.assign(new RangeError('it did not work'), { code: 'E_FAIL' }); };
exports.report = () => {
  messageParent('half way');
  return 'done';
};
exports.crash = () => process.exit(7);
exports.wait = () => {
  messageParent('waiting');
  return new Promise(() => setTimeout(() => {}, 60000));
};
