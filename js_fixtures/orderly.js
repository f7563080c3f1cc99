'use strict'
// A cluster for the tests of lib/orderly.js: orderly.js http|https [own]. Its primary says what happens in lines of
// JSON, and asks its worker to leave when something comes on standard input. Works with Node 12 and later.
const cluster = require('cluster')
const http = require('http')

if (cluster.isMaster) primary()
else serve(process.argv[2], process.argv[3] === 'own')

function primary () {
  const say = (o) => console.log(JSON.stringify(o))
  const worker = cluster.fork()
  worker.on('listening', ({ port }) => say({ port }))
  worker.on('message', say)
  worker.on('exit', (code, signal) => {
    say({ code, signal, meant: worker.exitedAfterDisconnect, execArgv: process.execArgv })
    process.exit()
  })
  process.stdin.once('data', () => worker.disconnect())
}

function serve (kind, own) {
  const waiting = []
  const handle = (req, res) => {
    // As packages do that want to see the headers of answers.
    const { writeHead } = res
    res.writeHead = function () { return writeHead.apply(this, arguments) }
    switch (req.url) {
      case '/state':
        res.end(JSON.stringify({
          execArgv: process.execArgv,
          touched: Object.prototype.hasOwnProperty.call(http.ServerResponse.prototype, '_storeHeader')
        }))
        return
      case '/begun': // is answered with the next '/finish'
        res.write('begun ')
        // falls through
      case '/work':
        waiting.push(() => res.end('worked'))
        process.send({ works: req.url })
        return
      case '/finish':
        waiting.forEach((f) => f())
        break
      case '/explicit':
        res.setHeader('connection', 'Keep-Alive')
        break
      case '/explicit/head':
        res.writeHead(200, { Connection: 'keep-alive', 'Content-Length': 6 })
        break
      case '/removed':
        res.removeHeader('Connection')
    }
    res.end('answer')
  }
  const server = kind === 'http'
    ? http.createServer(handle)
    : require('https').createServer(require('./localhost'), handle)
  server.keepAliveTimeout = 60000
  server.on('upgrade', (req, socket) => {
    socket.write('HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\nConnection: Upgrade\r\n\r\n')
    socket.pipe(socket)
  })
  if (own) server.closeIdleConnections = () => process.send({ own })
  server.listen(0, '127.0.0.1')
  const look = setInterval(() => {
    if (!cluster.worker.exitedAfterDisconnect) return
    clearInterval(look)
    if (process.connected) process.send({ leaves: true })
  }, 5)
  look.unref()
}
