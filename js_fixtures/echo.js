// A child that sends every message back, for Go parents.
//
//   node echo.js [--count=N] [--wrap] [--handles]
//
// --count=N    disconnects once N messages have been answered and written; without it, ends when the parent disconnects
// --wrap       answers {"echo":<message>,"handle":<class of the handle or null>} instead of the message alone
// --handles    sends a received handle back with the answer; without it, a received handle is closed
// Ran on Node 12, 14, 16, 18, 20, 22, 24 and 26, Bun 1.4 and Deno 2.9.
'use strict';

const options = new Map(process.argv.slice(2).map((arg) => {
  const [name, value] = arg.split('=');
  return [name, value];
}));
let left = options.has('--count') ? Number(options.get('--count')) : Infinity;

process.on('message', (message, handle) => {
  const answer = options.has('--wrap') ? { echo: message, handle: handle ? handle.constructor.name : null } : message;
  const back = options.has('--handles') ? handle : undefined;
  process.send(answer, back, (err) => {
    if (err) throw err;
    // A sent socket is given away, a sent server is shared: closing ours leaves it to the receiver.
    if (back && !back.destroy) back.close();
    // Not before the write: disconnect() cancels what the kernel has not taken.
    if (--left === 0) process.disconnect();
  });
  if (handle && !back) {
    if (handle.destroy) handle.destroy();
    else handle.close();
  }
});
