// Drives a node as an application would: with shirokuma and p2panda-js as they come from npm.
// `node session.cjs URL hundred` or `... refusals`; prints one JSON object for each step.

'use strict';

const { createRequire } = require('node:module');
const path = require('node:path');
const near = createRequire(path.join(__dirname, '..', 'generate', 'package.json'));
const { KeyPair, Session } = near('shirokuma');
const p2panda = near('p2panda-js');

const SCHEMA = `venue_0020${'ab'.repeat(32)}`;
const [endpoint, scene] = process.argv.slice(2);
const session = new Session(endpoint).setSchemaId(SCHEMA);
const keyPairs = [1, 2, 3].map(
  (number) => new KeyPair(number.toString(16).padStart(2, '0').repeat(32)),
);
const say = (step) => console.log(JSON.stringify(step));

// The same plan each time (Lehmer's generator).
let state = 20261123;
const draw = (below) => {
  state = (state * 48271) % 2147483647;
  return state % below;
};

// A hundred operations: documents are created, changed by anybody who knows them, and deleted by
// whoever made them. Sometimes two change one without knowing of each other, and a third merges.
async function hundred() {
  const documents = [];
  const forget = (document) => documents.splice(documents.indexOf(document), 1);
  for (let step = 0; step < 100; step += 1) {
    const who = draw(3);
    const options = { keyPair: keyPairs[who] };
    const document = documents.length ? documents[draw(documents.length)] : undefined;
    const kind = document === undefined || draw(10) < 2 ? 'create' : draw(10) < 9 ? 'update' : 'delete';
    const name = `step ${step}`;
    if (kind === 'create') {
      const args = await session.nextArgs(options.keyPair.publicKey());
      const id = await session.create({ name }, options);
      documents.push({ who, first: id, view: [id] });
      say({ kind, who, document: id, id, args });
      continue;
    }
    // One id as a text, several as a list, or all as one text.
    const { view } = document;
    const previous = view.length === 1 ? view[0] : draw(2) ? view : view.join('_');
    const actor = kind === 'delete' ? document.who : who;
    options.keyPair = keyPairs[actor];
    const args = await session.nextArgs(options.keyPair.publicKey(), previous);
    if (kind === 'update') {
      const id = await session.update({ name }, previous, options);
      // A concurrent change does not know of this one: both are tips then.
      document.view = draw(4) ? [id] : [id, ...view].slice(0, 3).sort();
      say({ kind, who: actor, document: document.first, id, args });
    } else {
      const id = await session.delete(previous, options);
      forget(document);
      say({ kind, who: actor, document: document.first, id, args });
    }
  }
}

// What must not work, and what the application gets to know of it.
async function refusals() {
  const [keyPair, other] = keyPairs;
  session.setKeyPair(keyPair);
  const attempt = async (what, work) => {
    try {
      say({ what, done: await work() });
    } catch (error) {
      say({ what, ...error.response?.errors?.[0], text: String(error.message) });
    }
  };
  const signed = (args, operation, key = keyPair) =>
    p2panda.signAndEncodeEntry({ ...args, operation }, key);
  const change = (previous, name) =>
    p2panda.encodeOperation({ action: 'update', schemaId: SCHEMA, previous, fields: { name } });

  const stranger = `0020${'12'.repeat(32)}`;
  await attempt('unknown document', () => session.update({ name: 'x' }, stranger));
  const id = await session.create({ name: 'one' });

  // Two windows of one application asked before either published.
  const args = await session.nextArgs(keyPair.publicKey(), id);
  const [first, second] = ['first', 'second'].map((name) => change([id], name));
  const entry = signed(args, first);
  await attempt('first', () => session.publish(entry, first));
  await attempt('second', () => session.publish(signed(args, second), second));
  await attempt('again', () => session.publish(entry, first));

  const next = await session.nextArgs(keyPair.publicKey(), id);
  const third = change([id], 'third');
  const wrongly = signed({ ...next, backlink: id }, third);
  await attempt('backlink', () => session.publish(wrongly, third));
  await attempt('payload', () => session.publish(signed(next, third), second));
  const good = signed(next, third);
  const flipped = good.slice(0, -2) + (good.endsWith('00') ? '01' : '00');
  await attempt('signature', () => session.publish(flipped, third));
  await attempt('truncated', () => session.publish(good.slice(0, -2), third));
  await attempt('hex', () => session.publish('xyz', third));
  const elsewhere = { logId: '7', seqNum: '1' };
  await attempt('log', () => session.publish(signed(elsewhere, third, other), third));
  await attempt('schema', () =>
    session.update({ name: 'x' }, id, { schemaId: `event_0020${'cd'.repeat(32)}` }),
  );
  await session.delete(id);
  await attempt('deleted', () => session.update({ name: 'x' }, id));
}

({ hundred, refusals })[scene]().catch((error) => {
  console.error(error);
  process.exit(1);
});
