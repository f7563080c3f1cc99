'use strict';

// Where a Go binary is: checkBinary for a path, findBinary for an npm package that has one for each platform in a
// package of its own, as pack-binaries.js makes them. See index.d.ts.

const fs = require('fs');
const path = require('path');

const platform = `${process.platform}-${process.arch}`;

// checkBinary throws for what cannot be started. Without it the caller would get a worker that emits 'error' later,
// with nothing but "spawn ENOENT" to go by.
function checkBinary(who, binary) {
  let stat;
  try {
    stat = fs.statSync(binary);
  } catch (err) {
    if (err.code === 'ENOENT') {
      throw failure(who, err.code, binary,
        `there is no Go binary at ${binary}; build it first: go build -o ${binary} <package>`);
    }
    throw failure(who, err.code, binary, `cannot look at ${binary}: ${err.message}`);
  }
  if (stat.isDirectory()) {
    throw failure(who, 'EACCES', binary, `${binary} is a directory, not a Go binary; build one into it and name ` +
      `that: go build -o ${path.join(binary, 'worker')} <package>`);
  }
  try {
    fs.accessSync(binary, fs.constants.X_OK);
  } catch (err) {
    throw failure(who, err.code, binary, `${binary} is not executable; is it the binary, not its source? build it ` +
      'first: go build -o <binary> <package>, or chmod +x it');
  }
}

// findBinary returns the path of the binary of this platform that belongs to an npm package.
function findBinary(name, options) {
  if (typeof name !== 'string' || !/^(@[\w.~-]+\/)?[\w.~-]+$/.test(name)) {
    throw new TypeError('findBinary: the first argument must be the name of an npm package');
  }
  const variable = overrideOf(name);
  if (process.env[variable] !== undefined) {
    return override(variable, process.env[variable]);
  }
  const from = options && options.from;
  if (from !== undefined && typeof from !== 'string') {
    throw new TypeError('findBinary: from must be the path of a folder');
  }
  const bases = from === undefined ? [process.cwd(), __dirname] : [path.resolve(from)];
  const main = bases.map((base) => installed(name, base)).find((found) => found);
  if (!main) {
    throw failure('findBinary', 'MODULE_NOT_FOUND', name,
      `the package ${name} is not installed for ${bases.join(' or ')}; run npm install ${name}, or set ${variable}`);
  }
  const wanted = main.manifest.optionalDependencies || {};
  const own = `${name}-${platform}`;
  if (wanted[own] === undefined) {
    throw failure('findBinary', 'ENOTSUP', name,
      `${name} ${main.manifest.version} has no binary for ${platform}; build one and set ${variable} to its path`);
  }
  const found = installed(own, main.folder); // its own dependencies may be visible to it alone
  if (!found) {
    throw failure('findBinary', 'MODULE_NOT_FOUND', own, `${own} is not installed, but ${name} is: without optional ` +
      `dependencies, or on another platform. Install ${name} again here, or set ${variable}`);
  }
  if (found.manifest.version !== wanted[own]) {
    throw failure('findBinary', 'ERR_VERSION', own,
      `${own} is ${found.manifest.version}, but ${name} needs ${wanted[own]}; install ${name} again`);
  }
  const binary = path.join(found.folder, 'bin', baseOf(name));
  checkBinary('findBinary', binary);
  return binary;
}

// override takes what the variable names and nothing else: who sets it must not get another binary unawares.
function override(variable, value) {
  if (value === '') {
    throw failure('findBinary', 'ENOENT', value, `${variable} is set, but empty; unset it, or set it to a path`);
  }
  const binary = path.resolve(value);
  checkBinary(`findBinary: ${variable}`, binary);
  return binary;
}

// overrideOf returns the variable that replaces the binary of a package: ACME_WORKER_BINARY for @acme/worker.
function overrideOf(name) {
  return `${name.replace(/[^A-Za-z0-9]+/g, '_').replace(/^_/, '').toUpperCase()}_BINARY`;
}

function baseOf(name) {
  return name.slice(name.indexOf('/') + 1);
}

// installed returns the package that require would take in a folder. The package may have exports that hide its
// package.json; then it is looked for where Node would.
function installed(name, folder) {
  const lookup = require('module').createRequire(path.join(folder, 'package.json'));
  const places = (lookup.resolve.paths(name) || []).map((place) => path.join(place, name, 'package.json'));
  let file;
  try {
    file = lookup.resolve(`${name}/package.json`);
  } catch (err) {
    file = places.find((place) => fs.existsSync(place));
  }
  if (!file) {
    return null;
  }
  file = fs.realpathSync(file); // its dependencies are next to where it really is
  return { folder: path.dirname(file), manifest: JSON.parse(fs.readFileSync(file, 'utf8')) };
}

function failure(who, code, tried, text) {
  const err = new Error(`${who}: ${text}`);
  err.code = code;
  err.path = tried;
  return err;
}

module.exports = { checkBinary, findBinary, baseOf };
