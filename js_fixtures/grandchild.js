// What a grandchild sees: the environment variables of a channel and the open descriptors (Linux), as one JSON line.
// Started by a child that must not pass its channel on; see the scenario "grandchild" of parent.js.
// Ran on Node 12, 14, 16, 18, 20, 22, 24 and 26, Bun 1.4 and Deno 2.9.
'use strict';

const fs = require('fs');

const env = {};
for (const name of ['NODE_CHANNEL_FD', 'NODE_CHANNEL_SERIALIZATION_MODE', 'NODE_UNIQUE_ID']) {
  if (name in process.env) env[name] = process.env[name];
}
const descriptors = {};
if (process.platform === 'linux') {
  for (const fd of fs.readdirSync('/proc/self/fd')) {
    try {
      descriptors[fd] = fs.readlinkSync(`/proc/self/fd/${fd}`);
    } catch (err) {
      // The folder's own descriptor, closed by now.
    }
  }
}
process.stdout.write(JSON.stringify({ env, descriptors, connected: Boolean(process.send) }) + '\n');
