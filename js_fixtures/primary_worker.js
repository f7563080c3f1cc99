'use strict'
// A worker of any primary: node primary_worker.js PORT. It says its number to whoever connects. Works with Node 12 and
// later, Bun and Deno; without http, because Bun's servers do not ask their primary.
const cluster = require('cluster')
const net = require('net')

net.createServer((socket) => socket.end(`worker ${cluster.worker.id}`)).listen(Number(process.argv[2]), '127.0.0.1')
