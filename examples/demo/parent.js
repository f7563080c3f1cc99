// The Node parent of the greeting: node parent.js COMMAND [ARGUMENT...]. Prints the answer.
'use strict';

const { spawn } = require('child_process');

const child = spawn(process.argv[2], process.argv.slice(3), { stdio: [0, 1, 2, 'ipc'] });
child.on('error', (err) => { throw err; });
child.on('message', (m) => {
  console.log(JSON.stringify(m));
  child.disconnect();
});
child.on('exit', (code, signal) => {
  if (code !== 0) throw new Error(`the child ended with ${code === null ? signal : code}`);
});
child.send({ type: 'greeting', message: 'Hello from master!' });
