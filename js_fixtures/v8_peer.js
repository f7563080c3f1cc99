'use strict';
// Says what this Node makes of payloads of V8's serializer. Ran on Node 12 to 26.
//
// The questions, by their kind (question_peer.js):
//   c  the bytes are a payload of a channel: the value in it, or ! and the error
//   s  the bytes are for v8.deserialize: the same
//   e  the bytes are a JavaScript expression: what is written on a channel for its value, as hex, and the value
//
// A value is told as JSON: t is its type; numbers, and milliseconds of dates, are text (-0 and NaN too); strings that
// are not UTF-16 are hex; objects have an id, in the order in which they are met, and t is ref where one comes again:
// all but dates, empty arrays and empty Buffers, which are plain values in Go. Views are told without their buffer.
const v8 = require('v8');
const { types } = require('util');

// lib/internal/child_process/serialization.js, ChildProcessDeserializer.
class ChannelDeserializer extends v8.DefaultDeserializer {
  _readHostObject() {
    const kind = this.readUint32();
    if (kind === 0) return super._readHostObject();
    if (kind !== 1) throw new Error('Invalid host object tag');
    return this.readValue();
  }
}

function read(kind, payload) {
  if (kind !== 'c') return v8.deserialize(payload);
  const deserializer = new ChannelDeserializer(payload);
  deserializer.readHeader();
  return deserializer.readValue();
}

// The same, ChildProcessSerializer.
class ChannelSerializer extends v8.DefaultSerializer {
  _writeHostObject(object) {
    if (ArrayBuffer.isView(object)) {
      this.writeUint32(0);
      return super._writeHostObject(object);
    }
    this.writeUint32(1);
    this.writeValue(Object.assign({}, object));
  }
}

function write(value) {
  const serializer = new ChannelSerializer();
  serializer.writeHeader();
  serializer.writeValue(value);
  return serializer.releaseBuffer();
}

const number = (n) => (Object.is(n, -0) ? '-0' : String(n));
const lone = /[\ud800-\udbff](?![\udc00-\udfff])|(?:[^\ud800-\udbff]|^)[\udc00-\udfff]/;

function string(s) {
  return lone.test(s) ? { utf16be: Buffer.from(s, 'utf16le').swap16().toString('hex') } : s;
}

function tell(value, ids) {
  switch (typeof value) {
    case 'undefined': return { t: 'undefined' };
    case 'boolean': return { t: 'boolean', v: value };
    case 'number': return { t: 'number', v: number(value) };
    case 'bigint': return { t: 'bigint', v: String(value) };
    case 'string': return { t: 'string', v: string(value) };
  }
  if (value === null) return { t: 'null' };
  if (types.isDate(value)) return { t: 'date', v: number(value.getTime()) };
  if (Buffer.isBuffer(value) && value.length === 0) return { t: 'view', kind: 'Buffer', hex: '' };
  if (Array.isArray(value) && value.length === 0 && Object.keys(value).length === 0) {
    return { t: 'array', length: 0, props: [] };
  }
  if (ids.has(value)) return { t: 'ref', id: ids.get(value) };
  const id = ids.size;
  ids.set(value, id);
  const again = (v) => tell(v, ids);
  const props = () => Object.keys(value).map((k) => [string(k), again(value[k])]);
  if (Array.isArray(value)) return { t: 'array', id, length: value.length, props: props() };
  if (types.isRegExp(value)) return { t: 'regexp', id, source: string(value.source), flags: value.flags };
  if (types.isMap(value)) return { t: 'map', id, entries: Array.from(value, ([k, v]) => [again(k), again(v)]) };
  if (types.isSet(value)) return { t: 'set', id, values: Array.from(value, again) };
  if (types.isBoxedPrimitive(value)) return { t: 'boxed', id, v: again(value.valueOf()) };
  if (types.isArrayBuffer(value)) {
    const told = { t: 'arraybuffer', id, hex: Buffer.from(value).toString('hex') };
    if (value.resizable) told.max = value.maxByteLength;
    return told;
  }
  if (ArrayBuffer.isView(value)) {
    const kind = Buffer.isBuffer(value) ? 'Buffer' : value.constructor.name;
    const hex = Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString('hex');
    return { t: 'view', id, kind, hex };
  }
  if (types.isNativeError(value)) {
    const told = { t: 'error', id, name: Object.getPrototypeOf(value).name };
    if (Object.prototype.hasOwnProperty.call(value, 'message')) told.message = string(value.message);
    if (typeof value.stack === 'string') told.stack = string(value.stack);
    if (Object.prototype.hasOwnProperty.call(value, 'cause')) told.cause = again(value.cause);
    return told;
  }
  return { t: 'object', id, props: props() };
}

function answer(kind, payload) {
  try {
    if (kind === 'e') {
      const value = (0, eval)(payload.toString());
      return JSON.stringify({ hex: write(value).toString('hex'), value: tell(value, new Map()) });
    }
    return JSON.stringify(tell(read(kind, payload), new Map()));
  } catch (err) {
    return '!' + err.message;
  }
}

require('./question_peer').serve(answer);
