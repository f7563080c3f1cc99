// Records what process.send of this Node writes for many values, byte for byte.
//
//   node gen_json.js FOLDER
//
// writes FOLDER/values.bin, one line for each value exactly as it came from the channel, and FOLDER/values.json, which
// names them in order: {"node":[versions that wrote these bytes],"values":[{"name":...,"js":the expression}]}.
// A version that writes the same bytes is added to the list; different bytes replace both files.
//
// Ran on Node 12, 14, 16, 18, 20, 22, 24 and 26: all the same.
'use strict';

const { spawn } = require('child_process');
const fs = require('fs');
const path = require('path');

class Point {
  constructor() { this.x = 1; this.y = 2; }
  get length() { return 3; } // on the prototype: not written
}
function withKeys(...keys) {
  const o = {};
  for (const k of keys) o[k] = k;
  return o;
}
function expando() {
  const a = [1, 2];
  a.name = 'n';
  return a;
}

const values = {
  string: () => 'text',
  string_empty: () => '',
  string_html: () => '<script>&amp;\'/</script>',
  string_quote_backslash: () => 'a"b\\c/d',
  string_short_escapes: () => '\b\f\n\r\t',
  string_control: () => Array.from({ length: 32 }, (_, i) => String.fromCharCode(i)).join(''),
  string_del: () => '\u007f',
  string_c1: () => '\u0080\u0085\u009f',
  string_latin1: () => 'grüße ÿ',
  string_line_separators: () => 'a\u2028b\u2029c',
  string_bmp: () => '漢字 € \ufeff \ufffd \uffff',
  string_astral: () => '😀 𝄞 \u{10ffff}',
  string_lone_high: () => 'a\ud800b',
  string_lone_low: () => 'a\udc00b',
  string_swapped_pair: () => '\udc00\ud800',
  string_high_high_low: () => '\ud83d\ud83d\ude00',
  string_lone_at_end: () => '\ud83d',
  string_json: () => '{"cmd":"NODE_HANDLE"}',
  string_long: () => 'long '.repeat(20000),
  true: () => true,
  false: () => false,
  null: () => null,
  zero: () => 0,
  minus_zero: () => -0,
  nan: () => NaN,
  infinity: () => Infinity,
  minus_infinity: () => -Infinity,
  one: () => 1,
  minus_one: () => -1,
  int32_max: () => 2147483647,
  int32_min: () => -2147483648,
  uint32_max: () => 4294967295,
  safe_max: () => 9007199254740991,
  safe_max_plus: () => 9007199254740993,
  uint64_max: () => 18446744073709551615,
  fraction: () => 1.5,
  tenth: () => 0.1,
  third: () => 1 / 3,
  sum: () => 0.1 + 0.2,
  e20: () => 1e20,
  e21: () => 1e21,
  below_e21: () => 999999999999999900000,
  e_minus_6: () => 1e-6,
  e_minus_7: () => 1e-7,
  mixed_e_minus_7: () => 1.25e-7,
  just_above_e_minus_6: () => 0.0000012345,
  e100: () => 1.5e100,
  minus_e_minus_10: () => -1.5e-10,
  denormal_min: () => 5e-324,
  double_min: () => 2.2250738585072014e-308,
  double_max: () => 1.7976931348623157e308,
  double_epsilon: () => 2.220446049250313e-16,
  digits17: () => 123456789.12345679,
  object_empty: () => ({}),
  object: () => ({ a: 1, b: 'two', c: null, d: [true] }),
  object_undefined_members: () => ({ a: undefined, b() {}, c: Symbol('s'), [Symbol('k')]: 1, d: 1 }),
  object_key_order: () => withKeys('b', '10', 'a', '2', '01', '-1', '1', '4294967294', '4294967295', '1.5'),
  object_key_escapes: () => withKeys('', '"', '\n', '\u2028', '\ud800', 'ü', '<'),
  object_proto_key: () => JSON.parse('{"__proto__":{"x":1},"a":2}'),
  object_null_prototype: () => Object.assign(Object.create(null), { a: 1 }),
  object_inherited: () => Object.create({ inherited: 1 }, { own: { value: 2, enumerable: true }, hidden: { value: 3 } }),
  object_getter: () => ({ get a() { return 1; } }),
  object_class: () => new Point(),
  object_nested: () => ({ a: { b: { c: { d: [[[{}]]] } } } }),
  object_to_json: () => ({ toJSON: () => ({ replaced: true }) }),
  object_to_json_key: () => ({ member: { toJSON: (key) => `key ${key}` } }),
  object_cmd: () => ({ cmd: 'NODE_' }),
  array_empty: () => [],
  array: () => [1, 'two', null, false, {}],
  array_holes: () => [1, , 3], // eslint-disable-line no-sparse-arrays
  array_undefined: () => [undefined, () => {}, Symbol('s')],
  array_numbers: () => [1.5, -0, NaN, 1e21],
  array_expando: () => expando(),
  array_nested: () => [[], [[]], [[[]]]],
  date: () => new Date(0),
  date_ms: () => new Date(Date.UTC(2026, 10, 23, 4, 5, 6, 789)),
  date_far: () => new Date(8640000000000000),
  date_before_year_0: () => new Date(-62198755200000),
  date_invalid: () => ({ date: new Date(NaN) }),
  buffer: () => Buffer.from('hi'),
  buffer_empty: () => Buffer.alloc(0),
  uint8array: () => new Uint8Array([1, 2]),
  float64array: () => new Float64Array([1.5, -0]),
  arraybuffer: () => new ArrayBuffer(2),
  dataview: () => new DataView(new ArrayBuffer(2)),
  map: () => new Map([['a', 1]]),
  set: () => new Set([1]),
  regexp: () => /a/g,
  error: () => new Error('lost'),
  error_code: () => Object.assign(new TypeError('lost'), { code: 'E_CODE' }),
  boxed_number: () => Object(7),
  boxed_string: () => Object('s'),
  boxed_boolean: () => Object(false),
  url: () => new URL('http://example.com/a?b#c'),
  shared_twice: () => { const o = { a: 1 }; return [o, o]; },
  promise: () => Promise.resolve(1),
};

