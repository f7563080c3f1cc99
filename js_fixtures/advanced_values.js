// Values for advanced serialization: what a process can send, or cannot, and what arrives.
//
//   values    a list of {name, js, since, deno, arrives, why}
//             js       an expression
//             since    the first major version of Node that has such a value
//             deno     whether Deno has it
//             arrives  an expression for what the receiver gets where that is another value, and why
//   here      those of them that this runtime has
//   evaluate  makes the value of an expression
//
// gen_advanced.js records what Nodes write for them; advanced_check.js is a child that says whether it received one.
// Ran on Node 12, 14, 16, 18, 20, 22, 24 and 26, and Deno 2.9.
'use strict';

const plain = (arrives) => ({ arrives, why: 'class instances arrive as plain objects' });
const dropped = (arrives) => ({ arrives, why: 'own members of such objects are dropped' });
const base = (arrives) => ({ arrives, why: 'instances of a subclass arrive as those of the class built in' });
const native = (arrives) => ({ arrives, why: 'of native objects the enumerable members arrive, in a plain object' });
const fresh = (arrives) => ({ arrives, why: 'each view arrives with memory of its own' });
const since = (version, more) => Object.assign({ since: version }, more);
const notInDeno = (more) => Object.assign({ deno: false }, more);

const list = [];
const add = (entries) => {
  for (const name of Object.keys(entries)) {
    const [js, options] = [].concat(entries[name]);
    list.push(Object.assign({ name, js, since: 12, deno: true }, options));
  }
};
const s = String.raw; // sources have their own escapes

// ---------------------------------------------------------------------------------------------------- primitives

add({
  undefined: s`undefined`, // not by itself
  undefined_in: s`[undefined]`,
  undefined_member: s`({ a: undefined })`,
  null: s`null`,
  true: s`true`,
  false: s`false`,
  zero: s`0`,
  one: s`1`,
  minus_one: s`-1`,
  sixty_three: s`63`,
  sixty_four: s`64`,
  minus_sixty_four: s`-64`,
  minus_sixty_five: s`-65`,
  int30_max: s`1073741823`,
  int30_more: s`1073741824`,
  int32_max: s`2147483647`,
  int32_min: s`-2147483648`,
  int32_more: s`2147483648`,
  int32_less: s`-2147483649`,
  uint32_max: s`4294967295`,
  safe_max: s`9007199254740991`,
  safe_min: s`-9007199254740991`,
  safe_more: s`9007199254740993`, // is ...992
  minus_zero: s`-0`,
  nan: s`NaN`,
  infinity: s`Infinity`,
  minus_infinity: s`-Infinity`,
  fraction: s`1.5`,
  tenth: s`0.1`,
  minus_tenth: s`-0.1`,
  e21: s`1e21`,
  denormal_min: s`5e-324`,
  double_min: s`2.2250738585072014e-308`,
  double_max: s`1.7976931348623157e308`,

  bigint: s`1n`, // not by itself
  bigint_zero: s`[0n]`,
  bigint_one: s`[1n]`,
  bigint_minus_one: s`[-1n]`,
  bigint_255: s`[255n]`,
  bigint_minus_255: s`[-255n]`,
  bigint_2_63: s`[2n ** 63n]`,
  bigint_minus_2_63: s`[-(2n ** 63n)]`,
  bigint_2_64_less: s`[2n ** 64n - 1n]`,
  bigint_2_64: s`[2n ** 64n]`,
  bigint_2_200: s`[2n ** 200n]`,
  bigint_minus_2_200: s`[-(2n ** 200n) - 1n]`,
  bigint_2_1100: s`[2n ** 1100n]`, // its length takes two bytes
  bigint_member: s`({ n: 12345678901234567890n })`,

  string_empty: s`''`,
  string: s`'text'`,
  string_nul: s`'\0a\0'`,
  string_latin1: s`'gr\xfc\xdfe \xff\x80'`,
  string_two_byte: s`'\u20ac \u6f22 \u0100'`,
  string_two_byte_nul: s`'\u20ac\0'`,
  string_latin1_by_width: s`('\u20aca\xff').slice(1)`, // V8 may keep it with two bytes for each character
  string_astral: s`'\u{1f600} \u{10ffff}'`,
  string_lone_high: s`'a\ud800b'`,
  string_lone_low: s`'a\udc00b'`,
  string_swapped_pair: s`'\udc00\ud800'`,
  string_high_high_low: s`'\ud83d\ud83d\ude00'`,
  string_high_at_end: s`'\ud83d'`,
  string_bom: s`'\ufeff\ufffe\uffff\ufffd'`,
  string_concatenated: s`'left half of a rope '.repeat(3) + String(40 + 2)`,
  string_127: s`'x'.repeat(127)`,
  string_128: s`'x'.repeat(128)`,
  string_two_byte_126: s`'\u20ac'.repeat(63)`,
  string_two_byte_128: s`'\u20ac'.repeat(64)`, // a length of two bytes makes it odd
  string_two_byte_odd: s`['a', '\u20ac', '\u20ac']`,
  string_two_byte_even: s`['', '\u20ac', 'ab', '\u20ac']`,
  string_64k: s`'x'.repeat(65536)`,
  string_two_byte_64k: s`'\u20ac'.repeat(32768)`,
  string_same_twice: s`['text', 'text']`, // no reference
});

