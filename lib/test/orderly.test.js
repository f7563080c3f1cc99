'use strict';

// What a worker of the Node under test, NODEIPC_NODE or the one that runs this file, does when it leaves with
// orderly.js in front of its program. TestLoss of cmd/nodeipc has it under load.

const assert = require('node:assert');
const { execFile, execFileSync, spawn } = require('node:child_process');
const { once } = require('node:events');
const fs = require('node:fs');
const http = require('node:http');
const https = require('node:https');
const net = require('node:net');
const os = require('node:os');
const path = require('node:path');
const readline = require('node:readline');
const tls = require('node:tls');
const { promisify } = require('node:util');
const { test, before, after } = require('node:test');

const node = process.env.NODEIPC_NODE || process.execPath;
const major = Number(execFileSync(node, ['-p', 'process.versions.node.split(".")[0]'], { encoding: 'utf8' }));
const orderly = path.join(__dirname, '..', 'orderly.js');
const fixture = path.join(__dirname, '..', '..', 'js_fixtures', 'orderly.js');
const limit = { timeout: 60000 };
let dir;

before(() => {
  dir = fs.mkdtempSync(path.join(os.tmpdir(), 'orderly-'));
});

after(() => fs.rmSync(dir, { recursive: true }));

// A fleet is a primary with a worker.
class Fleet {
  constructor(t, args, nodeArgs = ['-r', orderly]) {
    this.process = spawn(node, [...nodeArgs, fixture, ...args], { stdio: ['pipe', 'pipe', 'inherit'] });
    t.after(() => this.process.kill('SIGKILL'));
    this.secure = args[0] === 'https';
    this.said = [];
    this.waiting = null;
    readline.createInterface({ input: this.process.stdout }).on('line', (line) => {
      this.said.push(JSON.parse(line));
      if (this.waiting) {
        this.waiting();
      }
    });
    t.signal.addEventListener('abort', () => this.process.kill('SIGKILL'));
  }

  // await returns the next message that has this property.
  async await(name) {
    for (;;) {
      while (this.said.length > 0) {
        const message = this.said.shift();
        if (name in message) {
          return message;
        }
        assert.ok(!('code' in message), `no ${name}, but ${JSON.stringify(message)}`);
      }
      await new Promise((resolve) => {
        this.waiting = resolve;
      });
    }
  }

  async leave() {
    this.process.stdin.write('leave\n');
    await this.await('leaves');
  }
}

// A Client has one connection, which it keeps.
class Client {
  constructor(fleet, port) {
    this.module = fleet.secure ? https : http;
    this.options = { host: '127.0.0.1', port, rejectUnauthorized: false };
    this.options.agent = new this.module.Agent({ keepAlive: true, maxSockets: 1 });
  }

  async begin(url) {
    const req = this.module.get({ ...this.options, path: url });
    const [res] = await once(req, 'response');
    const own = res.socket.localPort;
    this.own = this.own || own;
    assert.strictEqual(own, this.own, 'it is another connection');
    return res;
  }

  async get(url) {
    return this.finish(await this.begin(url));
  }

  async finish(res) {
    let body = '';
    for await (const piece of res) {
      body += piece;
    }
    return { connection: res.headers.connection, body };
  }
}

for (const kind of ['http', 'https']) {
  test(`answers are the last of their connections, and none is cut: ${kind}`, limit, async (t) => {
    const fleet = new Fleet(t, [kind]);
    const { port } = await fleet.await('port');
    const client = () => new Client(fleet, port);
    const keep = { connection: 'keep-alive', body: 'answer' };
    const close = { connection: 'close', body: 'answer' };

    const kept = client();
    const state = await kept.get('/state');
    assert.deepStrictEqual(JSON.parse(state.body), { execArgv: [], touched: false });
    const others = {};
    for (const url of ['/', '/explicit', '/explicit/head', '/removed']) {
      others[url] = client();
      assert.deepStrictEqual(await others[url].get('/'), keep);
    }
    const working = client().get('/work');
    await fleet.await('works');
    const streaming = client();
    const begun = await streaming.begin('/begun');
    const upgrade = (fleet.secure ? https : http).get({
      host: '127.0.0.1', port, rejectUnauthorized: false, headers: { Connection: 'Upgrade', Upgrade: 'echo' },
    });
    const [, upgraded] = await once(upgrade, 'upgrade');

    await fleet.leave();
    assert.deepStrictEqual(await kept.get('/finish'), close);
    assert.deepStrictEqual(await working, { connection: 'close', body: 'worked' });
    assert.deepStrictEqual(await streaming.finish(begun), { connection: 'keep-alive', body: 'begun worked' });
    assert.deepStrictEqual(await streaming.get('/'), close);
    for (const url of ['/', '/explicit', '/explicit/head', '/removed']) {
      assert.deepStrictEqual(await others[url].get(url), close, url);
    }
    upgraded.write('as before');
    assert.strictEqual(String((await once(upgraded, 'data'))[0]), 'as before');
    upgraded.destroy();
    assert.deepStrictEqual(await fleet.await('code'),
      { code: 0, signal: null, meant: true, execArgv: ['-r', orderly] });
  });
}

