// A parent that drives a child with execa: node execa_parent.mjs PACKAGE SERIALIZATION CHILD [ARGUMENT...].
// Ran on Node 18, 20, 22, 24 and 26 with execa 9, on 22, 24 and 26 with execa 10.

import { createRequire } from 'node:module';
const { report, outcome, abandon } = createRequire(import.meta.url)('./report.js');

const [library, serialization, file, ...args] = process.argv.slice(2);
const { execa } = await import(library);
const advanced = serialization === 'advanced';
const canBeStrict = advanced || library !== 'execa9'; // its ids are BigInts, which JSON has none of

const start = (options) => execa(file, args, {
  ipc: true, serialization, reject: false, stderr: 'inherit', timeout: 60000, ...options,
});
// seen is what a result says, without what is not so.
const seen = (result) => Object.fromEntries([
  'exitCode', 'signal', 'isCanceled', 'isGracefullyCanceled', 'isTerminated', 'ipcOutput', 'stdout', 'originalMessage',
].map((name) => [name, result[name]]).filter(([, value]) => value || value === 0));

const values = [null, true, 1.5, 'ä', [1, [2]], { a: { b: [] } }];
if (advanced) {
  values.push([12345678901234567890n, undefined], new Date(86400000), Buffer.from('buffer'),
    new Map([['k', new Set([1])]]));
}

// The child acknowledges what is sent with strict, and takes the message out of its envelope.
async function strict() {
  const child = start();
  const echoed = [];
  const strict = (value) => child.sendMessage({ op: 'echo', value }, { strict: true });
  const sent = await outcome(Promise.all([
    strict(1).then(() => strict(2)).then(() => strict(3)),
    (async () => { for await (const m of child.getEachMessage()) if (echoed.push(m) === 3) break; })(),
  ]).then(() => 'acknowledged'));
  return { sent, echoed, ...seen(await child) };
}

// The child sends with strict.
async function asked() {
  const child = start();
  const messages = [];
  await child.sendMessage({ op: 'ask' });
  for await (const message of child.getEachMessage()) if (messages.push(message) === 2) break;
  return { messages, ...seen(await child) };
}

// The child sends with strict to a parent that does not listen.
async function unheard() {
  const child = start({ buffer: { ipc: false } });
  await child.sendMessage({ op: 'ask' });
  return seen(await child);
}

await report(process.env.ABANDON ? {
  async abandoned() {
    const child = start();
    await child.sendMessage({ op: 'wait' });
    await child.getOneMessage();
    abandon();
  },
} : {
  // sendMessage and getOneMessage, and the end by the parent's disconnect.
  async one() {
    const child = start();
    const echoed = [];
    for (const value of values) {
      await child.sendMessage({ op: 'echo', value });
      echoed.push(await child.getOneMessage());
    }
    (child.nodeChildProcess ?? child).disconnect(); // execa 10 keeps it there
    return { echoed, ...seen(await child) };
  },

  // getEachMessage; leaving the loop disconnects and waits for the child.
  async each() {
    const child = start();
    const echoed = [];
    await child.sendMessage({ op: 'echo', value: 0 });
    for await (const message of child.getEachMessage()) {
      echoed.push(message);
      if (echoed.length === 3) break;
      await child.sendMessage({ op: 'echo', value: message + 1 });
    }
    return { echoed, ...seen(await child) };
  },

  ...(canBeStrict ? { strict, asked, unheard } : {}),

  // ipcInput is the first message; what the child sent is in ipcOutput; an exit code is a failure.
  async input() {
    return seen(await start({ ipcInput: { op: 'exit' } }));
  },

  // cancelSignal is a signal; with gracefulCancel it is a message with the reason, and the child ends by itself.
  async cancel() {
    const controller = new AbortController();
    const child = start({ cancelSignal: controller.signal });
    await child.sendMessage({ op: 'wait' });
    await child.getOneMessage();
    controller.abort(new Error('enough'));
    return seen(await child);
  },
  ...(advanced ? {
    async error() {
      const child = start();
      await child.sendMessage({ op: 'error' });
      const error = await child.getOneMessage();
      (child.nodeChildProcess ?? child).disconnect();
      await child;
      return outcome(Promise.reject(error), 'name');
    },
    async gracefulCancel() {
      const controller = new AbortController();
      const child = start({ cancelSignal: controller.signal, gracefulCancel: true });
      await child.sendMessage({ op: 'wait' });
      await child.getOneMessage();
      controller.abort(new Error('enough'));
      return seen(await child);
    },
    async gracefulCancelWithoutReason() {
      const controller = new AbortController();
      const child = start({ cancelSignal: controller.signal, gracefulCancel: true });
      await child.sendMessage({ op: 'wait' });
      await child.getOneMessage();
      controller.abort();
      return seen(await child);
    },
  } : {}),
});
