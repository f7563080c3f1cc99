// A child that tells what it makes of each message, in few words, whatever the message is: for parents that send what no
// Node would.
//
//   node hostile_child.js
//
// A message is answered by a text: "null", "true", a short number or string as JSON, "string of 70", "array of 3",
// "object of 2", "undefined"; with a handle, which is closed, " with " and its class is behind it. What the process is
// killed by is told by its exit status and stderr.
// Ran on Node 12, 14, 16, 18, 20, 22, 24 and 26.
'use strict';

function describe(value) {
  if (value === undefined) return 'undefined';
  if (typeof value === 'number') return String(value); // JSON has no infinity
  if (typeof value === 'string' && value.length > 60) return `string of ${value.length}`;
  if (Array.isArray(value)) return `array of ${value.length}`;
  if (value !== null && typeof value === 'object') return `object of ${Object.keys(value).length}`;
  return JSON.stringify(value);
}

process.on('message', (message, handle) => {
  process.send(describe(message) + (handle ? ` with ${handle.constructor.name}` : ''));
  if (!handle) return;
  if (handle.on) handle.on('error', () => {}); // of a descriptor that is none of the kind
  if (handle.destroy) handle.destroy();
  else handle.close();
});
