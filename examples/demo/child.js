// The Node child of the greeting.
'use strict';

process.on('message', (m) => {
  if (m.type === 'greeting') process.send({ type: 'response', message: 'Hi there master!' });
});
