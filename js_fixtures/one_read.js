// A child that makes requests of which the last cannot be answered before the child has the answers to the others, for
// Go parents.
//
//   node one_read.js N
//
// writes N messages, the numbers from 1, by one write, so that they come in one read, and prints each message that it
// gets as a line.
// Ran on Node 12, 14, 16, 18, 20, 22, 24 and 26.
'use strict';

const fs = require('fs');

process.on('message', (message) => process.stdout.write(JSON.stringify(message) + '\n'));
let all = '';
for (let i = 1; i <= Number(process.argv[2]); i++) all += `${i}\n`;
fs.writeSync(3, all); // the channel; Node itself would use a write for each
