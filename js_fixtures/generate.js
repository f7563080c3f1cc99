// Regenerates the golden bytes of the running Node, all of them or those named:
//
//   node generate.js [TESTDATA [json|dialogues|advanced...]]
//
// TESTDATA is the folder testdata of the repository unless given. "go test -update" calls this.
// Ran on Node 12, 14, 16, 18, 20, 22, 24 and 26.
'use strict';

const { spawnSync } = require('child_process');
const path = require('path');

const generators = { json: 'gen_json.js', dialogues: 'gen_dialogue.js', advanced: 'gen_advanced.js' };
const folder = path.resolve(process.argv[2] || path.join(__dirname, '..', 'testdata'));
const names = process.argv.length > 3 ? process.argv.slice(3) : Object.keys(generators);

for (const name of names) {
  if (!generators[name]) throw new Error(`no generator for ${name}; there are: ${Object.keys(generators).join(' ')}`);
  const { status, error } = spawnSync(process.execPath, [path.join(__dirname, generators[name]), path.join(folder, name)], { stdio: 'inherit' });
  if (error) throw error;
  if (status !== 0) process.exit(1);
}
