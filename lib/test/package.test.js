'use strict';

// The package as it is published: npm pack, installed into an empty project, where the JavaScript of README.md runs as
// written, on the Node under test (NODEIPC_NODE) or else on the oldest and the newest that scripts/runtimes.sh has, and
// passes the type checker.

const assert = require('node:assert');
const { execFile, execFileSync, spawn } = require('node:child_process');
const { once } = require('node:events');
const fs = require('node:fs');
const http = require('node:http');
const net = require('node:net');
const os = require('node:os');
const path = require('node:path');
const { promisify } = require('node:util');
const { test, before, after } = require('node:test');

const run = promisify(execFile);
const root = path.join(__dirname, '..', '..');
const platform = `${process.platform}-${process.arch}`;
const blocks = {}; // of README.md: the examples by their file names, the lines of sh, and the JSON
let dir;
let project;

// nodes are the paths of what runs the programs.
function nodes() {
  if (process.env.NODEIPC_NODE) {
    return [path.resolve(process.env.NODEIPC_NODE)];
  }
  if (platform !== 'linux-x64') {
    return [process.execPath];
  }
  const script = path.join(root, 'scripts', 'runtimes.sh');
  return ['12', '26'].map((name) => execFileSync(script, ['path', name], { encoding: 'utf8' }).trim());
}

// npm runs it without a registry: the package needs nothing.
async function npm(args, cwd) {
  return (await run('npm', [...args, '--offline', '--no-audit', '--no-fund', '--loglevel=error'], { cwd })).stdout;
}

async function pack(folder) {
  const packed = JSON.parse(await npm(['pack', '--json', '--pack-destination', dir, folder], dir));
  const { filename } = Array.isArray(packed) ? packed[0] : Object.values(packed)[0];
  return path.join(dir, filename);
}

before(async () => {
  dir = fs.realpathSync(fs.mkdtempSync(path.join(os.tmpdir(), 'package-')));
  project = path.join(dir, 'project');
  fs.mkdirSync(project);
  fs.writeFileSync(path.join(project, 'package.json'), '{"private":true}\n');
  const build = (name) => run('go', ['build', '-o', path.join(project, name), `./examples/${name}`], { cwd: root });
  await Promise.all([build('child'), build('worker'), pack(root).then((file) => npm(['install', file], project))]);

  const readme = fs.readFileSync(path.join(project, 'node_modules', '@nodeipc', 'go', 'README.md'), 'utf8');
  blocks.sh = [];
  for (const [, indent, language, text] of readme.matchAll(/^( *)```(js|sh|json)\n([^]*?)^ *```$/gm)) {
    const lines = text.split('\n').map((line) => line.slice(indent.length));
    if (language === 'js') {
      const name = /^\/\/ (\w+\.m?js)$/.exec(lines[0]);
      assert.ok(name, `an example of README.md does not say what its file is called: ${lines[0]}`);
      blocks[name[1]] = lines.join('\n');
      fs.writeFileSync(path.join(project, name[1]), blocks[name[1]]);
    } else if (language === 'sh') {
      blocks.sh.push(...lines.filter((line) => line !== ''));
    } else {
      fs.writeFileSync(path.join(project, 'go.json'), text);
    }
  }
}, { timeout: 300000 });

after(() => fs.rmSync(dir, { recursive: true }));

async function freePort() {
  const server = net.createServer().listen(0);
  await once(server, 'listening');
  const { port } = server.address();
  server.close();
  await once(server, 'close');
  return port;
}

function get(port) {
  return new Promise((resolve, reject) => {
    http.get({ port, agent: false }, (res) => {
      let body = '';
      res.setEncoding('utf8').on('data', (s) => { body += s; }).on('end', () => resolve(body));
    }).on('error', reject);
  });
}

// serve starts a primary by a line of sh, has each of its workers answer once, round robin, and ends it. It returns the
// sorted answers.
async function serve(line, workers, node) {
  const port = await freePort();
  const PATH = `${path.join(dir, path.basename(path.dirname(node)))}:${process.env.PATH}`;
  const env = { ...process.env, PORT: String(port), PATH, NODE_CLUSTER_SCHED_POLICY: 'rr' };
  const primary = spawn('sh', ['-c', `exec env ${line}`], { cwd: project, env, stdio: ['ignore', 'pipe', 'inherit'] });
  const closed = once(primary, 'close');
  const timer = setTimeout(() => primary.kill('SIGKILL'), 60000);
  let stdout = '';
  await new Promise((resolve) => {
    primary.stdout.setEncoding('utf8').on('data', (s) => {
      stdout += s;
      if (stdout.split('\n').length > workers) resolve();
    }).on('close', resolve);
  });
  const answers = [];
  for (let i = 0; i < workers; i++) answers.push(await get(port));
  primary.kill('SIGTERM');
  const [code, signal] = await closed;
  clearTimeout(timer);
  assert.deepStrictEqual([code, signal], [0, null]);
  const listens = [...stdout.matchAll(/^worker (\d+) listens on (\d+)$/gm)];
  assert.deepStrictEqual(listens.map((m) => m[2]), Array(workers).fill(String(port)));
  return answers.sort().join('');
}