// ---------------------------------------------------------------------------------------------------- objects

add({
  object_empty: s`({})`,
  object: s`({ a: 1, b: 'two', c: null, d: [true], e: { f: undefined } })`,
  object_order: s`({ z: 1, a: 2, m: 3, Z: 4 })`,
  object_integer_keys: s`({ b: 0, 10: 1, 2: 2, 0: 3, a: 4 })`,
  object_large_integer_keys: s`({ 2147483647: 1, 2147483648: 2, 4294967294: 3 })`,
  object_nearly_integer_keys: s`({ '01': 1, '-1': 2, 4294967295: 3, '1.5': 4, '-0': 5, '1e3': 6 })`,
  object_sparse_integer_keys: s`({ 1000000: 'a', 7: 'b' })`,
  object_empty_key: s`({ '': 1 })`,
  object_latin1_key: s`({ 'gr\xfc\xdfe': 1 })`,
  object_two_byte_key: s`({ '\u20ac': 1, 'a\u20ac': 2, '\u{1f600}': 3 })`,
  object_lone_surrogate_keys: s`({ '\ud800': 1, '\udc00': 2 })`,
  object_proto_key: s`JSON.parse('{"__proto__":{"x":1},"a":2}')`,
  object_names_of_methods: s`({ constructor: 1, toString: 2, hasOwnProperty: 3, length: 4 })`,
  object_cmd: s`({ cmd: 'NODE_' })`,
  object_nested: s`({ a: { b: { c: { d: [[[{}]]] } } } })`,
  object_many_keys: s`Object.fromEntries(Array.from({ length: 300 }, (_, i) => ['key' + i, i]))`,
  object_null_prototype: [s`Object.assign(Object.create(null), { a: 1 })`, plain(s`({ a: 1 })`)],
  object_inherited: [s`Object.create({ inherited: 1 }, { own: { value: 2, enumerable: true }, hidden: { value: 3 } })`,
    plain(s`({ own: 2 })`)],
  object_class: [s`new (class Point { constructor() { this.x = 1; this.y = 2; } get length() { return 3; } })()`,
    plain(s`({ x: 1, y: 2 })`)],
  object_getter: [s`({ get a() { return 1; }, set b(v) {} })`,
    { arrives: s`({ a: 1, b: undefined })`, why: 'accessors arrive as what they give' }],
  object_getter_throws: s`({ get a() { throw new RangeError('no'); } })`,
  object_getter_deletes: [s`({ get a() { delete this.b; return 1; }, b: 2, c: 3 })`,
    { arrives: s`({ a: 1, c: 3 })`, why: 'a member that is gone when its turn comes is not sent' }],
  object_symbol_key: [s`({ a: 1, [Symbol('s')]: 2 })`, { arrives: s`({ a: 1 })`, why: 'keys that are symbols are dropped' }],
  object_not_enumerable: [s`Object.defineProperty({ a: 1 }, 'b', { value: 2 })`,
    { arrives: s`({ a: 1 })`, why: 'what cannot be enumerated is dropped' }],
  object_frozen: [s`Object.freeze({ a: 1 })`, { arrives: s`({ a: 1 })`, why: 'what arrives can be changed' }],
  object_to_json: s`Object.assign({ a: 1 }, { toJSON: null })`,
  object_math: [s`Math`, plain(s`({})`)],
  object_json: [s`JSON`, plain(s`({})`)],
  object_url: [s`new URL('http://example.com/a?b#c')`, plain(s`({})`)],
  object_url_search_params: [s`new URLSearchParams('a=1')`, plain(s`({})`)],
  object_event_emitter: [s`Object.assign(Object.create(require('events').prototype), { n: 1 })`, plain(s`({ n: 1 })`)],
});