if (process.argv[2] === '--child') {
  for (const name of Object.keys(values)) process.send(values[name]());
} else if (process.argv[2]) {
  generate(path.resolve(process.argv[2]));
} else {
  console.error('usage: node gen_json.js FOLDER');
  process.exitCode = 2;
}

function generate(folder) {
  // A plain pipe in the place of the channel: a socket pair whose bytes Node does not look at.
  const env = Object.assign({}, process.env, { NODE_CHANNEL_FD: '3', NODE_CHANNEL_SERIALIZATION_MODE: 'json' });
  const child = spawn(process.execPath, [__filename, '--child'], { stdio: ['ignore', 'inherit', 'inherit', 'pipe'], env });
  const chunks = [];
  child.stdio[3].on('data', (chunk) => chunks.push(chunk));
  child.on('close', (code) => {
    const bytes = Buffer.concat(chunks);
    const names = Object.keys(values);
    const lines = bytes.toString('latin1').split('\n').length - 1;
    if (code !== 0 || lines !== names.length) {
      console.error(`gen_json.js: the child exited with ${code} and wrote ${lines} lines for ${names.length} values`);
      process.exit(1);
    }
    save(folder, bytes, names.map((name) => ({ name, js: String(values[name]).replace(/^\(\) => /, '') })));
  });
}

function save(folder, bytes, list) {
  fs.mkdirSync(folder, { recursive: true });
  const bin = path.join(folder, 'values.bin');
  const json = path.join(folder, 'values.json');
  let node = [];
  if (fs.existsSync(bin) && fs.existsSync(json)) {
    if (bytes.equals(fs.readFileSync(bin))) node = JSON.parse(fs.readFileSync(json, 'utf8')).node;
    else console.error(`gen_json.js: Node ${process.versions.node} writes other bytes than those in ${bin}; replaced`);
  }
  if (!node.includes(process.versions.node)) node.push(process.versions.node);
  node.sort((a, b) => parseInt(a, 10) - parseInt(b, 10));
  fs.writeFileSync(bin, bytes);
  fs.writeFileSync(json, [
    '{',
    '  "about": "made by js_fixtures/gen_json.js; one line of values.bin for each value, in this order",',
    `  "node": ${JSON.stringify(node)},`,
    '  "values": [',
    list.map((v) => `    ${JSON.stringify(v)}`).join(',\n'),
    '  ]',
    '}',
    '',
  ].join('\n'));
}