for (const node of nodes()) {
  const version = execFileSync(node, ['--version'], { encoding: 'utf8' }).trim();

  test(`the examples of README.md run on Node ${version}`, { timeout: 120000 }, async () => {
    const bin = path.join(dir, path.basename(path.dirname(node))); // where the shell finds node
    fs.mkdirSync(bin);
    fs.symlinkSync(node, path.join(bin, 'node'));

    const parent = await run(node, ['parent.js'], { cwd: project, timeout: 60000 });
    assert.strictEqual(parent.stdout, "{ type: 'response', message: 'Hi there master!' }\n");

    assert.strictEqual(await serve('node primary.js', 3, node), 'go 2\ngo 3\nnode\n');
    assert.strictEqual(await serve('node primary.mjs', 2, node), 'go 2\nnode\n');
    const [all, every, config, packs, ...others] = blocks.sh;
    assert.match(packs, /^npx nodeipc-pack-binaries /);
    assert.deepStrictEqual(others, []);
    assert.strictEqual(await serve(all, 4, node), 'go 1\ngo 2\ngo 3\ngo 4\n');
    assert.strictEqual(await serve(every, 4, node), 'go 2\ngo 4\nnode\nnode\n');
    assert.strictEqual(await serve(config, 4, node), 'go 1\nnode\nnode\nnode\n');
  });
}

// The types are the same for import and for require, in whatever way a project looks for them.
test('the examples of README.md and the types are right', async () => {
  const types = path.join(project, 'node_modules', '@types');
  fs.mkdirSync(types);
  fs.symlinkSync(path.join(root, 'node_modules', '@types', 'node'), path.join(types, 'node'));
  const source = `
import cluster from 'node:cluster';
import type { Worker } from 'node:cluster';
import { findBinary, forkGo, BinaryError, ForkOptions } from '@nodeipc/go';
import '@nodeipc/go/preload';
import '@nodeipc/go/orderly';

const options: ForkOptions = { args: ['-v'] as const, env: { PORT: 8000, DEBUG: true, NONE: undefined } };
const workers: Worker[] = [
  forkGo(cluster, './worker'), forkGo(cluster, './worker', { PORT: 8000 }), forkGo(cluster, './worker', options),
  forkGo(cluster, findBinary('@acme/worker', { from: '/folder' }), { args: [] }),
];
export const describe = (err: BinaryError): string => err.code + err.path + err.message + workers.length;
// @ts-expect-error: arguments are an array
forkGo(cluster, './worker', { args: 'one', env: {} });
// @ts-expect-error: there is no such option
forkGo(cluster, './worker', { args: [], PORT: 8000 });
// @ts-expect-error: not a cluster
forkGo('./worker');
// @ts-expect-error: the path is missing
forkGo(cluster);
// @ts-expect-error: a name
findBinary();
`;
  fs.writeFileSync(path.join(project, 'types.mts'), source);
  fs.writeFileSync(path.join(project, 'types.cts'), source);
  const common = { strict: true, noEmit: true, allowJs: true, checkJs: true, types: ['node'], esModuleInterop: true };
  const check = async (name, compilerOptions, files) => {
    const config = { compilerOptions: { ...common, ...compilerOptions }, files };
    fs.writeFileSync(path.join(project, name), JSON.stringify(config));
    const tsc = path.join(root, 'node_modules', 'typescript', 'bin', 'tsc');
    await run(process.execPath, [tsc, '-p', name], { cwd: project }).catch((err) => assert.fail(err.stdout || err));
  };
  const examples = Object.keys(blocks).filter((name) => name !== 'sh');
  assert.deepStrictEqual(examples, ['parent.js', 'primary.js', 'primary.mjs', 'server.js', 'packaged.js']);
  await check('nodenext.json', { module: 'nodenext' }, [...examples, 'types.mts', 'types.cts']);
  await check('bundler.json', { module: 'esnext', moduleResolution: 'bundler' }, ['types.mts']);
});

