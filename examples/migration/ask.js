// Makes requests, with a connection for each, and says who answered:
//
//   node ask.js NUMBER PATH ['Header: value']
//
// Number 0 is a hundred in a second, until a SIGTERM or SIGINT comes.
const http = require('http')

const [number, path, header = ''] = process.argv.slice(2)
const headers = header ? { [header.split(': ')[0]]: header.split(': ')[1] } : {}
const by = {}
const pause = number === '0' ? 10 : 0
let left = Number(number) || Infinity
let failed = 0

function ask () {
  if (left-- <= 0) return report()
  const req = http.get({ host: '127.0.0.1', port: process.env.PORT, path, headers, agent: false }, (res) => {
    res.resume().on('error', () => {}).on('close', () => {
      if (res.complete && res.statusCode < 400) count(res.headers['x-powered-by'])
      else fail(res.statusCode)
    })
  })
  req.on('error', (err) => { if (!req.res) fail(err.message) })
}

function count (who) {
  by[who] = (by[who] || 0) + 1
  setTimeout(ask, pause)
}

function fail (why) {
  failed++
  console.log(why)
  setTimeout(ask, pause)
}

function report () {
  for (const who of Object.keys(by).sort()) console.log(`${by[who]} by ${who}`)
  console.log(`failed requests: ${failed}`)
}

for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => { left = 0 })
ask()
