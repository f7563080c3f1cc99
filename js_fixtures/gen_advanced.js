// Records what process.send of this runtime writes with advanced serialization, for the values of advanced_values.js.
//
//   node gen_advanced.js FOLDER
//
// writes FOLDER/values.txt: the header that begins a payload (what comes after the length of a frame), and then each value,
// name and expression first, with a line for each payload that runtimes wrote for it, without header, or for each refusal:
//
//   = header
//   12 14 16: ff0d
//   18 20 22 24 26: ff0f
//   = string_128 'x'.repeat(128)
//   12 14 16 18 20 22 24 26: 228001(78)*128
//   = symbol Symbol('s')
//   12 14 16 18 20 22 24 26: ! TypeError
//
// Bytes are hexadecimal; (78)*128 is 128 times the bytes in the parentheses. The lines of other runtimes stay.
//
// Ran on Node 12, 14, 16, 18, 20, 22, 24 and 26, and Deno 2.9.
'use strict';

const { spawn } = require('child_process');
const fs = require('fs');
const path = require('path');

const { values, here, evaluate } = require('./advanced_values.js');

const deno = process.versions.deno;
const runtime = deno ? 'deno' : process.versions.node.split('.')[0];

if (process.argv[2] === '--child') {
  child();
} else if (process.argv[2]) {
  generate(path.resolve(process.argv[2]));
} else {
  console.error('usage: node gen_advanced.js FOLDER');
  process.exitCode = 2;
}

// child sends every value, and prints which it could not send.
function child() {
  const refused = {};
  for (const { name, js } of here) {
    const value = evaluate(js);
    try {
      process.send(value);
    } catch (err) {
      refused[name] = err.name;
    }
  }
  process.stdout.write(JSON.stringify(refused));
  // Not before all is written: disconnect() cancels what the kernel has not taken.
  process.send('the end', () => process.disconnect());
}

function generate(folder) {
  // A plain pipe in the place of the channel: a socket pair whose bytes nobody looks at.
  const env = Object.assign({}, process.env, { NODE_CHANNEL_FD: '3', NODE_CHANNEL_SERIALIZATION_MODE: 'advanced' });
  const flags = deno ? ['run', '-A', '--unstable-detect-cjs', '--unstable-bare-node-builtins'] : ['--no-warnings'];
  const child = spawn(process.execPath, flags.concat(__filename, '--child'), { stdio: ['ignore', 'pipe', 'inherit', 'pipe'], env });
  const frames = [];
  const printed = [];
  child.stdio[3].on('data', (chunk) => frames.push(chunk));
  child.stdout.on('data', (chunk) => printed.push(chunk));
  child.on('close', (code) => {
    if (code !== 0) throw new Error(`the child exited with ${code}`);
    save(path.join(folder, 'values.txt'), outcomes(Buffer.concat(frames), JSON.parse(Buffer.concat(printed).toString())));
  });
}

// outcomes returns what became of each value: its payload, or how it was refused.
function outcomes(bytes, refused) {
  const header = bytes.slice(4, 6);
  const result = new Map([['header', header.toString('hex')]]);
  let at = 0;
  for (const { name } of here) {
    if (refused[name]) {
      result.set(name, `! ${refused[name]}`);
      continue;
    }
    const end = at + 4 + bytes.readUInt32BE(at);
    if (end > bytes.length) throw new Error(`${name}: the bytes end inside its frame`);
    if (!bytes.slice(at + 4, at + 6).equals(header)) throw new Error(`${name} has another header than the first`);
    result.set(name, compact(bytes.slice(at + 6, end)));
    at = end;
  }
  if (at + 4 + bytes.readUInt32BE(at) !== bytes.length) throw new Error('the frames are not those of the values');
  return result;
}

// compact writes bytes in hexadecimal, and short once what repeats for long.
function compact(bytes) {
  let text = '';
  for (let i = 0; i < bytes.length;) {
    let skip = 1;
    for (let period = 1; period <= 8 && skip === 1; period++) {
      let end = i + period;
      while (end < bytes.length && bytes[end] === bytes[end - period]) end++;
      const times = Math.floor((end - i) / period);
      if (times < 32) continue;
      text += `(${bytes.toString('hex', i, i + period)})*${times}`;
      // A digit after the number would be one of it.
      if (i + times * period < bytes.length) text += ' ';
      skip = times * period;
    }
    if (skip === 1) text += bytes.toString('hex', i, i + 1);
    i += skip;
  }
  return text;
}

function save(file, made) {
  const old = fs.existsSync(file) ? parse(fs.readFileSync(file, 'utf8')) : new Map();
  const lines = ['Made by js_fixtures/gen_advanced.js, which says what this is; do not edit.'];
  for (const { name, js } of [{ name: 'header' }].concat(values)) {
    lines.push(js ? `= ${name} ${js}` : `= ${name}`);
    const by = new Map(); // outcome to the runtimes that have it
    const all = (old.get(name) || []).filter(([r]) => r !== runtime);
    if (made.has(name)) all.push([runtime, made.get(name)]);
    const rank = (r) => Number(r) || 1000;
    all.sort((a, b) => rank(a[0]) - rank(b[0]));
    for (const [r, outcome] of all) by.set(outcome, (by.get(outcome) || []).concat(r));
    for (const [outcome, who] of by) lines.push(`${who.join(' ')}: ${outcome}`);
  }
  fs.mkdirSync(path.dirname(file), { recursive: true });
  fs.writeFileSync(file, lines.join('\n') + '\n');
}

// parse returns for each name the pairs of a runtime and its outcome.
function parse(text) {
  const result = new Map();
  let pairs;
  for (const line of text.split('\n').slice(1)) {
    if (line.startsWith('= ')) {
      pairs = [];
      result.set(line.split(' ')[1], pairs);
    } else if (line) {
      const [who, outcome] = [line.slice(0, line.indexOf(': ')), line.slice(line.indexOf(': ') + 2)];
      for (const r of who.split(' ')) pairs.push([r, outcome]);
    }
  }
  return result;
}
