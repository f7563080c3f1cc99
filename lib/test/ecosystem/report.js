'use strict';

// What the parents of this folder have in common. A parent does what it does with the library's own means, and prints
// what it saw as base64 of v8.serialize, with the ends of its children, in the order of their beginnings.

const { ChildProcess } = require('child_process');
const v8 = require('v8');

const ends = []; // exit codes or signals
const waiting = [];
const spawn = ChildProcess.prototype.spawn;
ChildProcess.prototype.spawn = function (...args) {
  const end = ends.push('running') - 1;
  this.once('exit', (code, signal) => {
    ends[end] = code === null ? signal : code;
    for (const resolve of waiting.splice(0)) resolve();
  });
  return spawn.apply(this, args);
};

// nextEnd resolves when the next child has ended.
function nextEnd() {
  return new Promise((resolve) => waiting.push(resolve));
}

// outcome resolves with what a promise gave, or with what is to see of the error that it was rejected with.
function outcome(promise, ...properties) {
  return promise.then((value) => ({ value }), (error) => {
    const seen = { error: error instanceof Error, message: error.message };
    for (const name of properties) seen[name] = error[name];
    return seen;
  });
}

// report runs the scenarios one after the other.
async function report(scenarios) {
  const seen = {};
  for (const [name, scenario] of Object.entries(scenarios)) {
    ends.length = 0;
    const result = await scenario();
    seen[name] = { ...result, ends: ends.slice() };
  }
  process.stdout.write(v8.serialize(seen).toString('base64'));
}

// abandon ends this process in a way that leaves it no word to its child.
function abandon() {
  process.kill(process.pid, 'SIGKILL');
}

module.exports = { report, outcome, nextEnd, abandon };
