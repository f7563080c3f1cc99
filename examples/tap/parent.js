// A parent that greets its child: nodeipc tap -- node parent.js
'use strict';

const { fork } = require('child_process');
const path = require('path');

const child = fork(path.join(__dirname, 'child.js'));
child.on('message', (m) => {
  console.log(`the child says: ${m.message}`);
  child.disconnect();
});
child.send({ type: 'greeting', message: 'Hello from master!' });
