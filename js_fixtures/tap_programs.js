// Programs that start children in every way there is, for lib/test/tap.test.js.
//
//   node tap_programs.js SCENARIO [ARGS…]
//
// Prints one JSON line. It is its own child: the scenario "child" says what it was started with.
// Ran on Node 12, 14, 16, 18, 20, 22, 24 and 26.
'use strict';

const childProcess = require('child_process');
const cluster = require('cluster');
const fs = require('fs');
const path = require('path');
const { Worker, isMainThread, parentPort } = require('worker_threads');

const { ChildProcess, exec, fork, spawn } = childProcess;
const [scenario, ...args] = process.argv.slice(2);
const { PATH } = process.env;
const printOptions = ['-c', 'printf %s "$NODE_OPTIONS"'];

function print(result) {
  process.stdout.write(JSON.stringify(result) + '\n');
}

// answer resolves, when child has ended and all it printed is there, to that and to its first message. There is no
// event "close" where it is us who disconnect.
async function answer(child) {
  const result = { stdout: '' };
  const ends = [new Promise((resolve) => {
    child.on('exit', (code, signal) => resolve(Object.assign(result, { code, signal })));
    child.on('error', (err) => resolve(Object.assign(result, { error: describe(err) })));
  })];
  if (child.stdout) {
    child.stdout.setEncoding('utf8').on('data', (s) => { result.stdout += s; });
    ends.push(new Promise((resolve) => child.stdout.on('close', resolve)));
  }
  child.once('message', (message) => {
    result.message = message;
    child.disconnect();
  });
  await Promise.all(ends);
  return result;
}

function describe(err) {
  return Object.assign({ name: err.name, message: err.message }, err);
}

async function attempt(f) {
  try {
    return await f();
  } catch (err) {
    return describe(err);
  }
}

