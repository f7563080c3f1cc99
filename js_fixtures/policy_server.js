'use strict'
// A server that says who it is: node policy_server.js HOST:PORT. Works with Node 12 and later.
const cluster = require('cluster')
const http = require('http')

const [host, port] = process.argv[2].split(':')
const name = `${process.env.GROUP || ''} ${cluster.worker.id}`
const server = http.createServer((req, res) => res.end(name))
server.keepAliveTimeout = 60000
server.listen(Number(port), host)
