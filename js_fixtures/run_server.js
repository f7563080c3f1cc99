'use strict'
// A server for nodeipc run: run_server.js [name], on PORT, the descriptor LISTEN_FD or the path SOCK, when there is a
// file AWAIT if that is set. It says who it is, and does what the path says. Works with Node 12 and later.
const cluster = require('cluster')
const http = require('http')

const name = process.argv[2] || process.pid
const server = http.createServer((req, res) => {
  const [, act, arg] = req.url.split('/')
  switch (act) {
    case 'print':
      console.log(arg)
      break
    case 'slow': // ends when the worker has been asked to leave
      res.write('begun ')
      setInterval(function look () {
        if (!cluster.worker.exitedAfterDisconnect) return
        clearInterval(this)
        res.end(`ended ${name}`)
      }, 10)
      return
    case 'stuck': // never ends
      if (arg === 'firmly') process.on('SIGTERM', () => {})
      res.write('begun ')
      return
    case 'leave': // alone: what it has goes on
      res.end(() => {
        cluster.worker.exitedAfterDisconnect = true
        process.disconnect()
      })
      return
    case 'exit':
      res.end(() => process.exit(Number(arg)))
      return
    case 'orphans': // processes that end after their parents
      res.write('begun ')
      require('child_process').spawn('sh', ['-c', `i=0; while [ $i -lt ${arg} ]; do ( (exit 3) & ); i=$((i+1)); done`], {
        stdio: 'ignore', detached: true
      })
      return
  }
  res.end(String(name))
})

function listen () {
  const { AWAIT, LISTEN_FD, SOCK, PORT } = process.env
  if (AWAIT && !require('fs').existsSync(AWAIT)) setTimeout(listen, 10).unref()
  else if (LISTEN_FD) server.listen({ fd: Number(LISTEN_FD) })
  else if (SOCK) server.listen(SOCK)
  else server.listen(Number(PORT || 0), '127.0.0.1')
}
listen()