const scenarios = {
  child() {
    const self = {
      args, argv0: process.argv0, execArgv: process.execArgv, worker: cluster.isWorker ? cluster.worker.id : undefined,
      options: process.env.NODE_OPTIONS, tapped: process.env.NODEIPC_TAP !== undefined, other: global.other,
    };
    if (args[0] === 'echo') {
      process.on('message', (m) => process.send(m));
    } else if (process.send) {
      process.send(self);
    } else {
      print(self);
    }
  },

  async fork() {
    const child = fork(__filename, ['child', 'a', 'b c', ''], { execArgv: ['--no-warnings'] });
    print(Object.assign(await answer(child), { spawnfile: child.spawnfile, spawnargs: child.spawnargs }));
  },

  // The channel at two places, and three other names for the child.
  async spawn() {
    const results = [];
    for (const [stdio, argv0] of [
      [['ignore', 'inherit', 'inherit', 'ipc']],
      [['ignore', 'inherit', 'inherit', 'ignore', 'pipe', 'ipc'], 'another name'],
      [['ipc', 'inherit', 'inherit'], '--'],
    ]) {
      const child = spawn('node', [__filename, 'child'], { stdio, argv0 });
      const { message } = await answer(child);
      results.push({ argv0: message.argv0, spawnfile: child.spawnfile, spawnargs: child.spawnargs });
    }
    print(results);
  },

  async channelless() {
    const { stdout } = await answer(spawn('node', [__filename, 'child'], { env: { PATH } }));
    print(JSON.parse(stdout));
  },

  cluster() {
    cluster.setupMaster({ args: ['child', 'in a cluster'] });
    const worker = cluster.fork({ PATH });
    answer(worker.process).then(print);
  },

  async environment() {
    print(await answer(fork(__filename, ['child'], { env: { PATH } })));
  },

  // A shell, and behind it a program that forks.
  grandchild() {
    exec(`node "${__filename}" environment`, { env: { PATH } }, (err, stdout) => print(JSON.parse(stdout)));
  },

  // What NODE_OPTIONS becomes in a child whose program gives it this one.
  async options() {
    const results = [];
    for (const NODE_OPTIONS of args) {
      results.push((await answer(spawn('/bin/sh', printOptions, { env: { NODE_OPTIONS } }))).stdout);
    }
    print(results);
  },

  // Programs in a folder that is not ours: args are the folder and a script in it.
  async lookup() {
    const [cwd, name] = args;
    const results = [];
    for (const [file, env] of [
      [`./${name}`, {}], [`${cwd}/${name}`, {}], [name, { PATH: '/nowhere::/' }], [name, { PATH: `/nowhere:${cwd}` }],
      ['pwd', {}],
    ]) {
      const child = spawn(file, ['x'], { cwd, env, stdio: ['ignore', 'pipe', 'inherit', 'ipc'] });
      results.push((await answer(child)).stdout.trim());
    }
    print(results);
  },

  // Children that cannot be started: args are a folder, and a file that is not executable.
  async errors() {
    const [folder, file] = args;
    const stdio = ['ignore', 'ignore', 'ignore', 'ipc'];
    const results = [];
    for (const [name, options] of [
      ['/nowhere/program', {}], ['no-such-program', {}], [folder, {}], [file, {}], ['sh', { cwd: '/nowhere' }],
      ['sh', { env: { PATH: '/nowhere' } }], [`${file}/x`, {}],
      [path.basename(file), { env: { PATH: path.dirname(file) } }],
    ]) {
      results.push(await attempt(async () => {
        const child = spawn(name, ['x'], Object.assign({ stdio }, options));
        return [child.pid === undefined, child.spawnfile, child.spawnargs, await answer(child)];
      }));
    }
    for (const options of [
      undefined, null, {}, { file: 'sh', args: 'x' }, { file: 'sh', stdio, envPairs: 'x' },
      { file: 1, args: ['sh'], stdio },
      { file: 'sh', args: ['sh'], stdio: ['ipc', 'ipc'] }, { file: 'sh', args: ['sh'], stdio, serialization: 'x' },
    ]) {
      const child = new ChildProcess();
      results.push(await attempt(() => child.spawn(options)), child.spawnfile, child.spawnargs);
    }
    print(results);
  },

  async detached() {
    const stdio = ['ignore', 'inherit', 'inherit', 'ipc'];
    const child = spawn(process.execPath, [__filename, 'child', 'echo'], { detached: true, stdio });
    child.once('message', () => process.kill(-child.pid, 'SIGKILL'));
    child.send('ready?');
    child.on('close', (code, signal) => print({ code, signal }));
  },

  async advanced() {
    const child = fork(__filename, ['child', 'echo'], { serialization: 'advanced' });
    child.send(new Map([['a', new Date(0)]]));
    const { message } = await answer(child);
    print([...message]);
  },

  async threads() {
    const worker = new Worker(__filename, { argv: ['fork'], stdout: false });
    worker.once('message', async (inThread) => {
      print([inThread, await answer(fork(__filename, ['child', 'main']))]);
    });
  },

  // What a program can see of spawn, and its own replacement of it.
  async surface() {
    const { prototype } = ChildProcess;
    const { spawn: before } = prototype;
    const keys = [];
    for (const key in prototype) {
      keys.push(key);
    }
    let calls = 0;
    prototype.spawn = function (options) {
      calls++;
      return before.call(this, options);
    };
    const stdio = ['ignore', 'inherit', 'inherit', 'ipc'];
    const options = { file: 'sh', args: ['sh', '-c', 'exit 3'], envPairs: [`PATH=${PATH}`], stdio };
    const child = new ChildProcess();
    const returned = child.spawn(options);
    const { code } = await answer(child);
    print({
      keys, own: Object.getOwnPropertyNames(prototype), names: Object.getOwnPropertyNames(before).sort(),
      name: before.name, length: before.length, property: Object.getOwnPropertyDescriptor(prototype, 'spawn'),
      env: Object.keys(process.env).filter((k) => !/^NODE(_OPTIONS|IPC_TAP)$/.test(k)).sort(),
      cache: Object.keys(require.cache), execArgv: process.execArgv, calls, returned, code, file: options.file,
      args: options.args, spawnfile: child.spawnfile, sameArgs: child.spawnargs === options.args,
    });
  },

  // The preload is gone when the child starts.
  async gone() {
    fs.unlinkSync(args[0]);
    print(await answer(fork(__filename, ['child'], { env: { PATH, NODE_OPTIONS: process.env.NODE_OPTIONS } })));
  },

  // The child runs as another user. Needs root.
  async user() {
    const { NODE_OPTIONS } = process.env;
    const stdio = ['ignore', 'pipe', 'inherit', 'ipc'];
    print(await answer(spawn('/bin/sh', printOptions, { uid: 65534, env: { NODE_OPTIONS }, stdio })));
  },
};

if (isMainThread) {
  scenarios[scenario]();
} else {
  answer(fork(__filename, ['child', 'thread'])).then((result) => parentPort.postMessage(result));
}
