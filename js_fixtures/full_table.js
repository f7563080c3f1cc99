// Handles for, or in, a process whose table of descriptors is full.
//
//   node full_table.js parent KIND ROOM COMMAND [ARGUMENT...]     the parent of such a child
//   node full_table.js child                                      such a child
//
// The parent gives COMMAND a handle of KIND, "socket" or "server", before the child's table is full, while it is, and
// after that, and prints as JSON what came of each: what the child told, and what came out of the connection. ROOM is
// for the child: the loss after which it makes room, 0 for never.
//
// The child, in either language, answers these messages:
//   {type:'fill',room}  fills the table, once the handles are closed; makes a little room on the loss of number room, counted from 1
//   {type:'room'}       frees the table; {type:'room',lost} with the number of losses since it was filled
//   other messages      {got:<message>,handle:<whether there was one>}; writes the message and a newline to a connection
//                       and ends it, or does so once as a server
// Ran on Node 12, 14, 16, 18, 20, 22, 24 and 26.
'use strict';

const { spawn } = require('child_process');
const fs = require('fs');
const net = require('net');

const once = (emitter, event) => new Promise((resolve) => emitter.once(event, resolve));

function readAll(socket) {
  return new Promise((resolve, reject) => {
    let all = '';
    socket.setEncoding('utf8').on('data', (s) => { all += s; }).on('end', () => resolve(all)).on('error', reject);
  });
}

async function parent(kind, room, command, args) {
  const warnings = [];
  process.on('warning', (warning) => warnings.push(warning.name));
  const child = spawn(command, args, { stdio: ['inherit', 'inherit', 'inherit', 'ipc'] });
  const exit = new Promise((resolve) => child.on('exit', (code, signal) => resolve({ code, signal })));
  const arrived = [];
  let wake = () => {};
  child.on('message', (message) => { arrived.push(message); wake(); });
  const message = async () => {
    while (arrived.length === 0) await new Promise((resolve) => { wake = resolve; });
    return arrived.shift();
  };
  const ask = (m, handle) => { child.send(m, handle); return message(); };
  const done = {};
  const own = net.createServer().listen(0, '127.0.0.1');
  await once(own, 'listening');

  // What the client of a handle gets, once the handle has been dealt with.
  async function handle(name) {
    if (kind === 'server') {
      const server = net.createServer((socket) => socket.end('the parent\n')).listen(0, '127.0.0.1');
      await once(server, 'listening');
      const { port } = server.address();
      return { handle: server, result: () => { server.close(); return readAll(net.connect(port, '127.0.0.1')).catch((err) => err.code); } };
    }
    const accepted = once(own, 'connection');
    const client = net.connect(own.address().port, '127.0.0.1');
    const all = readAll(client);
    return { handle: await accepted, result: () => all };
  }

  const before = await handle();
  done.before = await ask('before', before.handle);
  done.beforeResult = await before.result();
  await ask({ type: 'fill', room });
  const during = await handle();
  child.send('during', during.handle);
  child.send('behind');
  done.during = [];
  do done.during.push(await message()); while (done.during[done.during.length - 1].got !== 'behind');
  Object.assign(done, await ask({ type: 'room' }));
  done.duringResult = await during.result();
  const after = await handle();
  done.after = await ask('after', after.handle);
  done.afterResult = await after.result();
  own.close();
  child.disconnect();
  done.exit = await exit;
  done.warnings = warnings;
  process.stdout.write(JSON.stringify(done) + '\n');
}

function child() {
  let filled = [];
  let lost = 0;
  let room = 0;
  const open = new Set();
  let allClosed = () => {};
  const use = (handle) => {
    open.add(handle);
    handle.on('close', () => {
      open.delete(handle);
      allClosed();
    });
  };
  function fill(message) {
    if (open.size > 0) return;
    allClosed = () => {};
    lost = 0;
    ({ room } = message);
    try {
      for (;;) filled.push(fs.openSync('/dev/null', 'r'));
    } catch (err) {
      if (err.code !== 'EMFILE') throw err;
    }
    process.send(message);
  }
  // Node's own listener comes first and has answered by now.
  process.on('internalMessage', (message, handle) => {
    if (message.cmd === 'NODE_HANDLE' && !handle && ++lost === room) filled.splice(-5).forEach((fd) => fs.closeSync(fd));
  });
  process.on('message', (message, handle) => {
    if (message.type === 'fill') {
      allClosed = () => fill(message);
      allClosed();
      return;
    }
    if (message.type === 'room') {
      filled.forEach((fd) => fs.closeSync(fd));
      filled = [];
      process.send({ type: 'room', lost });
      return;
    }
    process.send({ got: message, handle: Boolean(handle) });
    if (handle) use(handle);
    if (handle instanceof net.Socket) handle.end(`${message}\n`);
    if (handle instanceof net.Server) {
      handle.on('connection', (socket) => {
        use(socket);
        socket.end(`${message}\n`);
        handle.close();
      });
    }
  });
}

if (process.argv[2] === 'child') child();
else parent(process.argv[3], Number(process.argv[4]), process.argv[5], process.argv.slice(6)).catch((err) => { throw err; });
