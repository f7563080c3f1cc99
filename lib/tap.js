'use strict';

// The preload of `nodeipc tap`, which loads it into every Node process below it:
//
//   NODE_OPTIONS='--require "/private/tap.js"'
//   NODEIPC_TAP='{"command":["/abs/nodeipc","tap"],"preload":"/private/tap.js","report":"/private/report"}'
//
// Where a program starts a child with a channel it starts `nodeipc tap -- child` instead, and every child gets these
// two variables, whatever environment the program gives it. The program sees none of this. Only the nodeipc command
// has a use for this file and carries its own copy; that is why the npm package comes without it.
//
// Ran on Node 12, 14, 16, 18, 20, 22, 24 and 26. Bun does not load it; Deno does, and is left alone: it may not even
// allow a look at the environment, and starts its children differently.

const fs = require('fs');

const variable = 'NODEIPC_TAP';
const config = process.versions.deno ? null : read(process.env[variable]);
delete require.cache[__filename]; // programs look in there

if (config && process.platform === 'win32') {
  complain('channels are not tapped on Windows');
} else if (config) {
  // spawn, fork, exec, execFile and cluster.fork all end in this method.
  wrap(require('child_process').ChildProcess.prototype);
}

function read(text) {
  if (!text) {
    return null;
  }
  try {
    const { command, preload } = JSON.parse(text);
    if (Array.isArray(command) && command.length > 0 && [...command, preload].every((s) => typeof s === 'string')) {
      return { text, command, preload };
    }
  } catch (err) {
    // The same as JSON that says something else.
  }
  complain(`${variable} is not what nodeipc tap has set, and this process is not tapped`);
  return null;
}

// complain does without process.stderr, which nobody can take back once it is there.
function complain(text) {
  try {
    fs.writeSync(2, `nodeipc tap: ${text}\n`);
  } catch (err) {
    // There is nowhere left to say it.
  }
}

// wrap replaces spawn once, also when a tap within a tap loads a second copy of this file.
function wrap(prototype) {
  const mark = Symbol.for('nodeipc.tap');
  if (prototype[mark]) {
    return;
  }
  Object.defineProperty(prototype, mark, { value: true });
  const original = prototype.spawn;
  const wrapper = function (options) {
    const tapped = tap(options);
    if (!tapped) {
      return Reflect.apply(original, this, arguments);
    }
    try {
      return Reflect.apply(original, this, [tapped]);
    } finally {
      // Errors of a spawn are made of these two, later. They are unset if it has thrown early.
      if (this.spawnargs === tapped.args) {
        this.spawnfile = options.file;
        this.spawnargs = options.args;
      }
    }
  };
  prototype.spawn = Object.defineProperties(wrapper, Object.getOwnPropertyDescriptors(original));
}

// tap returns the options that the child is to be started with instead, or null: nothing to change, or nonsense.
function tap(options) {
  if (options === null || typeof options !== 'object') {
    return null;
  }
  const { file, args, stdio } = options;
  const ipc = Array.isArray(stdio) && stdio.includes('ipc');
  // Without envPairs a child without a channel gets our own environment, and one with a channel gets an empty one.
  const envPairs = options.envPairs === undefined && ipc ? [] : options.envPairs;
  if (!Array.isArray(envPairs)) {
    return null;
  }
  // The tap may be gone before we are, and another user may not read its private files. Node does not start without
  // its preload, and so that child is left alone.
  const on = isFile(config.preload, fs.constants.R_OK) &&
    (options.uid === undefined || options.uid === null || options.uid === process.getuid());
  const changes = { envPairs: environment(envPairs, on) };
  const path = on && ipc && typeof file === 'string' && Array.isArray(args) && args.length > 0 &&
    isExecutable(config.command[0]) && lookUp(file, options.cwd, variableOf(envPairs, 'PATH'));
  if (path) {
    const argv0 = String(args[0]);
    changes.file = config.command[0];
    changes.args = [
      ...config.command, ...(argv0 === path ? [] : [`--argv0=${argv0}`]), '--', path, ...args.slice(1),
    ];
  }
  return Object.assign(Object.create(Object.getPrototypeOf(options)), options, changes);
}

// lookUp returns the path that execvp would execute for file in the child, or undefined: then Node is left to fail,
// with the error that the program expects. The tap gets the path, so that these rules are nowhere but here.
function lookUp(file, cwd, PATH) {
  const from = (path) => (path.startsWith('/') || !cwd ? path : `${cwd}/${path}`);
  if (file.includes('/')) {
    return isExecutable(from(file)) ? file : undefined;
  }
  const folders = PATH === undefined ? ['/bin', '/usr/bin'] : PATH.split(':');
  return folders.map((folder) => `${folder || '.'}/${file}`).find((path) => isExecutable(from(path)));
}

function isExecutable(path) {
  return isFile(path, fs.constants.X_OK);
}

function isFile(path, mode) {
  try {
    fs.accessSync(path, mode);
    return fs.statSync(path).isFile();
  } catch (err) {
    return false;
  }
}

function variableOf(envPairs, name) {
  const pair = envPairs.find((p) => String(p).startsWith(`${name}=`));
  return pair === undefined ? undefined : String(pair).slice(name.length + 1);
}

// environment returns envPairs with the two variables of the tap, each once, or without them.
function environment(envPairs, on) {
  const own = nodeOptions(variableOf(envPairs, 'NODE_OPTIONS') || '');
  const preload = `--require "${config.preload.replace(/["\\]/g, '\\$&')}"`;
  const options = (on ? [preload, own] : [own]).filter((s) => s !== '').join(' ');
  const env = envPairs.filter((p) => !/^(NODE_OPTIONS|NODEIPC_TAP)=/.test(p));
  if (options !== '') {
    env.push(`NODE_OPTIONS=${options}`);
  }
  if (on) {
    env.push(`${variable}=${config.text}`);
  }
  return env;
}

// nodeOptions returns a NODE_OPTIONS without our preload, and otherwise as it is. The rules are Node's: spaces
// separate, double quotes protect, and between them a backslash protects the next character.
function nodeOptions(value) {
  const tokens = value.match(/(?:[^ "]|"(?:[^"\\]|\\[^])*"?)+ */g) || [];
  const kept = [];
  for (let i = 0; i < tokens.length; i++) {
    const [name, path] = tokens.slice(i, i + 2).map(unquote);
    if ((name === '--require' || name === '-r') && path === config.preload) {
      i++;
    } else if (name !== `--require=${config.preload}`) {
      kept.push(tokens[i]);
    }
  }
  return kept.join('');
}

function unquote(token) {
  return token.replace(/ +$/, '').replace(/"((?:[^"\\]|\\[^])*)"?/g, (_, text) => text.replace(/\\([^])/g, '$1'));
}
