// Says whether values that it receives with advanced serialization are those of advanced_values.js, and sends such values.
//
//   node advanced_check.js                          a child: answers its parent
//   node advanced_check.js COMMAND [ARGUMENT...]    a parent: starts COMMAND with advanced serialization and answers it
//
//   ['check', name]   the answer is 'ready'; the next message should be what arrives of that value, and is answered with ''
//                     if it is, to the order of keys and entries, prototypes, -0, NaN, holes and shared references, and
//                     otherwise with what differs
//   ['send', name]    the answer is the value
//   'the end'         a parent is content with its child and its exit code 0, and exits with 0 too
//
// Ran on Node 12, 14, 16, 18, 20, 22, 24 and 26, and Deno 2.9.
'use strict';

const assert = require('assert');
const { spawn } = require('child_process');

const { values, evaluate } = require('./advanced_values.js');

const named = new Map(values.map((v) => [v.name, v]));
const short = (text) => text.length > 500 ? text.slice(0, 500) + '...' : text;
let checking = null;

function answer(peer) {
  peer.on('message', (message) => {
    if (checking) {
      const { js, arrives } = checking;
      checking = null;
      peer.send(short(compare(message, evaluate(arrives || js))));
    } else if (Array.isArray(message) && named.has(message[1])) {
      const value = named.get(message[1]);
      if (message[0] === 'check') {
        checking = value;
        peer.send('ready');
      } else {
        peer.send(evaluate(value.js));
      }
    } else if (message === 'the end') {
      ended = true;
    } else {
      throw new Error(`no such question: ${short(JSON.stringify(message))}`);
    }
  });
  // What cannot be read is thrown inside the channel.
  process.on('uncaughtException', (err) => {
    if (!checking) {
      console.error(err);
      process.exit(1);
    }
    checking = null;
    peer.send(`cannot be read: ${short(String(err))}`);
  });
}

let ended = false;
if (process.argv.length > 2) {
  const child = spawn(process.argv[2], process.argv.slice(3), { stdio: [0, 1, 2, 'ipc'], serialization: 'advanced' });
  answer(child);
  const exited = new Promise((resolve) => child.on('exit', (code, signal) => resolve(signal || code)));
  const disconnected = new Promise((resolve) => child.on('disconnect', resolve)); // messages may come after the exit
  Promise.all([exited, disconnected]).then(([how]) => {
    if (how !== 0 || !ended) console.error(`the child ended ${ended ? '' : 'early '}with ${how}`);
    process.exit(how === 0 && ended ? 0 : 1);
  });
} else {
  answer(process);
}

function compare(got, want) {
  const text = difference(got, want);
  // To deepStrictEqual of some versions an invalid Date is not even itself.
  if (text || want instanceof Date && isNaN(want)) return text;
  try {
    assert.deepStrictEqual(got, want);
    return '';
  } catch (err) {
    return err instanceof RangeError ? '' : err.message; // too deep for it
  }
}

// difference goes through two values at once and returns the first difference. It does not recurse: values may be deep.
function difference(got, want) {
  const pairs = [[got, want, 'value']];
  const [toWant, toGot] = [new Map(), new Map()]; // an object of one is always the same one of the other
  for (let n = 0; n < pairs.length; n++) {
    const [g, w, path] = pairs[n];
    if (!isObject(w) || !isObject(g)) {
      if (Object.is(g, w)) continue;
      return `${path} is ${show(g)}, not ${show(w)}`;
    }
    if (toWant.has(g) || toGot.has(w)) {
      if (toWant.get(g) === w && toGot.get(w) === g) continue;
      return `${path} is ${toWant.has(g) ? 'an object that was elsewhere' : 'not an object that should be here again'}`;
    }
    toWant.set(g, w);
    toGot.set(w, g);
    const differs = (what, a, b) => {
      if (Object.is(a, b)) return '';
      return `${path}: ${what} is ${show(a)}, not ${show(b)}`;
    };
    const text = differs('its class', classOf(g), classOf(w)) || differs('its prototype', Object.getPrototypeOf(g), Object.getPrototypeOf(w)) ||
      insides(g, w, differs, (a, b, what) => pairs.push([a, b, path.length < 60 ? `${path}${what}` : path])) || '';
    if (text) return text;
  }
  return '';
}

function insides(g, w, differs, push) {
  const members = (keys) => {
    for (const key of keys) push(g[key], w[key], `.${String(key)}`);
  };
  const keys = (of) => Reflect.ownKeys(of).map(String);
  if (ArrayBuffer.isView(w)) {
    const bytes = (v) => Buffer.from(v.buffer, v.byteOffset, v.byteLength).toString('hex');
    // Behind the indexes of the elements.
    const more = (v) => Reflect.ownKeys(v).slice(v.length || 0).join();
    return differs('its bytes', bytes(g), bytes(w)) || differs('its members', more(g), more(w));
  }
  if (classOf(w) === 'Error') {
    // The order of an Error's own members is the engine's.
    for (const key of ['name', 'message', 'stack', 'cause']) push(g[key], w[key], `.${key}`);
    const own = (e) => keys(e).filter((k) => k !== 'stack').sort().join();
    return differs('its members', own(g), own(w)) || differs('what can be enumerated', Object.keys(g).join(), Object.keys(w).join());
  }
  const text = differs('its keys', keys(g).join(), keys(w).join());
  if (text) return text;
  members(Reflect.ownKeys(w));
  switch (classOf(w)) {
    case 'Date':
    case 'Number':
    case 'String':
    case 'Boolean':
    case 'BigInt':
      push(g.valueOf(), w.valueOf(), '.valueOf()');
      return '';
    case 'RegExp':
      return differs('its text', String(g), String(w));
    case 'ArrayBuffer':
      return differs('its bytes', Buffer.from(g).toString('hex'), Buffer.from(w).toString('hex')) ||
        differs('resizable', g.resizable, w.resizable) || differs('its maximal length', g.maxByteLength, w.maxByteLength);
    case 'Map':
    case 'Set': {
      const [a, b] = [Array.from(g), Array.from(w)];
      const kind = differs('its size', g.size, w.size);
      if (kind) return kind;
      for (let i = 0; i < b.length; i++) {
        if (classOf(w) === 'Set') {
          push(a[i], b[i], `.#${i}`);
        } else {
          push(a[i][0], b[i][0], `.#${i}`);
          push(a[i][1], b[i][1], `.of#${i}`);
        }
      }
      return '';
    }
    default:
      return '';
  }
}

function isObject(v) {
  return v !== null && typeof v === 'object';
}

// classOf tells built-in objects apart by what they are, whatever their prototypes are.
function classOf(v) {
  return Object.prototype.toString.call(v).slice(8, -1);
}

function show(v) {
  if (typeof v === 'string') return JSON.stringify(v);
  if (Object.is(v, -0)) return '-0';
  if (typeof v === 'bigint') return `${v}n`;
  return isObject(v) || typeof v === 'function' ? Object.prototype.toString.call(v) : String(v);
}