test('what is exported, and what is not', async () => {
  const code = `
    const library = require('@nodeipc/go');
    import('@nodeipc/go').then((module) => {
      const same = Object.keys(library).every((name) => library[name] === module[name]);
      let hidden;
      try { require('@nodeipc/go/lib/tap.js'); } catch (err) { hidden = err.code; }
      const { version } = require('@nodeipc/go/package.json');
      console.log(JSON.stringify({ same, names: [Object.keys(library), Object.keys(module)], hidden, version }));
    });`;
  const { version } = require('../../package.json');
  for (const node of nodes()) {
    const r = JSON.parse((await run(node, ['-e', code], { cwd: project })).stdout);
    const [names, imported] = r.names.map((list) => list.sort());
    assert.deepStrictEqual(imported, names);
    assert.ok(names.includes('forkGo') && names.includes('findBinary'));
    assert.deepStrictEqual([r.same, r.hidden, r.version], [true, 'ERR_PACKAGE_PATH_NOT_EXPORTED', version]);
  }
  const { dependencies, optionalDependencies } = require('../../package.json');
  assert.deepStrictEqual([dependencies, optionalDependencies], [undefined, undefined]);
  assert.ok(!fs.existsSync(path.join(project, 'node_modules', '@nodeipc', 'go', 'lib', 'tap.js')));
});

// What the heads of four packages' binaries say of them.
const heads = {
  'linux-x64': { at: 18, bytes: '3e00', magic: '7f454c46' },
  'linux-arm64': { at: 18, bytes: 'b700', magic: '7f454c46' },
  'darwin-x64': { at: 4, bytes: '07000001', magic: 'cffaedfe' },
  'darwin-arm64': { at: 4, bytes: '0c000001', magic: 'cffaedfe' },
};