test('a client gets the answer to a request whose body it is still sending', limit, async (t) => {
  const fleet = new Fleet(t, ['http']);
  const { port } = await fleet.await('port');
  const socket = net.connect(port, '127.0.0.1');
  const get = 'GET / HTTP/1.1\r\nHost: any\r\n\r\n';
  socket.write(get);
  await once(socket, 'data');
  await fleet.leave();
  const piece = Buffer.alloc(100000);
  socket.pause();
  socket.write(`POST / HTTP/1.1\r\nHost: any\r\nContent-Length: ${50 * piece.length}\r\n\r\n`);
  for (let i = 0; i < 50; i++) {
    await new Promise((resolve, reject) => socket.write(piece, (err) => (err ? reject(err) : resolve())));
  }
  let text = '';
  for await (const data of socket.setEncoding('latin1')) {
    text += data;
  }
  assert.match(text, /^HTTP\/1.1 200 OK\r\n[^]*Connection: close\r\n[^]*answer$/);
  assert.strictEqual((await fleet.await('code')).code, 0);
});

test('the closeIdleConnections of a program is called as before', { ...limit, skip: major < 19 }, async (t) => {
  const fleet = new Fleet(t, ['http', 'own']);
  await fleet.await('port');
  fleet.process.stdin.write('leave\n');
  await fleet.await('own');
  assert.strictEqual((await fleet.await('code')).code, 0);
});

test('connections on which nothing comes are closed', { ...limit, skip: major < 19 }, async (t) => {
  const fast = path.join(dir, 'fast.js');
  fs.writeFileSync(fast, 'const { setTimeout } = global; global.setTimeout = (f, ms) => setTimeout(f, ms / 20)');
  for (const kind of ['http', 'https']) {
    const fleet = new Fleet(t, [kind], ['-r', fast, '-r', orderly]);
    const { port } = await fleet.await('port');
    const to = { host: '127.0.0.1', port, rejectUnauthorized: false };
    const silent = fleet.secure ? tls.connect(to) : net.connect(to);
    await once(silent, fleet.secure ? 'secureConnect' : 'connect'); // and it never says anything
    const kept = new Client(fleet, port);
    const res = await kept.begin('/');
    const { socket } = res;
    await kept.finish(res);
    await fleet.leave();
    const silence = once(silent.resume(), 'end');
    await Promise.all([once(socket, 'close'), silence]);
    assert.strictEqual((await fleet.await('code')).code, 0);
  }
});

test('what is no worker has nothing of it', async () => {
  const code = `({
    execArgv: process.execArgv, channel: typeof process.channel, listeners: process.eventNames().map(String),
    loaded: process.moduleLoadList.filter((name) => /^NativeModule (cluster|_?https?|_http_.*|net)$/.test(name)),
  })`;
  fs.writeFileSync(path.join(dir, 'plain.js'), `
    const o = ${code}
    if (process.send) process.send(o, () => process.disconnect())
    else console.log(JSON.stringify(o))`);
  fs.writeFileSync(path.join(dir, 'parent.js'), `
    require('child_process').fork('./plain.js').on('message', (o) => console.log(JSON.stringify(o)))`);
  for (const script of ['plain.js', 'parent.js']) {
    const see = async (...args) => {
      const { stdout } = await promisify(execFile)(node, [...args, script], { ...limit, cwd: dir });
      return JSON.parse(stdout);
    };
    const { execArgv, ...rest } = await see('-r', orderly);
    assert.deepStrictEqual(execArgv, ['-r', orderly]);
    const { execArgv: none, ...without } = await see();
    assert.deepStrictEqual(none, []);
    assert.deepStrictEqual(rest, without);
  }
});