// ---------------------------------------------------------------------------------------------------- arrays

add({
  array_empty: s`[]`,
  array: s`[1, 'two', null, false, {}, undefined]`,
  array_integers: s`[1, 2, 3]`,
  array_doubles: s`[1.5, 2.5]`,
  array_doubles_whole: s`[1.5, 2, -0, NaN, 2147483648]`,
  array_beyond_int32: s`[2147483648, -1]`,
  array_nested: s`[[], [[]], [[[]]]]`,
  array_holes: s`[1, , 3]`,
  array_hole_first: s`[, 1]`,
  array_hole_last: s`[1, , ]`,
  array_holes_only: s`[, , ]`,
  array_holes_of_doubles: s`[1.5, , 2.5]`,
  array_hole_and_undefined: s`[, undefined, , null]`,
  array_of_length: s`new Array(3)`,
  array_filled: s`new Array(3).fill(0)`,
  array_element_deleted: s`(() => { const a = [1, 2, 3]; delete a[1]; return a; })()`,
  array_popped: s`(() => { const a = [1, 2, 3]; a.length = 2; return a; })()`,
  array_shrinks: [s`(() => { const a = [{ get x() { a.length = 1; return 1; } }, 2, 3]; return a; })()`,
    { arrives: s`[{ x: 1 }, , ,]`, why: 'elements that are gone when their turn comes are holes' }],
  array_sparse: s`(() => { const a = []; a[100000] = 'x'; a[7] = 'y'; return a; })()`,
  array_sparse_longest: s`Object.assign([], { 4294967294: 'last' })`,
  array_sparse_empty: s`Object.assign([], { length: 4294967295 })`,
  array_sparse_beyond_int32: s`Object.assign([], { 2147483647: 'a', 2147483648: 'b', 3000000000: 'c' })`,
  array_named: s`Object.assign([1, 2], { name: 'n', '': 0 })`,
  array_named_empty: s`Object.assign([], { name: 'n' })`,
  array_named_holes: s`Object.assign([1, , 3], { name: 'n', '-1': 'm', 4294967295: 'beyond' })`,
  array_named_two_byte: s`Object.assign([1], { '\u20ac': '\u20ac' })`,
  array_symbol_key: [s`Object.assign([1], { [Symbol('s')]: 2 })`, { arrives: s`[1]`, why: 'keys that are symbols are dropped' }],
  array_getter: [s`Object.defineProperty([1, 2], 0, { get() { return 7; }, enumerable: true })`,
    { arrives: s`[7, 2]`, why: 'accessors arrive as what they give' }],
  array_class: [s`new (class List extends Array {})('a', 'b')`, base(s`['a', 'b']`)],
  array_frozen: [s`Object.freeze([1, [2]])`, { arrives: s`[1, [2]]`, why: 'what arrives can be changed' }],
  array_300: s`Array.from({ length: 300 }, () => true)`,
  array_sparse_nested: s`[, [, { a: [, ] }]]`,
});

// ---------------------------------------------------------------------------------------------------- built-in objects

