'use strict';

// What the scripts of this folder ask of the Go workers: one request on a connection of its own, some in a row, and a
// load that goes on until it is told to end.

const http = require('http');

// get resolves to [pid, ppid] of the process that answered.
function get(port, path) {
  return new Promise((resolve, reject) => {
    http.get({ port, host: '127.0.0.1', path: path || '/', agent: false }, (res) => {
      let text = '';
      res.setEncoding('utf8');
      res.on('data', (chunk) => { text += chunk; });
      res.on('aborted', () => reject(new Error('aborted')));
      res.on('end', () => resolve(text.split(' ').map(Number)));
    }).on('error', reject);
  });
}

// row makes n requests one after the other and resolves to the pids that answered.
async function row(port, n) {
  const pids = [];
  for (let i = 0; i < n; i++) {
    pids.push((await get(port))[0]);
  }
  return pids;
}

// all resolves to n different pids that answer, when there are so many.
async function all(port, n) {
  const pids = new Set();
  while (pids.size < n) {
    try {
      pids.add((await get(port))[0]);
    } catch (err) {
      // Nobody listens yet.
    }
    await new Promise((resolve) => setTimeout(resolve, 10)); // leaves those that start some time
  }
  return [...pids];
}

// load requests four at a time. Its end resolves to the number of requests, their errors and the pids that answered.
function load(port) {
  const result = { requests: 0, errors: [], pids: [] };
  let on = true;
  const loops = [1, 2, 3, 4].map(async () => {
    while (on) {
      result.requests++;
      try {
        const [pid] = await get(port);
        if (!result.pids.includes(pid)) {
          result.pids.push(pid);
        }
      } catch (err) {
        result.errors.push(String(err));
      }
    }
  });
  return {
    result,
    end: () => {
      on = false;
      return Promise.all(loops).then(() => result);
    },
  };
}

// gone resolves when there is no process pid any more.
async function gone(pid) {
  for (;;) {
    try {
      process.kill(pid, 0);
    } catch (err) {
      return;
    }
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

function freePort() {
  return new Promise((resolve) => {
    const server = http.createServer().listen(0, '127.0.0.1', () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
}

module.exports = { get, row, all, load, gone, freePort };
