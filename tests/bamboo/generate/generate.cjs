// Makes the fixtures beside this folder. Everything in them is encoded, hashed and signed by
// p2panda-js; only where links lead is worked out here, from the definition in the Bamboo
// specification. The keys are fixed and Ed25519 has no chance in it, so the output is the
// same each time:
//
//     npm install --no-save && npm run generate

'use strict';

const fs = require('node:fs');
const path = require('node:path');
const {
  KeyPair,
  OperationFields,
  decodeEntry,
  encodeOperation,
  generateHash,
  signAndEncodeEntry,
} = require('p2panda-js');

// f and g of the specification, letter by letter.
const ones = (k) => (3n ** k - 1n) / 2n;
const digits = (n) => {
  let k = 0n;
  while (ones(k) < n) k += 1n;
  return k;
};
const g = (n) => (n === ones(digits(n)) ? digits(n) : g(n - ones(digits(n) - 1n)));
const lipmaa = (n) => {
  const k = digits(n);
  return n === ones(k) ? n - 3n ** (k - 1n) : n - ones(g(n));
};

// One log as it grows; `copy` is what a restored backup would go on with.
class Log {
  constructor(key, logId, hashes = ['']) {
    this.key = key;
    this.logId = BigInt(logId);
    this.hashes = hashes;
  }

  copy() {
    return new Log(this.key, this.logId, [...this.hashes]);
  }

  append(operation, schema) {
    const seqNum = BigInt(this.hashes.length);
    const named = lipmaa(seqNum);
    const entry = signAndEncodeEntry(
      {
        logId: this.logId,
        seqNum,
        backlink: seqNum > 1n ? this.hashes[Number(seqNum) - 1] : undefined,
        skiplink: seqNum > 1n && named !== seqNum - 1n ? this.hashes[Number(named)] : undefined,
        operation,
      },
      this.key,
    );
    const hash = generateHash(entry);
    const decoded = decodeEntry(entry);
    if (decoded.seqNum !== seqNum || decoded.publicKey !== this.key.publicKey()) {
      throw new Error('p2panda-js does not read what it wrote');
    }
    this.hashes.push(hash);
    return {
      entry,
      payload: operation,
      author: this.key.publicKey(),
      log_id: this.logId.toString(),
      seq_num: Number(seqNum),
      hash,
      schema,
    };
  }

  get head() {
    return this.hashes[this.hashes.length - 1];
  }
}

const keyPair = (number) => new KeyPair(number.toString(16).padStart(2, '0').repeat(32));
const schema = (name) => `${name}_${generateHash(Buffer.from(name).toString('hex'))}`;
const create = (schemaId, message, number) =>
  encodeOperation({ schemaId, fields: { message, number } });

function fill(log, schemaId, count, word) {
  return Array.from({ length: count }, (_, i) =>
    log.append(create(schemaId, `${word} ${i + 1}`, i + 1), schemaId),
  );
}

function valid() {
  const entries = [];
  const logs = [];
  // The last log id has all 64 bits.
  const plan = [
    ['profile', 0n, 5],
    ['message', 1024n, 130],
    ['photo', 2n ** 64n - 1n, 14],
  ];
  for (const number of [1, 2]) {
    const key = keyPair(number);
    for (const [name, logId, count] of plan) {
      const log = new Log(key, logId);
      entries.push(...fill(log, schema(name), count, name));
      logs.push({
        author: key.publicKey(),
        log_id: logId.toString(),
        entries: count,
        head: log.head,
      });
    }
  }
  return { entries, expected: logs };
}

function forked() {
  const id = schema('comment');
  const main = new Log(keyPair(3), 1024n);
  const entries = fill(main, id, 10, 'common');
  const second = main.copy();
  entries.push(...fill(main, id, 10, 'main'));
  entries.push(...fill(second, id, 2, 'second'));
  const third = second.copy();
  entries.push(...fill(second, id, 3, 'second, on'));
  entries.push(...fill(third, id, 2, 'third'));
  const fork = (seqNum, parent, ...branches) => ({
    author: main.key.publicKey(),
    log_id: '1024',
    seq_num: seqNum,
    parent,
    hashes: branches.map((log) => log.hashes[seqNum]).sort(),
  });
  return {
    entries,
    expected: [fork(11, main.hashes[10], main, second), fork(13, second.hashes[12], second, third)],
  };
}

function doubleSchema() {
  const key = keyPair(4);
  const id = schema('message');
  const entries = [
    ...fill(new Log(key, 1030n), id, 6, 'here'),
    ...fill(new Log(key, 1040n), id, 4, 'there'),
    ...fill(new Log(key, 1050n), schema('photo'), 3, 'else'),
  ];
  return {
    entries,
    expected: [{ author: key.publicKey(), schema: id, log_ids: ['1030', '1040'] }],
  };
}

// Logs as nodes of 2023 and later number them: one a document, from 0 on. The author edits
// her own document in its log, somebody else's in a log of her own, and by mistake her own
// once more in another log.
function documents() {
  const id = schema('venue');
  const [anna, berta] = [keyPair(5), keyPair(6)];
  const update = (previous, name) =>
    encodeOperation({ action: 'update', schemaId: id, previous: [previous], fields: { name } });
  const make = (name) => encodeOperation({ schemaId: id, fields: { name } });
  const first = new Log(anna, 0n);
  const second = new Log(anna, 1n);
  const hers = new Log(berta, 0n);
  const entries = [
    first.append(make('one'), id),
    second.append(make('two'), id),
    first.append(update(first.hashes[1], 'one, better'), id),
    hers.append(update(first.hashes[2], 'one, by another'), id),
  ];
  const document = first.hashes[1];
  const third = new Log(anna, 2n);
  const mistake = third.append(update(hers.hashes[1], 'one, elsewhere'), id);
  const fields = new OperationFields();
  fields.insert('name', 'str', 'venue');
  fields.insert('description', 'str', 'a place');
  fields.insert('fields', 'pinned_relation_list', [[document]]);
  const system = new Log(anna, 3n);
  const definition = encodeOperation({ schemaId: 'schema_definition_v1', fields });
  entries.push(system.append(definition, 'schema_definition_v1'));
  return { entries: [...entries, mistake], expected: { document, log_ids: ['0', '2'] } };
}

const folder = process.argv[2];
const expected = {};
for (const [name, make] of Object.entries({
  valid,
  forked,
  double_schema: doubleSchema,
  documents,
})) {
  const made = make();
  const lines = made.entries.map((entry) => `${JSON.stringify(entry)}\n`);
  fs.writeFileSync(path.join(folder, `${name}.jsonl`), lines.join(''));
  expected[name === 'forked' ? 'forks' : name] = made.expected;
}
fs.writeFileSync(path.join(folder, 'expected.json'), `${JSON.stringify(expected, null, 1)}\n`);