add({
  date: s`new Date(0)`,
  date_ms: s`new Date(Date.UTC(2026, 10, 23, 4, 5, 6, 789))`,
  date_negative: s`new Date(-1)`,
  date_min: s`new Date(-8640000000000000)`,
  date_max: s`new Date(8640000000000000)`,
  date_invalid: s`new Date(NaN)`,
  date_member: [s`Object.assign(new Date(1000), { a: 1 })`, dropped(s`new Date(1000)`)],
  date_class: [s`new (class Day extends Date {})(86400000)`, base(s`new Date(86400000)`)],

  boxed_number: s`Object(7)`,
  boxed_minus_zero: s`Object(-0)`,
  boxed_nan: s`Object(NaN)`,
  boxed_true: s`Object(true)`,
  boxed_false: s`Object(false)`,
  boxed_string: s`Object('s')`,
  boxed_string_empty: s`Object('')`,
  boxed_string_two_byte: s`Object('\u20ac')`,
  boxed_string_lone_surrogate: s`Object('\udfff')`,
  boxed_bigint: s`Object(-5n)`,
  boxed_bigint_zero: s`Object(0n)`,
  boxed_member: [s`Object.assign(Object(1), { a: 1 })`, dropped(s`Object(1)`)],

  regexp: s`/a/`,
  regexp_empty: s`new RegExp('')`,
  regexp_g: s`/a/g`,
  regexp_i: s`/a/i`,
  regexp_m: s`/a/m`,
  regexp_y: s`/a/y`,
  regexp_u: s`/a/u`,
  regexp_s: s`/a/s`,
  regexp_d: [s`new RegExp('a', 'd')`, since(16)],
  regexp_v: [s`new RegExp('[a--b]', 'v')`, since(20)],
  regexp_all_flags: s`/^a|b$/gimsuy`,
  regexp_all_flags_d: [s`new RegExp('a', 'dgimsuy')`, since(16)],
  regexp_all_flags_v: [s`new RegExp('a', 'dgimsvy')`, since(20)],
  regexp_slash: s`/a\/b[/]\n/`,
  regexp_line_feed: s`new RegExp('a\nb')`,
  regexp_two_byte: s`/\u20ac\u{1f600}\d/u`,
  regexp_two_byte_raw: s`new RegExp('\u20ac')`,
  regexp_groups: s`/(?<year>\d{4})-(?<month>\d\d)(?<!x)/`,
  regexp_last_index: [s`Object.assign(/a/g, { lastIndex: 5 })`, dropped(s`/a/g`)],
  regexp_class: [s`new (class Pattern extends RegExp {})('a', 'g')`, base(s`/a/g`)],

  map_empty: s`new Map()`,
  map: s`new Map([['b', 1], ['a', { c: 2 }]])`,
  map_keys: s`new Map([[undefined, 0], [null, 1], [true, 2], [1, 3], [1.5, 4], [NaN, 5], [-0, 6], ['1', 7], [1n, 8]])`,
  map_object_keys: s`new Map([[{}, 0], [[], 1], [new Date(0), 2], [new Map(), 3], [Buffer.from('k'), 4], [/a/, 5]])`,
  map_nested: s`new Map([[new Map([[1, 2]]), new Map([[3, new Set([4])]])]])`,
  map_of_undefined: s`new Map([['a', undefined]])`,
  map_member: [s`Object.assign(new Map([[1, 2]]), { a: 1 })`, dropped(s`new Map([[1, 2]])`)],
  map_class: [s`new (class Table extends Map {})([[1, 2]])`, base(s`new Map([[1, 2]])`)],
  map_100: s`new Map(Array.from({ length: 100 }, (_, i) => [i, -i]))`,
  map_grows: [s`(() => { const m = new Map([['a', { get x() { m.set('b', 1); return 0; } }]]); return m; })()`,
    { arrives: s`new Map([['a', { x: 0 }]])`, why: 'what is added while it is written is not sent' }],

  set_empty: s`new Set()`,
  set: s`new Set(['b', 'a', 'c'])`,
  set_keys: s`new Set([undefined, null, true, 1, 1.5, NaN, -0, '1', 1n])`,
  set_objects: s`new Set([{}, {}, [], new Date(0), Buffer.from('k')])`,
  set_nested: s`new Set([new Set([new Set()]), new Map([[1, new Set([2])]])])`,
  set_member: [s`Object.assign(new Set([1]), { a: 1 })`, dropped(s`new Set([1])`)],
  set_class: [s`new (class Bag extends Set {})([1])`, base(s`new Set([1])`)],
});

