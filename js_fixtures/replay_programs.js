// Parents and children whose channels are recorded and played again, for cmd/nodeipc/replay_test.go.
//
//   nodeipc tap --record FILE -- node replay_programs.js SCENARIO
//   nodeipc replay FILE -- node replay_programs.js SCENARIO-child [CHANGE]
//
// A child does one thing otherwise than it did if CHANGE says so. Nothing is printed but errors,
// and by the one that is silent, that it is.
// Ran on Node 12, 14, 16, 18, 20, 22, 24 and 26.
'use strict';

const { spawn } = require('child_process');
const cluster = require('cluster');
const dgram = require('dgram');
const net = require('net');

const [scenario, change] = process.argv.slice(2);

// start starts the child of the scenario, under names that are the same on all machines.
function start(serialization) {
  return spawn('node', ['replay_programs.js', `${scenario}-child`], { stdio: [0, 1, 2, 'ipc'], serialization });
}

// ask sends questions, each after the answer to the one before, and ends with done.
function ask(child, questions, done) {
  const next = (m, handle) => {
    if (handle) handle.close();
    const question = questions.shift();
    if (question === undefined) {
      child.removeListener('message', next);
      done();
    } else {
      child.send(...question);
    }
  };
  child.on('message', next);
}

const scenarios = {
  // What examples/child answers, too.
  greeting() {
    const child = start();
    child.on('message', () => child.disconnect());
    child.send({ type: 'greeting', message: 'Hello from master!' });
  },

  'greeting-child'() {
    process.on('message', () => process.send({ type: 'response', message: 'Hi there master!' }));
  },

  // Some answers of each kind that JSON has, and an exit code. The child is the first to speak.
  talk() {
    const child = start();
    const strange = { text: 'grüße \ud83d\ude00 \ud800 <b>', n: [1, -0.5, 1e21, null, true] };
    ask(child, [['items'], [strange], ['exit']], () => {});
  },

  'talk-child'() {
    process.send({ hello: process.pid });
    process.on('message', (m) => {
      if (m === 'exit') {
        process.exit(change === 'exit' ? 4 : 3);
      } else if (m === 'items') {
        const items = [1, 2, 3].map((id) => ({ id, name: `name ${id}`, at: Date.now() }));
        if (change === 'value') items[2].name = 'another';
        if (change === 'early') process.exit(5);
        if (change === 'disconnect') {
          setInterval(() => {}, 1e6);
          process.disconnect();
          return;
        }
        if (change === 'silent') {
          process.stdout.write('silent\n');
          return;
        }
        process.send({ count: 3, items });
      } else {
        process.send(m);
        if (change === 'more') process.send('once more');
      }
    });
  },

  // What only the other serialization has.
  values() {
    const child = start('advanced');
    ask(child, [['values'], [new Map([[{ a: 1n }, new Set([undefined, -0, NaN])]])]], () => child.disconnect());
  },

  'values-child'() {
    process.send('ready');
    process.on('message', (m) => {
      if (m !== 'values') {
        process.send(m);
        return;
      }
      const shared = { big: 2n ** 70n };
      const error = new TypeError('wrong');
      error.stack = `${error}\n    at ${change || 'nowhere'}`; // the real one has the place of this file
      const value = {
        shared, again: shared, date: new Date(0), buffer: Buffer.from('abc'), none: undefined, regexp: /a/g,
        holes: [1, , 3], error,
        map: new Map([['at', new Date()], ['list', [new Float64Array([1, 2])]], [1, 'one']]),
        sparse: Object.assign([], { 5000: 'far', more: 1 }), boxed: Object('s'), set: new Set(['é', 'ж']),
      };
      value.cycle = value;
      if (change === 'map') value.map.get('list')[0][1] = 3;
      process.send(value);
    });
  },

  // Handles both ways, and questions about sockets that are open.
  handles() {
    const child = start();
    child.once('message', () => {
      const udp = dgram.createSocket('udp4').bind(0, '127.0.0.1', () => {
        const server = net.createServer((socket) => {
          ask(child, [['server', server], ['udp', udp], ['give']], () => server.getConnections(() => {
            near.destroy();
            server.close(() => child.disconnect());
            udp.close();
          }));
          child.send('socket', socket);
        });
        let near;
        server.listen(0, '127.0.0.1', () => { near = net.connect(server.address().port, '127.0.0.1'); });
      });
    });
  },

  'handles-child'() {
    process.send('ready');
    process.on('message', (m, handle) => {
      const answer = { m, handle: handle && handle.constructor.name };
      if (handle && m === 'socket') {
        answer.connected = handle.remoteAddress === '127.0.0.1';
        handle.on('error', () => {});
        if (change === 'closes') handle.destroy();
        else handle.resume();
      } else if (handle) {
        answer.bound = handle.address().port > 0;
        handle.close();
      }
      if (m !== 'give' || change === 'nothing') {
        process.send(answer);
        return;
      }
      const server = net.createServer().listen(0, '127.0.0.1', () => {
        process.send(answer, server, () => server.close());
      });
    });
  },

  // A worker with a server, to which a connection comes. How depends on NODE_CLUSTER_SCHED_POLICY.
  cluster() {
    process.execPath = 'node';
    cluster.setupMaster({ exec: 'replay_programs.js', args: ['cluster-child'] });
    const worker = cluster.fork();
    worker.on('listening', ({ port }) => {
      net.connect(port, '127.0.0.1').on('data', () => worker.disconnect());
    });
  },

  'cluster-child'() {
    const server = net.createServer((socket) => {
      if (change === 'busy') process.send('busy');
      socket.end('welcome');
    });
    server.listen(0, '127.0.0.1');
  },

  // A child that ends by a signal.
  killed() {
    const child = start();
    child.once('message', () => child.kill());
  },

  'killed-child'() {
    process.on('message', () => {});
    process.send('ready');
  },
};

scenarios[scenario]();
