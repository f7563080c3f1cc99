#!/usr/bin/env node
'use strict';

// Builds a Go program for each platform and makes an npm package of each binary, for findBinary:
//
//   npx nodeipc-pack-binaries FOLDER GO_PACKAGE [--out FOLDER] [--platform NAME]... [-- FLAGS OF go build]
//   npx nodeipc-pack-binaries ./npm ./cmd/worker -- -ldflags '-s -w'
//
// FOLDER is that of your own package: name, version and license are taken from its package.json, where the new packages
// become optionalDependencies of exactly this version. They are written below --out, FOLDER/platforms unless stated
// otherwise, where an .npmignore keeps them out of that package, and are published before it. Platforms are linux-x64,
// linux-arm64, darwin-x64 and darwin-arm64, all of them unless some are named.
//
// Ran on Node 12, 20 and 26.

const { execFileSync } = require('child_process');
const fs = require('fs');
const path = require('path');
const { baseOf } = require('./binary');

const platforms = {
  'linux-x64': { GOOS: 'linux', GOARCH: 'amd64' },
  'linux-arm64': { GOOS: 'linux', GOARCH: 'arm64' },
  'darwin-x64': { GOOS: 'darwin', GOARCH: 'amd64' },
  'darwin-arm64': { GOOS: 'darwin', GOARCH: 'arm64' },
};

try {
  main(parse(process.argv.slice(2)));
} catch (err) {
  process.stderr.write(`nodeipc-pack-binaries: ${err.message}\n`);
  process.exitCode = 1;
}

function parse(args) {
  const split = args.indexOf('--');
  const flags = split < 0 ? [] : args.slice(split + 1);
  const own = split < 0 ? args : args.slice(0, split);
  const names = [];
  const places = [];
  let out;
  for (let i = 0; i < own.length; i++) {
    if (own[i] === '--out' && own[i + 1]) {
      out = own[++i];
    } else if (own[i] === '--platform' && platforms[own[i + 1]]) {
      names.push(own[++i]);
    } else if (own[i].startsWith('-')) {
      throw new Error(`${own.slice(i, i + 2).join(' ')}? there are --out FOLDER and --platform NAME, of ` +
        Object.keys(platforms).join(', '));
    } else {
      places.push(own[i]);
    }
  }
  if (places.length !== 2) {
    throw new Error('usage: nodeipc-pack-binaries FOLDER GO_PACKAGE [--out FOLDER] [--platform NAME]... [-- FLAGS]');
  }
  const [folder, program] = places;
  return {
    folder, program, flags,
    out: out || path.join(folder, 'platforms'),
    names: names.length > 0 ? names : Object.keys(platforms),
  };
}

function main({ folder, program, flags, out, names }) {
  const file = path.join(folder, 'package.json');
  const text = fs.readFileSync(file, 'utf8');
  const manifest = JSON.parse(text);
  if (!manifest.name || !manifest.version) {
    throw new Error(`${file} needs a name and a version`);
  }
  fs.mkdirSync(out, { recursive: true });
  fs.writeFileSync(path.join(out, '.npmignore'), '*\n'); // for the package around it, not for those in it
  const packages = names.map((name) => pack(manifest, name, path.resolve(out), program, flags));
  // Only when all are there: a version of which a platform is missing is not to be published.
  manifest.optionalDependencies = manifest.optionalDependencies || {};
  for (const name of packages) {
    manifest.optionalDependencies[name] = manifest.version;
  }
  const [, indent = '  '] = /^([ \t]+)"/m.exec(text) || [];
  fs.writeFileSync(file, `${JSON.stringify(manifest, null, indent)}\n`);
}

// pack makes the package of one platform and returns its name.
function pack(main, platform, out, program, flags) {
  const name = `${main.name}-${platform}`;
  const folder = path.join(out, `${baseOf(main.name)}-${platform}`);
  const binary = path.join(folder, 'bin', baseOf(main.name));
  // Without cgo the binary needs no C library and no C compiler for the other system.
  execFileSync('go', ['build', ...flags, '-o', binary, program], {
    stdio: 'inherit', env: Object.assign({}, process.env, platforms[platform], { CGO_ENABLED: '0' }),
  });
  const [os, cpu] = platform.split('-');
  const manifest = {
    name, version: main.version, description: `The ${platform} binary of ${main.name}`,
    license: main.license, author: main.author, homepage: main.homepage, repository: main.repository,
    os: [os], cpu: [cpu], files: ['bin/'],
    preferUnplugged: true, // a file inside an archive cannot be executed
  };
  fs.writeFileSync(path.join(folder, 'package.json'), `${JSON.stringify(manifest, null, 2)}\n`);
  process.stdout.write(`${folder}\n`);
  return name;
}