// ---------------------------------------------------------------------------------------------------- bytes

const bytes = s`new Uint8Array([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]).buffer`;
add({
  arraybuffer_empty: s`new ArrayBuffer(0)`,
  arraybuffer: s`new Uint8Array([0, 1, 128, 255]).buffer`,
  arraybuffer_member: [s`Object.assign(new ArrayBuffer(1), { a: 1 })`, dropped(s`new ArrayBuffer(1)`)],
  arraybuffer_resizable: [s`new ArrayBuffer(2, { maxByteLength: 5 })`, since(20)],
  arraybuffer_resizable_full: [s`new ArrayBuffer(200, { maxByteLength: 200 })`, since(20)],
  arraybuffer_resizable_empty: [s`new ArrayBuffer(0, { maxByteLength: 1 })`, since(20)],

  int8array: s`new Int8Array([0, 1, -1, 127, -128])`,
  uint8array: s`new Uint8Array([0, 1, 255])`,
  uint8clampedarray: s`new Uint8ClampedArray([0, 1, 255])`,
  int16array: s`new Int16Array([0, 1, -1, 32767, -32768])`,
  uint16array: s`new Uint16Array([0, 1, 65535])`,
  int32array: s`new Int32Array([0, 1, -1, 2147483647, -2147483648])`,
  uint32array: s`new Uint32Array([0, 1, 4294967295])`,
  float32array: s`new Float32Array([0, -0, 1.5, 3.4028234663852886e38, Infinity, NaN])`,
  float64array: s`new Float64Array([0, -0, 0.1, 5e-324, -Infinity, NaN])`,
  bigint64array: [s`new BigInt64Array([0n, 1n, -1n, 2n ** 63n - 1n, -(2n ** 63n)])`, since(16)],
  biguint64array: [s`new BigUint64Array([0n, 1n, 2n ** 64n - 1n])`, since(16)],
  float16array: [s`new Float16Array([0, -0, 1.5, 65504, Infinity, NaN])`, since(24)],
  dataview: s`new DataView(${bytes})`,
  uint8array_empty: s`new Uint8Array(0)`,
  float64array_empty: s`new Float64Array(0)`,
  dataview_empty: s`new DataView(new ArrayBuffer(0))`,
  uint8array_part: [s`new Uint8Array(${bytes}, 3, 5)`, fresh(s`new Uint8Array([4, 5, 6, 7, 8])`)],
  int32array_part: [s`new Int32Array(${bytes}, 4, 2)`, fresh(s`new Int32Array(${bytes}.slice(4, 12))`)],
  float64array_part: [s`new Float64Array(${bytes}, 8)`, fresh(s`new Float64Array(${bytes}.slice(8))`)],
  dataview_part: [s`new DataView(${bytes}, 5, 3)`, fresh(s`new DataView(new Uint8Array([6, 7, 8]).buffer)`)],
  uint8array_empty_part: [s`new Uint8Array(${bytes}, 16)`, fresh(s`new Uint8Array(0)`)],
  uint8array_odd: s`[new Uint8Array(1), new Float64Array([1.5]), new Uint8Array(2), new Uint16Array([513])]`,
  uint8array_resizable: [s`new Uint8Array(new ArrayBuffer(4, { maxByteLength: 8 }), 1)`, since(20, fresh(s`new Uint8Array(3)`))],
  uint8array_class: [s`new (class Bytes extends Uint8Array {})([1, 2])`, base(s`new Uint8Array([1, 2])`)],
  uint8array_member: [s`Object.assign(new Uint8Array([1]), { a: 1 })`, dropped(s`new Uint8Array([1])`)],
  uint8array_300: s`new Uint8Array(300).fill(7)`,
  views_of_one_buffer: [s`(() => { const b = ${bytes}; return [new Uint8Array(b, 0, 2), new Uint8Array(b, 1, 2)]; })()`,
    fresh(s`[new Uint8Array([1, 2]), new Uint8Array([2, 3])]`)],
  buffer_and_view: [s`(() => { const b = new ArrayBuffer(2); return [b, new Uint8Array(b)]; })()`,
    fresh(s`[new ArrayBuffer(2), new Uint8Array(2)]`)],

  buffer: s`Buffer.from('hi')`,
  buffer_empty: s`Buffer.alloc(0)`,
  buffer_one: s`Buffer.from([255])`,
  buffer_pool: s`[Buffer.from('one'), Buffer.from('two'), Buffer.allocUnsafe(3).fill(1)]`,
  buffer_slice: s`Buffer.from('a slice of more').slice(2, 7)`,
  buffer_64k: s`Buffer.alloc(65536, 'x')`,
  buffer_member: [s`Object.assign(Buffer.from('a'), { a: 1 })`, dropped(s`Buffer.from('a')`)],
  buffer_in: s`({ name: 'a', data: Buffer.from([0, 1, 2]), more: [Buffer.alloc(0)] })`,
});

