// A child that tells what the handles it gets are in its eyes, and uses each once, for Go parents.
//
//   node probe_handles.js
//
// {n,as:'socket'} with a connection, {n,as:'server'} with a listener: answers {n,is:<class of the handle>}; writes
// "socket <n>\n" to the connection and ends it, or serves one connection with "server <n>\n" and closes the listener.
// A raw handle (TCP, Pipe) is used the way cluster does. Anything else is answered by {n,is:null}.
// Ran on Node 12, 14, 16, 18, 20, 22, 24 and 26, Bun 1.4 and Deno 2.9.
'use strict';

const net = require('net');

process.on('message', (message, handle) => {
  const { n, as } = message;
  if (!handle) {
    process.send({ n, is: null });
    return;
  }
  const is = handle.constructor.name;
  const native = !(handle instanceof net.Socket || handle instanceof net.Server);
  if (as === 'socket') {
    const socket = native ? new net.Socket({ handle, readable: true, writable: true }) : handle;
    socket.end(`socket ${n}\n`);
    process.send({ n, is });
    return;
  }
  const server = native ? net.createServer() : handle;
  server.on('connection', (socket) => {
    socket.end(`server ${n}\n`);
    server.close();
  });
  if (native) server.listen(handle, () => process.send({ n, is }));
  else process.send({ n, is });
});
