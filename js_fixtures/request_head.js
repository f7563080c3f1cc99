// Serves HTTP, and answers every connection with what the parser made of its first request, as one line of JSON: {method,
// url, headers: [name, value, ...]} or {error: code}. Prints the port. For every line [port, options] of JSON on the
// standard input it connects to that port by tls.connect instead. Ends with its standard input.
// Ran on Node 12, 14, 16, 18, 20, 22, 24 and 26.
'use strict';
const http = require('http');
const readline = require('readline');
const tls = require('tls');

function say(socket, what) {
  socket.on('error', () => {});
  socket.end(JSON.stringify(what) + '\n');
}

const server = http.createServer({ requireHostHeader: false });
const seen = (req) => say(req.socket, { method: req.method, url: req.url, headers: req.rawHeaders });
for (const event of ['request', 'connect', 'upgrade', 'checkContinue', 'checkExpectation']) {
  server.on(event, seen);
}
server.on('clientError', (err, socket) => say(socket, { error: err.code }));
server.listen(0, '127.0.0.1', () => console.log(server.address().port));

readline.createInterface({ input: process.stdin }).on('line', (line) => {
  const [port, options] = JSON.parse(line);
  tls.connect(port, '127.0.0.1', options).on('error', () => {});
}).on('close', () => process.exit());
