'use strict';

// throng with two workers that are adopted by a Go worker: node throng.js. It prints its pids, a line of JSON, and ends
// with SIGTERM. Ran with throng 5.0.0 on Node 12, 14, 16, 18, 20, 22, 24 and 26.

const throng = require('throng');

throng({
  count: 2,
  worker: () => require('../../index.js').adopt(process.env.ADOPT_BINARY, { args: [] }),
});
