'use strict'
// A server that says who it is: node policy_server.js HOST:PORT, or a path. Works with Node 12 and later.
const cluster = require('cluster')
const http = require('http')

const where = process.argv[2]
const name = `${process.env.GROUP || ''} ${cluster.worker.id}`
const server = http.createServer((req, res) => res.end(name))
server.keepAliveTimeout = 60000
if (where.startsWith('/')) server.listen(where)
else server.listen(Number(where.replace(/.*:/, '')), where.replace(/:\d+$/, ''))
