// Takes connections, with the program's own messages and with internal ones. Each says its number, and is answered with
// the number of the message that it came with.
//
// Ran on Node 12, 14, 16, 18, 20, 22, 24 and 26, Bun 1.4.5 and Deno 2.9.6.
'use strict';

const net = require('net');

function answer(message, socket) {
  if (message === 'plain') return;
  socket.once('data', (data) => socket.end(`${data} came with ${message.n}`));
  socket.on('error', (err) => { throw err; });
}

process.on('message', answer);
process.on('internalMessage', (message, handle) => {
  if (handle && message.n !== undefined) answer(message, new net.Socket({ handle, readable: true, writable: true }));
});
