'use strict';
// Answers questions about JSON as this Node sees it. Ran on Node 12 to 26.
//
// A question is one byte, a length (uint32, big endian) and that many bytes; an answer a length and bytes. Questions:
//   v  the bytes are a JavaScript expression: what JSON.stringify makes of its value
//   s  the bytes are a line as it comes from a channel: what JSON.stringify makes of what JSON.parse makes of it,
//      or !error
//   c  the same, answered with E (JSON.parse throws), U (a user's message), or I and the cmd of an internal message
// Pairs of a question and its length may come together; answers keep their order.
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

let pending = Buffer.alloc(0);
process.stdin.on('data', (chunk) => {
  pending = Buffer.concat([pending, chunk]);
  const answers = [];
  while (pending.length >= 5) {
    const end = 5 + pending.readUInt32BE(1);
    if (pending.length < end) break;
    const text = Buffer.from(answer(String.fromCharCode(pending[0]), pending.slice(5, end)));
    const length = Buffer.alloc(4);
    length.writeUInt32BE(text.length, 0);
    answers.push(length, text);
    pending = pending.slice(end);
  }
  if (answers.length > 0) process.stdout.write(Buffer.concat(answers));
});