test('nodeipc-pack-binaries makes packages that npm installs and findBinary finds', { timeout: 300000 }, async () => {
  const source = path.join(dir, 'source');
  const main = path.join(dir, 'npm');
  fs.mkdirSync(path.join(source, 'cmd', 'worker'), { recursive: true });
  fs.mkdirSync(main);
  fs.writeFileSync(path.join(source, 'go.mod'), 'module example.com/acme\n\ngo 1.21\n');
  fs.writeFileSync(path.join(source, 'cmd', 'worker', 'main.go'),
    'package main\n\nvar said = "hello"\n\nfunc main() { println(said) }\n');
  fs.symlinkSync(main, path.join(source, 'npm'));
  // Its exports hide its package.json, and it does not say which files are to be published.
  const before = { name: '@acme/worker', version: '1.2.3', license: 'MIT', exports: './index.js' };
  fs.writeFileSync(path.join(main, 'package.json'), `${JSON.stringify(before, null, '\t')}\n`);
  fs.writeFileSync(path.join(main, 'index.js'), '');

  const node = nodes()[0];
  const command = path.join(project, 'node_modules', '.bin', 'nodeipc-pack-binaries');
  const packs = blocks.sh[3].split(' ').slice(2); // as README.md has it, but for npx
  const flags = ['--', '-ldflags', '-s -w -X main.said=flags'];
  const { stdout } = await run(node, [command, ...packs, ...flags], { cwd: source });
  const platforms = Object.keys(heads);
  const optionalDependencies = Object.fromEntries(platforms.map((name) => [`@acme/worker-${name}`, '1.2.3']));
  assert.strictEqual(fs.readFileSync(path.join(main, 'package.json'), 'utf8'),
    `${JSON.stringify({ ...before, optionalDependencies }, null, '\t')}\n`);
  const folders = stdout.trim().split('\n');
  assert.deepStrictEqual(folders.map((folder) => path.basename(folder)), platforms.map((name) => `worker-${name}`));
  for (const folder of folders) {
    const manifest = JSON.parse(fs.readFileSync(path.join(folder, 'package.json'), 'utf8'));
    const { name, version, os: [system], cpu: [cpu], license } = manifest;
    assert.deepStrictEqual([name, version, license], [`@acme/worker-${system}-${cpu}`, '1.2.3', 'MIT']);
    const { at, bytes, magic } = heads[`${system}-${cpu}`];
    const binary = fs.readFileSync(path.join(folder, 'bin', 'worker'));
    assert.strictEqual(binary.toString('hex', 0, 4), magic);
    assert.strictEqual(binary.toString('hex', at, at + bytes.length / 2), bytes);
  }

  const own = folders.find((folder) => folder.endsWith(platform));
  const files = await Promise.all([pack(main), pack(own)]);
  await npm(['install', ...files], project);
  assert.deepStrictEqual(fs.readdirSync(path.join(project, 'node_modules', '@acme', 'worker')).sort(),
    ['index.js', 'package.json']);
  const find = async (env) => run(node, ['packaged.js'], { cwd: project, env: { ...process.env, ...env } });
  const refused = async (pattern, env) => {
    const err = await find(env).then(() => null, (e) => e);
    assert.match(err ? err.stderr : 'it was found', pattern);
  };
  const installed = path.join(project, 'node_modules', '@acme', `worker-${platform}`);
  const binary = path.join(installed, 'bin', 'worker');
  assert.strictEqual((await find()).stdout, `${binary}\n`);
  assert.strictEqual((await run(binary)).stderr, 'flags\n');

  // The preload finds it as well.
  fs.writeFileSync(path.join(project, 'once.js'), 'require("cluster").fork().on("message", () => process.exit(1))\n');
  const env = { ...process.env, NODEIPC_GO_PACKAGE: '@acme/worker' };
  const started = await run(node, ['-r', '@nodeipc/go/preload', 'once.js'], { cwd: project, env, timeout: 60000 });
  assert.strictEqual(started.stderr, 'flags\n');

  // And the orderly module is found, which workers do not pass on.
  fs.writeFileSync(path.join(project, 'orderly.js'), `const cluster = require('cluster')
    if (cluster.isMaster) cluster.fork()
    else console.log(JSON.stringify(process.execArgv)) || process.exit()`);
  const orderly = await run(node, ['-r', '@nodeipc/go/orderly', 'orderly.js'], { cwd: project, timeout: 60000 });
  assert.strictEqual(orderly.stdout, '[]\n');

  // Whoever sets the variable gets that or an error.
  assert.strictEqual((await find({ ACME_WORKER_BINARY: './worker' })).stdout, `${path.join(project, 'worker')}\n`);
  await refused(/findBinary: ACME_WORKER_BINARY: there is no Go binary at .*missing/,
    { ACME_WORKER_BINARY: './missing' });
  await refused(/ACME_WORKER_BINARY is set, but empty/, { ACME_WORKER_BINARY: '' });
  await refused(/server\.js is not executable/, { ACME_WORKER_BINARY: 'server.js' });

  // What goes wrong with packages.
  const change = (file, from, to) => fs.writeFileSync(file, fs.readFileSync(file, 'utf8').replace(from, to));
  change(path.join(installed, 'package.json'), '1.2.3', '1.2.2');
  await refused(new RegExp(`@acme/worker-${platform} is 1.2.2, but @acme/worker needs 1.2.3`));
  fs.rmSync(installed, { recursive: true });
  await refused(new RegExp(`@acme/worker-${platform} is not installed, but @acme/worker is`));
  change(path.join(project, 'node_modules', '@acme', 'worker', 'package.json'), platform, 'other-x64');
  await refused(new RegExp(`@acme/worker 1.2.3 has no binary for ${platform}; build one and set ACME_WORKER_BINARY`));
  fs.rmSync(path.join(project, 'node_modules', '@acme'), { recursive: true });
  await refused(/the package @acme\/worker is not installed for .*project/);
  assert.strictEqual((await find({ ACME_WORKER_BINARY: './worker' })).stdout, `${path.join(project, 'worker')}\n`);
});

test('nodeipc-pack-binaries refuses what it does not understand', async () => {
  const command = path.join(__dirname, '..', 'pack-binaries.js');
  const empty = path.join(dir, 'empty');
  fs.mkdirSync(empty);
  fs.writeFileSync(path.join(empty, 'package.json'), '{}');
  for (const [args, message] of [
    [[], /usage: /],
    [['--platform', 'plan9-x64', empty, './x'], /--platform plan9-x64\? there are .* linux-x64, linux-arm64/],
    [['--wrong', empty, './x'], /--wrong/],
    [[empty, './x'], /needs a name and a version/],
    [[path.join(dir, 'missing'), './x'], /ENOENT/],
  ]) {
    const err = await run(nodes()[0], [command, ...args]).then(() => null, (e) => e);
    assert.match(err ? err.stderr : 'it was understood', message);
    assert.strictEqual(err.code, 1);
  }
});
