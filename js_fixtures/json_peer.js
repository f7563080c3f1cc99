'use strict';
// Answers questions about JSON as this Node sees it. Ran on Node 12 to 26.
//
// The questions, by their kind (question_peer.js):
//   v  the bytes are a JavaScript expression: what JSON.stringify makes of its value
//   s  the bytes are a line as it comes from a channel: what JSON.stringify makes of what JSON.parse makes of it,
//      or !error
//   c  the same, answered with E (JSON.parse throws), U (a user's message), or I and the cmd of an internal message
const { StringDecoder } = require('string_decoder');

function decode(line) {
  const decoder = new StringDecoder('utf8');
  return decoder.write(line) + decoder.end();
}

// lib/internal/child_process.js, isInternal.
function isInternal(message) {
  return message !== null && typeof message === 'object' && typeof message.cmd === 'string' &&
    message.cmd.length > 5 && message.cmd.slice(0, 5) === 'NODE_';
}

function answer(kind, bytes) {
  if (kind === 'v') return JSON.stringify((0, eval)('(' + bytes.toString() + ')'));
  let value;
  try {
    value = JSON.parse(decode(bytes));
  } catch (err) {
    return kind === 'c' ? 'E' : '!error';
  }
  if (kind === 's') return JSON.stringify(value);
  return isInternal(value) ? 'I' + value.cmd : 'U';
}

require('./question_peer').serve(answer);
