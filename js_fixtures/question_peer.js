'use strict';
// Answers questions on stdin, for scripts that know something of this Node. Ran on Node 12 to 26.
//
// A question is one byte, its kind, a length (uint32, big endian) and that many bytes; an answer a length and bytes.
// Pairs of a question and its length may come together; answers keep their order.

// answer makes text of a kind, a string of one character, and a Buffer of its own.
exports.serve = (answer) => {
  let pending = Buffer.alloc(0);
  process.stdin.on('data', (chunk) => {
    pending = Buffer.concat([pending, chunk]);
    const answers = [];
    while (pending.length >= 5) {
      const end = 5 + pending.readUInt32BE(1);
      if (pending.length < end) break;
      // A copy: views of what is read are parts of it, and must find themselves at even offsets as in a channel.
      const text = Buffer.from(answer(String.fromCharCode(pending[0]), Buffer.from(pending.slice(5, end))));
      const length = Buffer.alloc(4);
      length.writeUInt32BE(text.length, 0);
      answers.push(length, text);
      pending = pending.slice(end);
    }
    if (answers.length > 0) process.stdout.write(Buffer.concat(answers));
  });
};
