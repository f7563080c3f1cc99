'use strict';

// The script that managers start: its whole work is to be adopted by the Go worker. SAY makes it talk to its primary
// afterwards, in every way there is, none of which may touch the channel.

const { adopt } = require('../../index.js');

const child = adopt(process.env.ADOPT_BINARY);
if (process.env.SAY) {
  const cluster = require('cluster');
  process.send({ from: 'wrapper', text: 'höhe\n' }, (err) => {
    process.send(`told ${err}`);
  });
  process.on('message', () => process.send('the wrapper has read from the channel'));
  process.send(null);
  cluster.worker.send(child.pid);
  require('http').createServer().listen(0); // cluster would ask the primary
  process.disconnect();
  cluster.worker.disconnect();
  try {
    adopt(process.env.ADOPT_BINARY);
  } catch (err) {
    process.send(err.message);
  }
}
