// A child that sends every message back, the internal ones included, each followed by {fired:<the event>}, for Go
// parents.
// Ran on Node 12, 14, 16, 18, 20, 22, 24 and 26.
'use strict';

for (const fired of ['message', 'internalMessage']) {
  process.on(fired, (message) => {
    process.send(message);
    process.send({ fired });
  });
}