// ---------------------------------------------------------------------------------------------------- errors

// Every stack is fixed: it would name files, and lines of Node's own.
const stack = (error, text) => s`Object.assign(${error}, { stack: '${text || 'at stack'}' })`;
const error = (make, more) => [stack(make), more];
const plainError = (arrives) => ({ arrives: stack(arrives), why: 'an Error has its type, message, stack and cause' });
add({
  error: error(s`new Error('message')`),
  error_eval: error(s`new EvalError('message')`),
  error_range: error(s`new RangeError('message')`),
  error_reference: error(s`new ReferenceError('message')`),
  error_syntax: error(s`new SyntaxError('message')`),
  error_type: error(s`new TypeError('message')`),
  error_uri: error(s`new URIError('message')`),
  error_no_message: error(s`new Error()`),
  error_empty_message: error(s`new RangeError('')`),
  error_two_byte_message: error(s`new Error('\u20ac')`),
  error_two_byte_stack: stack(s`new Error('a')`, s`\u20ac`),
  error_message_no_string: error(s`Object.assign(new Error(), { message: 7 })`, plainError(s`new Error('7')`)),
  error_stack_of_engine: s`(() => { Error.stackTraceLimit = 0; return new TypeError('message'); })()`,
  error_no_stack: [s`(() => { const e = new TypeError('message'); delete e.stack; return e; })()`],
  error_stack_no_string: [s`Object.assign(new TypeError('message'), { stack: 7 })`,
    { arrives: s`(() => { const e = new TypeError('message'); delete e.stack; return e; })()`, why: 'a stack is a string' }],
  error_cause: error(s`new Error('message', { cause: 'why' })`, since(16)),
  error_cause_error: error(s`new Error('message', { cause: ${stack(s`new RangeError('inner')`)} })`, since(16)),
  error_cause_object: error(s`new TypeError('message', { cause: { code: 7, of: [1n] } })`, since(16)),
  error_cause_null: error(s`new Error('message', { cause: null })`, since(16)),
  error_cause_undefined: error(s`new Error('message', { cause: undefined })`, since(16)),
  error_cause_false: error(s`new Error('', { cause: false })`, since(16)),
  error_cause_alone: error(s`new Error(undefined, { cause: 1 })`, since(16)),
  error_cause_itself: [s`(() => { const e = ${stack(s`new Error('message')`)}; return Object.defineProperty(e, 'cause', { value: e, writable: true, configurable: true }); })()`, since(16)],
  error_cause_enumerable: error(s`Object.assign(new Error('message'), { cause: 'why' })`, since(16, plainError(s`new Error('message', { cause: 'why' })`))),
  error_members: error(s`Object.assign(new TypeError('message'), { code: 'E_CODE', errno: -2 })`, plainError(s`new TypeError('message')`)),
  error_named: error(s`Object.assign(new Error('message'), { name: 'TypeError' })`, plainError(s`new TypeError('message')`)),
  error_named_else: error(s`Object.assign(new TypeError('message'), { name: 'Else' })`, plainError(s`new Error('message')`)),
  error_class: error(s`new (class Lost extends RangeError {})('message')`, plainError(s`new RangeError('message')`)),
  error_class_named: error(s`new (class Lost extends RangeError { get name() { return 'Lost'; } })('message')`, plainError(s`new Error('message')`)),
  error_aggregate: error(s`new AggregateError([new Error('a')], 'message')`, since(16, plainError(s`new Error('message')`))),
  error_prototype_null: [s`Object.setPrototypeOf(${stack(s`new TypeError('message')`)}, null)`, plainError(s`new Error('message')`)],
  error_in: s`({ failed: true, error: ${stack(s`new Error('message')`)}, after: 1 })`,
  errors: s`[${stack(s`new Error('a')`)}, ${stack(s`new TypeError('b')`)}]`,
});

