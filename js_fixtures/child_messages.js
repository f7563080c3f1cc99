// A child that sends 'ready', 7, true, null and [1,2], and then does what it is told, for Go parents.
//
//   node child_messages.js [end|stay|disconnect|exit=CODE|throw]
//
// end          nothing is left to do: the process ends with 0 (the default)
// stay         stays until the parent disconnects; messages are ignored
// disconnect   disconnects, and ends
// exit=CODE    process.exit(CODE) once the last message has been written
// throw        an exception nobody catches, once the last message has been written: exit code 1
// Ran on Node 12, 14, 16, 18, 20, 22, 24 and 26, Bun 1.4 and Deno 2.9.
'use strict';

const [then, code] = (process.argv[2] || 'end').split('=');
const what = {
  end() {},
  stay() {},
  disconnect: () => process.disconnect(),
  exit: () => process.exit(Number(code)),
  throw() { throw new Error('child_messages.js was told to throw'); },
}[then];
if (!what) throw new Error(`unknown argument: ${process.argv[2]}`);
if (then === 'stay') process.on('message', () => {});

for (const message of ['ready', 7, true, null]) process.send(message);
process.send([1, 2], (err) => {
  if (err) throw err;
  what();
});
