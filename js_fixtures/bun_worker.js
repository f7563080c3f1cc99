// A worker of a cluster of Bun that a foreign primary started: a server that says "hi" with what it was asked, and a
// socket for datagrams that sends them back.
//
// Ran on Bun 1.4.5.
'use strict';

const cluster = require('cluster');
const dgram = require('dgram');
const net = require('net');

const server = net.createServer((socket) => {
  socket.once('data', (data) => socket.end(`hi ${data}`));
});
server.listen(0, '127.0.0.1', () => {
  const udp = dgram.createSocket('udp4', (data, from) => udp.send(data, from.port, from.address));
  udp.bind(0, '127.0.0.1', () => process.send({ worker: cluster.worker.id, port: server.address().port }));
});
