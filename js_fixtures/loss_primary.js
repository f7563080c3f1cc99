'use strict'
// Node's own cluster with a reload as many write it: loss_primary.js NUMBER PROGRAM ARGS… Each line on standard input
// is a reload, one worker after the other, and how many milliseconds an old one has to leave. Each line on standard
// output says that all workers are there, or replaced. The end of standard input is the end. Works with Node 12.
const cluster = require('cluster')
const readline = require('readline')

const [, , number, exec, ...args] = process.argv
const setup = cluster.setupPrimary || cluster.setupMaster
setup.call(cluster, { exec, args })

const fork = () => new Promise((resolve) => {
  const worker = cluster.fork()
  worker.once('listening', () => resolve(worker))
})

async function main () {
  let workers = []
  for (let i = 0; i < number; i++) workers.push(await fork())
  console.log('ready')
  for await (const line of readline.createInterface({ input: process.stdin })) {
    for (const old of workers.splice(0)) {
      workers.push(await fork())
      const exit = new Promise((resolve) => old.once('exit', resolve))
      old.disconnect()
      const limit = setTimeout(() => old.process.kill(), Number(line)) // which nobody's reload should lack
      await exit
      clearTimeout(limit)
    }
    console.log('reloaded')
  }
  for (const w of workers) w.process.kill('SIGKILL')
  process.exit(0)
}
main()
