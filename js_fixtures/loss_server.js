'use strict'
// A server for the tests of what is lost in a reload: loss_server.js plain|orderly, on PORT of 127.0.0.1. It says its
// pid. plain is a server as it is usually written; orderly loses no request. Works with Node 12 and later.
const cluster = require('cluster')
const http = require('http')

let leaving = () => false
const server = http.createServer((req, res) => {
  if (leaving()) res.setHeader('Connection', 'close')
  res.end(String(process.pid))
})
server.listen(Number(process.env.PORT), '127.0.0.1')

if (process.argv[2] === 'orderly') {
  // What docs/run.md says of clients that keep connections.
  let told = false
  leaving = () => told || cluster.worker.exitedAfterDisconnect === true
  server.closeIdleConnections = () => {}
  process.on('SIGINT', () => { // PM2's way of asking
    told = true
    server.close(() => process.exit(0))
  })
}
