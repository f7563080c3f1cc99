'use strict';

// adopt: a cluster worker of Node gives its channel to a Go program, for managers that start nothing but JavaScript.
// See index.d.ts. Node's process stays in between. It closes its end of the channel and never writes to it again: two
// writers would tear each other's messages apart, and a primary dies of that.
//
// Ran on Node 12, 14, 16, 18, 20, 22, 24 and 26.

const os = require('os');
const path = require('path');
const { spawn } = require('child_process');
const { checkBinary } = require('./binary');

const signals = ['SIGTERM', 'SIGINT', 'SIGHUP', 'SIGUSR2'];
const channelFD = 3;
const lifelineFD = 4; // package cluster sees by its end that this process is gone, and reads messages to send from it
const maxRelayed = 1 << 20; // bytes that may wait there; a program that does not join never reads them
const flushTime = 2000; // for the last output, which something may hold open or never finish

let adopted = false;

function adopt(pathToBinary, options) {
  if (typeof pathToBinary !== 'string' || pathToBinary === '') {
    throw new TypeError('adopt: the first argument must be the path of a Go binary, a non-empty string');
  }
  const { args = process.argv.slice(2), env } = options || {};
  if (!Array.isArray(args)) {
    throw new TypeError('adopt: args must be an array');
  }
  const binary = path.resolve(pathToBinary);
  checkBinary('adopt', binary);
  const cluster = require('cluster'); // not before: this file may be loaded where nobody wants a cluster
  const channel = ownChannel(cluster);

  channel.handle.readStop();
  let child;
  try {
    child = spawn(binary, args.map(String), {
      // In a group of its own, so that Ctrl-C reaches it once: from here.
      detached: true,
      stdio: ['inherit', 'pipe', 'pipe', channel.handle.fd, 'pipe'],
      env: Object.assign({}, process.env, env, {
        NODE_CHANNEL_FD: String(channelFD),
        NODE_CHANNEL_SERIALIZATION_MODE: channel.serialization,
        NODE_UNIQUE_ID: String(cluster.worker.id),
        NODEIPC_ADOPT_FD: String(lifelineFD),
      }),
    });
  } catch (err) {
    channel.handle.readStart();
    throw err;
  }
  if (child.pid === undefined) {
    child.on('error', () => {}); // it comes later, when nobody could undo anything
    channel.handle.readStart();
    throw new Error(`adopt: cannot start ${binary}: no more processes or descriptors, or it is for another system`);
  }
  adopted = true;
  channel.handle.close(); // the primary has to see the end of the channel when the child closes it
  cutOff(child.stdio[lifelineFD]);
  follow(child);
  return child;
}

// ownChannel returns the handle below process.channel and its serialization, if it can be given away: Node has no
// interface for this.
function ownChannel(cluster) {
  if (process.versions.deno || process.versions.bun || process.platform === 'win32') {
    throw new Error('adopt: only Node has a channel that can be given away, and not on Windows');
  }
  if (adopted) {
    throw new Error('adopt: the channel of this process has been given away already');
  }
  if (!cluster.isWorker || !cluster.worker || !process.channel || !process.connected) {
    throw new Error('adopt: this process is not a worker of a cluster, or is disconnected: ' +
      'start it by cluster.fork, or by PM2 in cluster mode; elsewhere start the Go program itself');
  }
  const handle = bySymbol(process, 'kChannelHandle') || process.channel; // the latter is Node 12
  const methods = ['readStop', 'readStart', 'close'];
  if (!methods.every((name) => typeof handle[name] === 'function') || !(handle.fd >= 0) || !process._send) {
    throw new Error(`adopt: Node ${process.version} does not show the handle of process.channel with readStop`);
  }
  const text = bySymbol(handle, 'kJSONBuffer');
  const unread = text === undefined ? bySymbol(handle, 'kMessageBuffer') : text;
  if (unread === undefined) {
    throw new Error(`adopt: Node ${process.version} does not show the serialization of process.channel`);
  }
  if (unread.length > 0 || handle.writeQueueSize > 0 || process._handleQueue) {
    throw new Error('adopt: the channel is in use; adopt must come before anything is sent or received');
  }
  return { handle, serialization: text === undefined ? 'advanced' : 'json' };
}

function bySymbol(object, name) {
  const symbol = Object.getOwnPropertySymbols(object).find((s) => String(s) === `Symbol(${name})`);
  return symbol && object[symbol];
}

// cutOff keeps this process away from the channel. What it wants to say to the primary, as PM2 does with each line of
// the output, is left to the child; but what Node's cluster says for itself would now be wrong. process.send and
// everything else ends in _send.
function cutOff(lifeline) {
  lifeline.on('error', () => {}); // the child is gone, which its exit tells as well
  process._send = (message, handle, options, callback) => {
    const internal = message && typeof message.cmd === 'string' && message.cmd.startsWith('NODE_');
    const room = !lifeline.destroyed && lifeline.writableLength < maxRelayed;
    if (!internal && !handle && room) {
      const text = JSON.stringify(message);
      lifeline.write(`${text === undefined ? null : text}\n`);
    }
    if (typeof callback === 'function') {
      process.nextTick(callback, null);
    }
    return room;
  };
  process.disconnect = process._disconnect = () => {};
}

// follow makes this process look like the child: signals go there, output and the exit come from there.
function follow(child) {
  for (const signal of signals) {
    process.removeAllListeners(signal); // somebody's process.exit() there would be the end of the child too
    process.on(signal, () => child.kill(signal));
  }
  const outputs = [pass(child.stdout, process.stdout), pass(child.stderr, process.stderr)];
  child.on('exit', (code, signal) => {
    const end = () => exit(code, signal);
    setTimeout(end, flushTime);
    Promise.all(outputs).then(end);
  });
}

function exit(code, signal) {
  if (signal) {
    process.removeAllListeners(signal);
    process.kill(process.pid, signal);
    process.exit(128 + os.constants.signals[signal]); // Node ignores that signal
  }
  process.exit(code);
}

// pass writes what comes from one stream to another, through its method write, which PM2 replaces: it takes text. The
// promise is that all of it has been written.
function pass(from, to) {
  if (to.write !== Object.getPrototypeOf(to).write) {
    from.setEncoding('utf8');
  }
  return new Promise((resolve) => {
    let ended = false;
    let writing = 0;
    const written = () => {
      writing--;
      from.resume();
      if (ended && writing === 0) {
        resolve();
      }
    };
    from.on('data', (chunk) => {
      writing++;
      to.write(chunk, 'utf8', written);
      if (to.writableLength >= to.writableHighWaterMark) {
        from.pause();
      }
    });
    from.on('close', () => {
      ended = true;
      if (writing === 0) {
        resolve();
      }
    });
  });
}

module.exports = { adopt };
