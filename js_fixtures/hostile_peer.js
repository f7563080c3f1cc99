// A peer for programs that send what no Node would, and one that does so itself.
//
//   node hostile_peer.js                           as a child
//   node hostile_peer.js COMMAND [ARGUMENT...]     as the parent of COMMAND; exits as it does
//
// A message is answered by a text that says in few words what it is, whatever it is: "null", "true", a short string as
// JSON, a number, "string of 70", "array of 3", "object of 2", "undefined"; with a handle, which is closed, " with " and
// its class is behind it. What kills this process is told by its exit status and stderr.
//
// {do:'unsolicited'} is answered by the internal messages below, which answer nothing or mean nothing, and "done".
// {do:'die',when} makes it kill itself when the next handle comes: 'before' its acknowledgement, 'after' it, or when the
// message is 'delivered'.
// Ran on Node 12, 14, 16, 18, 20, 22, 24 and 26.
'use strict';

const { spawn } = require('child_process');

function describe(value) {
  if (value === undefined) return 'undefined';
  if (typeof value === 'number') return String(value); // JSON has no infinity
  if (typeof value === 'string' && value.length > 60) return `string of ${value.length}`;
  if (Array.isArray(value)) return `array of ${value.length}`;
  if (value !== null && typeof value === 'object') return `object of ${Object.keys(value).length}`;
  return JSON.stringify(value);
}

const unsolicited = [
  { cmd: 'NODE_HANDLE_ACK' }, { cmd: 'NODE_HANDLE_NACK' }, { cmd: 'NODE_HANDLE_ACK' }, { cmd: 'NODE_DEBUG_ENABLED' }, { cmd: 'NODE_NOVELTY', a: [{}] },
  { cmd: 'NODE_CLUSTER' }, { cmd: 'NODE_CLUSTER', act: 'disconnect', seq: 0 }, { cmd: 'NODE_CLUSTER', act: 'newconn', key: 'k', seq: 1 },
  { cmd: 'NODE_CLUSTER', ack: 0, errno: 'EINVAL', seq: 2 }, { cmd: 'NODE_CLUSTER', act: 'queryServer', index: 0, port: 0, seq: 3 },
  { cmd: 'NODE_SOCKET_COUNT', key: 'k', count: 1 }, { cmd: 'NODE_SOCKET_ALL_CLOSED', key: 'k' }, { cmd: 'NODE_SOCKET_GET_COUNT' },
  { cmd: 'NODE_SOCKET_NOTIFY_CLOSE', key: { a: 1 } }, { cmd: 'NODE_SOCKET_GET_COUNT', key: 'k' },
];

const die = () => process.kill(process.pid, 'SIGKILL');

function answer(channel, message, handle) {
  if (message && message.do === 'unsolicited') {
    for (const m of unsolicited) channel.send(m);
    channel.send('done');
    return;
  }
  if (message && message.do === 'die') {
    const handed = (m) => { if (m.cmd === 'NODE_HANDLE') die(); };
    if (message.when === 'before') channel.prependListener('internalMessage', handed);
    if (message.when === 'after') channel.on('internalMessage', handed);
    if (message.when === 'delivered') channel.on('message', (m, h) => { if (h) die(); });
  }
  channel.send(describe(message) + (handle ? ` with ${handle.constructor.name}` : ''));
  if (!handle) return;
  if (handle.on) handle.on('error', () => {}); // of a descriptor that is none of the kind
  if (handle.destroy) handle.destroy();
  else handle.close();
}

// Node leaves a handle open that came with an internal message it does not know.
function drop(message, handle) {
  if (handle && message.cmd !== 'NODE_HANDLE') handle.close();
}

if (process.argv.length > 2) {
  const child = spawn(process.argv[2], process.argv.slice(3), { stdio: ['inherit', 'inherit', 'inherit', 'ipc'] });
  child.on('message', (message, handle) => answer(child, message, handle)).on('internalMessage', drop);
  child.on('exit', (code, signal) => process.exit(signal ? 100 : code));
} else {
  process.on('message', (message, handle) => answer(process, message, handle)).on('internalMessage', drop);
}