// ---------------------------------------------------------------------------------------------------- references

const twice = (make) => s`(() => { const x = ${make}; return [x, x]; })()`;
const after = (make) => s`(() => { const x = ${make}; return [x, ${stack(s`new Error('between')`)}, x]; })()`;
const nest = (first, next) => s`(() => { let x = ${first}; for (let i = 1; i < 2000; i++) x = ${next}; return x; })()`;
add({
  twice_object: twice(s`({ a: 1 })`),
  twice_array: twice(s`[1]`),
  twice_array_empty: twice(s`[]`),
  twice_array_sparse: twice(s`[, 1]`),
  twice_date: twice(s`new Date(1)`),
  twice_boxed: twice(s`Object('s')`),
  twice_boxed_bigint: twice(s`Object(1n)`),
  twice_boxed_true: twice(s`Object(true)`),
  twice_regexp: twice(s`/a/`),
  twice_map: twice(s`new Map([[1, 2]])`),
  twice_set: twice(s`new Set([1])`),
  twice_arraybuffer: twice(s`new ArrayBuffer(1)`),
  twice_buffer: twice(s`Buffer.from('a')`),
  twice_buffer_empty: twice(s`Buffer.alloc(0)`),
  twice_float64array: twice(s`new Float64Array([1.5])`),
  twice_error: twice(stack(s`new Error('message')`)),
  twice_members: s`(() => { const x = {}, y = []; return { a: x, b: y, c: x, d: { e: y, f: x } }; })()`,
  twice_in_map: s`(() => { const x = {}; return new Map([[x, x], ['x', x]]); })()`,
  twice_in_set: s`(() => { const x = {}; return [x, new Set([x])]; })()`,
  twice_after_many: s`(() => { const a = Array.from({ length: 200 }, () => ({})); return [a, a[0], a[199]]; })()`,
  reference_after_error: after(s`({ a: 1 })`),
  reference_beyond_error: s`(() => { const x = {}; return [${stack(s`new Error('before')`)}, x, x]; })()`,
  reference_after_buffer: s`(() => { const x = {}; return [Buffer.from('a'), x, new Uint8Array(1), x]; })()`,
  reference_after_boxed: s`(() => { const x = {}; return [Object(1), Object('a'), Object(1n), x, x]; })()`,
  reference_after_strings: s`(() => { const x = {}; return ['a', 1n, null, x, x]; })()`,

  cycle_object: s`(() => { const x = { n: 1 }; x.self = x; return x; })()`,
  cycle_two: s`(() => { const x = { name: 'x' }, y = { name: 'y', x }; x.y = y; return [x, y]; })()`,
  cycle_array: s`(() => { const x = [1]; x.push(x, [x]); return x; })()`,
  cycle_array_sparse: s`(() => { const x = [, ]; x[5] = x; return x; })()`,
  cycle_array_named: s`(() => { const x = []; x.self = x; return x; })()`,
  cycle_map_value: s`(() => { const x = new Map(); x.set('self', x); return x; })()`,
  cycle_map_key: s`(() => { const x = new Map(); x.set(x, 'self'); return x; })()`,
  cycle_set: s`(() => { const x = new Set(); return x.add(x); })()`,
  cycle_mixed: s`(() => { const x = { m: new Map() }; x.m.set('s', new Set([[x]])); return x; })()`,
  cycle_list: s`(() => { const x = { n: 0 }; x.next = { n: 1, next: { n: 2, next: x } }; return x; })()`,

  deep_objects: nest(s`{}`, s`{ x }`), // a reader's stack may have no room for these
  deep_objects_1000: nest(s`{}`, s`{ x }`).replace('2000', '1000'),
  deep_arrays: nest(s`[]`, s`[x]`),
  deep_arrays_sparse: nest(s`[, ]`, s`[, x]`).replace('2000', '500'), // a writer's stack has no room for more
  deep_maps: nest(s`new Map()`, s`new Map([[1, x]])`),
  deep_sets: nest(s`new Set()`, s`new Set([x])`),
});

