// The Node child that examples/ecosystem/execa is compared with: node execa_child.mjs PACKAGE.

const { sendMessage, getOneMessage, getEachMessage, getCancelSignal } = await import(process.argv[2]);

const signal = await getCancelSignal();
for await (const { op, value } of getEachMessage()) {
  if (op === 'echo') {
    await sendMessage(value);
  } else if (op === 'error') {
    await sendMessage(new Error('it did not work'));
  } else if (op === 'ask') {
    try {
      await sendMessage('are you there?', { strict: true });
      await sendMessage('acknowledged');
    } catch (error) {
      if (!/is not listening/.test(error.message)) throw error;
      console.log('nobody listens');
      break;
    }
  } else if (op === 'wait') {
    signal.addEventListener('abort', () => {
      console.log(`cancelled: ${signal.reason}`);
      process.exit(0);
    });
    await sendMessage('waiting');
  } else if (op === 'exit') {
    await sendMessage('leaving');
    process.exitCode = 3;
    break;
  }
}
