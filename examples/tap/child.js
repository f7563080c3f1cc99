// The child of parent.js.
'use strict';

process.on('message', (m) => {
  if (m.type === 'greeting') process.send({ type: 'response', message: 'Hi there master!' });
});