// ---------------------------------------------------------------------------------------------------- native objects

const key = s`require('crypto').createSecretKey(Buffer.from('k'))`;
add({
  native: [key, native(s`({})`)],
  native_members: [s`Object.assign(${key}, { a: 1, b: Buffer.from('b') })`, native(s`({ a: 1, b: Buffer.from('b') })`)],
  native_twice: [s`(() => { const x = Object.assign(${key}, { o: {} }); return [x, x, x.o, x.o]; })()`,
    native(s`(() => { const x = { o: {} }; return [x, x, x.o, x.o]; })()`)],
  native_cycle: [s`(() => { const x = ${key}; x.self = x; return x; })()`, // Node cannot read what it writes for this
    native(s`(() => { const x = {}; x.self = x; return x; })()`)],
  native_handle: [s`new (process.binding('tcp_wrap').TCP)(0)`, notInDeno(native(s`({ reading: false, onconnection: null })`))],
  native_port: [s`[new (require('worker_threads').MessageChannel)().port1]`, since(16, notInDeno(native(s`[{}]`)))],
});

// ---------------------------------------------------------------------------------------------------- refused

add({
  function: s`() => {}`,
  function_in: s`[() => {}]`,
  class: s`({ c: class {} })`,
  symbol: s`Symbol('s')`,
  symbol_in: s`[Symbol('s')]`,
  boxed_symbol: s`Object(Symbol('s'))`,
  promise: s`Promise.resolve(1)`,
  proxy: s`new Proxy({}, {})`,
  weakmap: s`new WeakMap()`,
  weakset: s`new WeakSet()`,
  weakref: [s`new WeakRef({})`, since(16)],
  arguments: s`(function () { return arguments; })(1)`,
  generator: s`(function* () {})()`,
  iterator: s`[1][Symbol.iterator]()`,
  map_iterator: s`new Map([[1, 2]]).entries()`,
  shared_arraybuffer: s`new SharedArrayBuffer(1)`,
  detached_arraybuffer: [s`(() => { const b = new ArrayBuffer(1); structuredClone(b, { transfer: [b] }); return b; })()`, since(18)],
  intl: s`new Intl.NumberFormat('en')`,
  wasm_memory: s`new WebAssembly.Memory({ initial: 1 })`,
  wasm_module: [s`({ m: new WebAssembly.Module(new Uint8Array([0, 97, 115, 109, 1, 0, 0, 0])) })`, since(14)],
  temporal: [s`new Temporal.Instant(0n)`, since(26)],
});


// What expressions may use besides the globals of the language.
global.require = require;

module.exports = {
  values: list,
  here: list.filter((v) => process.versions.deno ? v.deno : v.since <= parseInt(process.versions.node, 10)),
  evaluate: (js) => (0, eval)(js),
};
